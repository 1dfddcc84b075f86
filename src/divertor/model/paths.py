"""What routes and mirrors may lead to, as written: names joined by `/`, or `[host:port]` outside."""

from __future__ import annotations

import re

from divertor.model.documents import Node
from divertor.model.fields import fail, text_of

MAX_PATH = 800

_PATH = re.compile(r"[^\s/\[\]]+(?:/[^\s/\[\]]+){0,3}")
_EXTERNAL = re.compile(r"\[(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})\]")


def is_external(path: str) -> bool:
    """Whether it leads outside: `[host:port]`."""
    return path.startswith("[")


def is_group(path: str) -> bool:
    """Whether it may be a group of what a selector selects: `(1)`, `(a),(b)`."""
    return path.startswith("(") and "/" not in path


def checked_path(node: Node, what: str) -> str:
    """The path a scalar says. :raises InputError: it is none."""
    path = text_of(node, what)
    external = _EXTERNAL.fullmatch(path)
    if external is not None and 0 < int(external["port"]) < 65536:
        return path
    if _PATH.fullmatch(path) is None or not path.isprintable() or len(path) > MAX_PATH:
        fail(node, f"{path[:80]!r} is no path of {what}", "up to four names joined by '/', or [host:port]")
    return path
