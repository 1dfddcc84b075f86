"""Where one installation keeps what: its state directory, its settings and its secrets.

Standard library only, because the supervisor imports it. Paths are derived, never configured one by one.
Everything below the root is readable by its owner alone.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from divertor.errors import UnavailableError

API_PORT = 9090
NATS_PORT = 9094


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose. `listen` is the address gateways are bound to; `blueprint` and `rules` (paths, may
    be empty) are deployed as `name` when the control plane starts. `isolate` False: report, divert nobody.
    `virtual_hosts_port` is the port all gateways share, told apart by host; 0: there is none.
    `judges` False: rules are judged by workers of their own (`divertor rules run`), not by the control plane.
    `log_sample` per cent of the requests that went well become events. `public_url` is where people reach the
    API, for links in messages; empty: messages have none of ours.
    """

    api_port: int = API_PORT
    nats_port: int = NATS_PORT
    listen: str = "127.0.0.1"
    blueprint: str = ""
    rules: str = ""
    name: str = ""
    isolate: bool = True
    trusted_hops: int = 0
    virtual_hosts_port: int = 0
    log_sample: float = 1.0
    judges: bool = True
    public_url: str = ""
    color: bool = True

    @property
    def links(self) -> str:
        """The address that links in messages begin with; empty: there are none."""
        return f"{self.public_url}/api/v1" if self.public_url else ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What nobody may know. `isolation` keys the table's fingerprints, `divert` the divert tokens."""

    nats_password: str
    isolation: str
    divert: str

    def __repr__(self) -> str:
        return "Secrets(…)"


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of the installation at `root`, which is made absolute: processes work elsewhere."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def auth(self) -> Path:
        """Hashes of the API's tokens."""
        return self.root / "auth.json"

    @property
    def admin_token(self) -> Path:
        """The administrator's token, for the command line on this machine."""
        return self.root / "admin.token"

    @property
    def ingest_token(self) -> Path:
        """The token that is handed to the sensors: it can only write events."""
        return self.root / "ingest.token"

    @property
    def run(self) -> Path:
        """Sockets and locks of running processes."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def live_log(self) -> Path:
        """What is diverted and why, in words, as it happens."""
        return self.logs / "live.log"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def events(self) -> Path:
        """The event store's database."""
        return self.root / "events" / "events.duckdb"

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def envoy_admin(self) -> Path:
        return self.run / "envoy.sock"

    @property
    def spool(self) -> Path:
        """What the gateway's filter has just recorded of isolated traffic; consumed by the control plane."""
        return self.envoy / "recorded.spool"

    @property
    def recordings(self) -> Path:
        """What attackers asked and got, a file for each of their keys."""
        return self.root / "recordings"

    @property
    def access_log(self) -> Path:
        """Isolated, diverted and refused requests."""
        return self.envoy / "isolated.log"

    @property
    def request_log(self) -> Path:
        """Failed requests, and a sample of the others."""
        return self.envoy / "requests.log"

    @property
    def table(self) -> Path:
        return self.envoy / "isolated.table"

    @property
    def recent(self) -> Path:
        return self.envoy / "recent.table"

    @property
    def checkpoints(self) -> Path:
        """What the rules' engines remember, a file for each worker."""
        return self.root / "checkpoints"

    @property
    def data(self) -> Path:
        """Private directories of the services (DIVERTOR_DATA, DIVERTOR_SHARED) and of alert commands."""
        return self.root / "data"

    def create(self) -> None:
        """Makes the directories.

        :raises UnavailableError: the disk refuses.
        """
        try:
            for folder in (
                self.root,
                self.run,
                self.logs,
                self.nats,
                self.events.parent,
                self.envoy,
                self.data,
            ):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
        except OSError as problem:
            raise UnavailableError(f"{problem.filename}: {problem.strerror}") from problem

    def read_settings(self) -> Settings:
        """The settings, or the defaults when none were written.

        :raises UnavailableError: the file is there but cannot be understood.
        """
        data = _read(self.settings)
        if data is None:
            return Settings()
        known = asdict(Settings())
        found = {name: value for name, value in data.items() if name in known}
        for name, value in found.items():
            if type(value) is not type(known[name]):
                wanted = type(known[name]).__name__
                raise UnavailableError(f"{self.settings}: {name} is no {wanted}: {str(value)[:80]!r}")
        return replace(Settings(), **found)

    def write_settings(self, settings: Settings) -> None:
        """Replaces the settings.

        :raises UnavailableError: the disk refuses.
        """
        write_private(self.settings, json.dumps(asdict(settings), indent=2) + "\n")

    def read_secrets(self) -> Secrets:
        """The secrets; made at the first call.

        :raises UnavailableError: the file cannot be understood or written.
        """
        data = _read(self.secrets)
        if data is None:
            made = Secrets(secrets.token_urlsafe(24), secrets.token_hex(32), secrets.token_hex(32))
            write_private(self.secrets, json.dumps(asdict(made)) + "\n")
            return made
        found = [data.get(item.name) for item in fields(Secrets)]
        texts = [value for value in found if isinstance(value, str) and value]
        if len(texts) != len(found):
            raise UnavailableError(f"{self.secrets}: not the secrets of an installation")
        return Secrets(*texts)


def default_root(name: str = "default") -> Path:
    """$XDG_STATE_HOME/divertor/NAME, or ~/.local/state/divertor/NAME."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "divertor" / name


def write_private(path: Path, text: str) -> None:
    """Replaces a file as a whole, readable by its owner alone.

    :raises UnavailableError: the disk refuses; the old file is as it was.
    """
    draft = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(path)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: {problem.strerror}") from problem


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as problem:
        raise UnavailableError(f"{path}: cannot be read: {problem}") from problem
    if not isinstance(data, dict):
        raise UnavailableError(f"{path}: cannot be understood: expected a JSON object")
    return data
