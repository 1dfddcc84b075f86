"""Remembers which statements are the program's own: seen at a call site while no input occurred in them.

A site is a place in the app, not in the library it calls through: else one place's constant would be
another's excuse. It is the fast path (a static statement costs one lookup) and the cure for coincidence (an
input that equals a piece of a constant statement). Only complete views of a request may teach it; the
caller sees to that. No lock: single set and dictionary operations are atomic, and a lost entry is only
learned again.
"""

from __future__ import annotations

from types import FrameType
from typing import TypeAlias

#: File, first line of the function, offset of the instruction: one call expression in the program.
Site: TypeAlias = tuple[str, int, int]

_MAX_SITES = 4096
_MAX_PER_SITE = 512
_MAX_LENGTH = 16 * 1024


def site_of(frame: FrameType) -> Site:
    """The call site a frame is at."""
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, frame.f_lasti


class StatementMemory:
    """Statements by call site. Bounded: a site that makes up ever new ones starts over."""

    def __init__(self) -> None:
        self._sites: dict[Site, set[str]] = {}

    def knows(self, site: Site, statement: str) -> bool:
        """Whether `statement` was learned at `site`."""
        known = self._sites.get(site)
        return known is not None and statement in known

    def learn(self, site: Site, statement: str) -> None:
        """Take `statement` as the program's own at `site`."""
        if len(statement) > _MAX_LENGTH:
            return
        known = self._sites.get(site)
        if known is None:
            if len(self._sites) >= _MAX_SITES:
                self._sites.clear()
            known = self._sites.setdefault(site, set())
        if len(known) >= _MAX_PER_SITE:
            known.clear()
        known.add(statement)
