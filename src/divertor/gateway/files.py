"""Envoy's configuration as files: written whole, renamed into place, one watched directory per resource type.

Envoy watches the directories and takes a file the moment it is renamed. A file whose content has not changed
is not touched, so that Envoy does not parse it again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from divertor.envoy import resources
from divertor.envoy.logging import LIMITS_FILE, limits
from divertor.envoy.plan import Paths, Snapshot
from divertor.errors import UnavailableError

KINDS = ("eds", "sds", "cds", "rds", "lds", "log")


class ConfigFiles:
    """The files below `paths.config`; `write` is the whole snapshot, the others are its steps."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._root = Path(paths.config)
        self._again: set[str] = set()

    def create(self) -> None:
        """Makes the directories.

        :raises UnavailableError: the disk refuses.
        """
        try:
            for kind in KINDS:
                (self._root / kind).mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UnavailableError(f"{problem.filename}: {problem.strerror}") from problem
        self._put_limits()

    def is_sound(self) -> bool:
        """Whether Envoy would find a configuration: every file is there and can be read."""
        wanted = {self._root / "lds/lds.json", self._root / "cds/cds.json"}
        return all(_read(path) is not None for path in wanted.union(self._root.glob("*/*.json")))

    def stamp(self) -> Mapping[str, tuple[int, int, int]]:
        """What tells whether somebody else has changed a file since: its inode, size and time of change."""
        found = {}
        for path in self._root.glob("*/*.json"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    def distrust(self) -> None:
        """What was damaged may have been read so, and a listener refused that names a file which was missing:
        clusters and listeners are written anew, though they say the same.
        """
        self._again = {"cds/cds.json", "lds/lds.json"}

    def write(self, snapshot: Snapshot) -> None:
        """All of it but the secrets, in an order that an Envoy that is not running does not care about.

        :raises UnavailableError: the disk refuses.
        """
        self.endpoints(snapshot)
        self.clusters(resources.clusters(snapshot, self._paths))
        self.routes(snapshot)
        self.listeners(snapshot)

    def endpoints(self, snapshot: Snapshot) -> bool:
        """Each upstream's endpoints; answers whether a file changed."""
        changed = [self._put("eds", name, [found]) for name, found in resources.endpoints(snapshot).items()]
        return any(changed)

    def secrets(self, wanted: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Certificates and keys, by name; answers those that changed."""
        return {name for name, found in wanted.items() if self._put("sds", name, [found])}

    def has_secret(self, name: str) -> bool:
        """Whether a secret was written before, by us or an earlier control plane."""
        return _read(self._root / "sds" / resources.file_name(name)) is not None

    def clusters(self, wanted: Iterable[Mapping[str, Any]]) -> bool:
        """The clusters; answers whether the file changed."""
        return self._put_file("cds/cds.json", list(wanted))

    def known_clusters(self) -> list[dict[str, Any]]:
        """The clusters Envoy was last given, by us or an earlier control plane; none if unreadable."""
        return [found for found in self._resources("cds/cds.json") if isinstance(found.get("name"), str)]

    def known_listeners(self) -> set[str]:
        """The names of the listeners Envoy was last given."""
        return {str(listener.get("name")) for listener in self._resources("lds/lds.json")}

    def routes(self, snapshot: Snapshot) -> list[str]:
        """Each listener's routes; answers the listeners whose routes changed."""
        found = resources.routes(snapshot, self._paths)
        return [name for name, routes in found.items() if self._put("rds", name, [routes])]

    def listeners(self, snapshot: Snapshot) -> bool:
        """The listeners; answers whether the file changed."""
        self._put_limits()
        return self._put_file("lds/lds.json", resources.listeners(snapshot, self._paths))

    def forget(self, snapshot: Snapshot) -> None:
        """Deletes the files of upstreams, listeners and certificates that `snapshot` no longer has."""
        wanted = {
            "eds": {resources.file_name(name) for name in resources.endpoints(snapshot)},
            "rds": {resources.file_name(name) for name in resources.routes(snapshot, self._paths)},
            "sds": {resources.file_name(name) for name in resources.secret_names(snapshot)},
        }
        for kind, names in wanted.items():
            for path in (self._root / kind).glob("*.json"):
                if path.name not in names:
                    path.unlink(missing_ok=True)

    def read(self) -> dict[str, bytes]:
        """Every file as it is, by its path below the root: what `restore` puts back."""
        return {str(path.relative_to(self._root)): path.read_bytes() for path in self._root.glob("*/*.json")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Puts back what `read` gave."""
        for name, content in files.items():
            path = self._root / name
            if not path.exists() or path.read_bytes() != content:
                self._replace(path, content)

    def _resources(self, name: str) -> list[dict[str, Any]]:
        return _read(self._root / name) or []

    def _put_limits(self) -> None:
        """What the listeners' logs refer to, so it must be there before them and stay."""
        self._put_file(LIMITS_FILE, [limits()])

    def _put(self, kind: str, name: str, found: list[Mapping[str, Any]]) -> bool:
        return self._put_file(f"{kind}/{resources.file_name(name)}", found)

    def _put_file(self, name: str, found: list[Any]) -> bool:
        text = json.dumps(found, sort_keys=True)
        version = blake2b(text.encode(), digest_size=8).hexdigest()
        content = f'{{"version_info": "{version}", "resources": {text}}}\n'.encode()
        path = self._root / name
        if name not in self._again and path.exists() and path.read_bytes() == content:
            return False
        self._replace(path, content)
        self._again.discard(name)
        return True

    def _replace(self, path: Path, content: bytes) -> None:
        # Not in the watched directory: Envoy would look at the draft.
        draft = self._root / f".{path.parent.name}-{path.name}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(path)
        except OSError as problem:
            draft.unlink(missing_ok=True)
            raise UnavailableError(f"{path}: {problem.strerror}") from problem


def _read(path: Path) -> list[dict[str, Any]] | None:
    """The resources of a file; None when it is no file of ours, whole and undamaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("resources"), list):
        return None
    resources: list[dict[str, Any]] = found["resources"]
    return resources if all(isinstance(each, dict) for each in resources) else None
