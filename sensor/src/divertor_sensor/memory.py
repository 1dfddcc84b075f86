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

from typing import TypeAlias

#: File, first line of the function, offset of the instruction: one call expression in the program.
Site: TypeAlias = tuple[str, int, int]

_MAX_SITES = 4096
_MAX_PER_SITE = 512
_MAX_LENGTH = 16 * 1024
_MAX_PROPOSED = 4096
#: Statements that are examined at a site at first sight; where ever new ones are made up, only those that
#: come again are.
_YOUNG = 16


class StatementMemory:
    """Statements by call site. Bounded: a site that makes up ever new ones starts over."""

    def __init__(self) -> None:
        self._sites: dict[Site, set[str]] = {}
        self._young: dict[Site, int] = {}
        self._sightings: dict[tuple[Site, int], int] = {}
        #: The fingerprints that all the clean requests had in common in which a statement was seen.
        self._common: dict[tuple[Site, int], frozenset[int]] = {}

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

    def is_due(self, site: Site, statement: str) -> bool:
        """Count a sighting of a statement that is not known: whether it is worth examining for learning.

        It is so the second, fourth, eighth, … time, and the first time at a site that has shown few.
        """
        key = (site, hash(statement))
        count = self._sightings.get(key, 0) + 1
        if count == 1 and len(self._sightings) >= _MAX_PROPOSED:
            self._sightings.clear()
        self._sightings[key] = count
        return count & (count - 1) == 0 if count > 1 else self._is_young(site)

    def _is_young(self, site: Site) -> bool:
        shown = self._young.get(site, 0)
        if shown >= _YOUNG:
            return False
        if not shown and len(self._young) >= _MAX_SITES:
            self._young.clear()
        self._young[site] = shown + 1
        return True

    def propose(self, site: Site, statement: str, values: frozenset[int]) -> None:
        """Take note that `statement` was clean, in a request that is apart from it; learn it once there is no
        value that all such requests have had in common.

        `values` are the fingerprints of the request's longer values.
        """
        if len(statement) > _MAX_LENGTH:
            return
        key = (site, hash(statement))
        common = self._common.get(key)
        if common is None:
            if len(self._common) >= _MAX_PROPOSED:
                self._common.clear()
            self._common[key] = values
            return
        common &= values
        if common:
            self._common[key] = common
            return
        self.learn(site, statement)
        self._common.pop(key, None)
