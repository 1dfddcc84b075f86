"""Archive sinks: the members that `tarfile` is about to extract (and so `shutil.unpack_archive`).

The one method through which all of tarfile's ways to extract go is patched; what a filter has made of a
member comes before it, so that what is judged is what would be written. `zipfile` makes the names it extracts
safe by itself. An app that joins names from an archive itself meets the file sinks: the names of an uploaded
ZIP archive are inputs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from divertor_sensor import context
from divertor_sensor.detectors.archive import DETECTOR, leaves, statement_of
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, wrap

#: By open archive: the links it has made that lead out of their directory, with where they lead.
_links: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
_MAX_LINKS = 256


def instrument() -> None:
    """Patch tarfile."""
    integrate("sink", "archives", "tarfile", _patch)


def _patch(module: ModuleType) -> None:
    wrap(module, "TarFile._extract_member", _extract)


def _extract(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        member: Any = args[0] if args else kwargs.get("tarinfo")
        target = args[1] if len(args) > 1 else kwargs.get("targetpath")
        name, path = getattr(member, "name", None), _text(target)
        if isinstance(name, str) and path is not None:
            directory = path[: -len(name)].rstrip("/") if path.endswith(name) else ""
            link = str(member.linkname) if member.issym() or member.islnk() else ""
            made = _links.get(instance)
            resolved = _through_links(name, made) if made else name
            check(request, DETECTOR, "tarfile", statement_of(directory, resolved, link, member.islnk()))
            if member.issym():
                _remember(instance, name, link)
    return wrapped(*args, **kwargs)


def _remember(archive: Any, name: str, link: str) -> None:
    """Keep in mind a link that leads out: what is extracted below it would be outside as well."""
    made = _links.get(archive) or {}
    target = _through_links(posixpath.join(posixpath.dirname(name), link, "."), made)
    if leaves(target) and len(made) < _MAX_LINKS:
        made[posixpath.normpath(name)] = target
        _links[archive] = made


def _through_links(name: str, made: dict[str, str]) -> str:
    """Where a member goes when one of its directories is a link; `/.` at the end makes it one itself."""
    tail = ["."] if name.endswith("/.") else []
    parts = posixpath.normpath(name).split("/") + tail
    for count in range(1, len(parts)):
        target = made.get("/".join(parts[:count]))
        if target is not None:
            return posixpath.join(target, *parts[count:])
    return name


def _text(path: object) -> str | None:
    return path if isinstance(path, str) else None
