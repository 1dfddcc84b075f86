"""Where the names and redirects of one request led to.

Plain memory for the network sinks, bounded: which names a request resolved to addresses inside, and which
hosts an answer sent it on to. What that means is for the detector to say.
"""

from __future__ import annotations

_MAX_ENTRIES = 64
_MAX_NAMES = 4


class Trail:
    """One request's. Single dictionary operations only: threads and tasks of the request share it."""

    __slots__ = ("_names", "_roots")

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._roots: dict[str, str] = {}

    def resolved(self, name: str, address: str) -> None:
        """`name` was resolved to `address`."""
        known = self._names.get(address, ())
        if name not in known and (known or len(self._names) < _MAX_ENTRIES):
            self._names[address] = (*known, name)[-_MAX_NAMES:]

    def names(self, address: str) -> tuple[str, ...]:
        """The last few names that were resolved to `address`."""
        return self._names.get(address, ())

    def redirected(self, root: str, target: str) -> None:
        """An answer of `root` sent on to `target` (each `host:port`)."""
        if len(self._roots) < _MAX_ENTRIES:
            self._roots[target] = root

    def root(self, target: str) -> str:
        """Who first led to `target`, or nothing."""
        return self._roots.get(target, "")
