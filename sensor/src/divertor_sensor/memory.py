"""Remembers which statements are the program's own.

A site is a place in the app, not in the library it calls through: else one place's constant would be
another's excuse. A statement that stands as a constant in the app's code is learned by whoever sees that.
Any other is learned only after it was clean in several requests that had nothing in common, so that one
attack that went unseen is not its own excuse later; the caller proposes it, and sees to it that the view of
the request was complete. It is the fast path (one lookup) and the cure for coincidence (an input that equals
a piece of a constant statement). No lock: single set and dictionary operations are atomic, and a lost entry
is only learned again.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

#: File, first line of the function, offset of the instruction: one call expression in the program.
Site: TypeAlias = tuple[str, int, int]

_MAX_SITES = 4096
_MAX_PER_SITE = 512
_MAX_LENGTH = 16 * 1024
_MAX_PROPOSED = 4096
#: How often a statement is examined before it is left alone: examining costs more than judging again.
_MAX_ATTEMPTS = 6


def site_of(frame: FrameType) -> Site:
    """The call site a frame is at."""
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, frame.f_lasti


class _Proposal:
    """What is known of a statement not learned yet: the inputs of the clean request it was seen in."""

    __slots__ = ("attempts", "values")

    def __init__(self) -> None:
        self.attempts = 0
        self.values: frozenset[int] | None = None


class StatementMemory:
    """Statements by call site. Bounded: a site that makes up ever new ones starts over."""

    def __init__(self) -> None:
        self._sites: dict[Site, set[str]] = {}
        self._proposed: dict[tuple[Site, int], _Proposal] = {}

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

    def propose(
        self, site: Site, statement: str, values: Callable[[], frozenset[int]], is_apart: Callable[[], bool]
    ) -> None:
        """Take note that `statement` was clean; learn it once it was so in two requests without a common
        value.

        `values` are the fingerprints of the request's longer values. `is_apart` tells whether the
        statement and the raw request have no four characters in a row in common. Both are asked only for a
        statement that comes again.
        """
        if len(statement) > _MAX_LENGTH:
            return
        key = (site, hash(statement))
        proposal = self._proposed.get(key)
        if proposal is None:
            if len(self._proposed) >= _MAX_PROPOSED:
                self._proposed.clear()
            self._proposed[key] = _Proposal()
            return
        if proposal.attempts >= _MAX_ATTEMPTS:
            return
        proposal.attempts += 1
        if not is_apart():
            return
        if proposal.values is None:
            proposal.values = values()
        elif proposal.values.isdisjoint(values()):
            self.learn(site, statement)
            self._proposed.pop(key, None)
