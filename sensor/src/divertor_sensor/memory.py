"""Remembers which statements are the program's own.

A site is a place in the app, not in the library it calls through: else one place's constant would be
another's excuse. A statement that stands as a constant in the app's code is learned by whoever sees that.
Any other is learned only after it was clean in several requests that had nothing in common, so that one
attack that went unseen is not its own excuse later; the caller proposes it, and sees to it that the view of
the request was complete. It is the fast path (one lookup) and the cure for coincidence (an input that equals
a piece of a constant statement). No lock: single set and dictionary operations are atomic, and a lost entry
is only learned again.

Skeletons (`divertor_sensor.detectors.skeleton`) are remembered apart, for statements whose literals differ
each time. One is learned from a request in which no input had a place in it, and which is seen to bring what
stands in a literal; it counts for plain requests only, which bring nothing that could end a literal. An
attack would then have to make, without an apostrophe, the very structure that the app itself has at the same
place, called from the same place, and which it can be asked for honestly.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

#: File, first line of the function, offset of the instruction: one call expression in the program.
Site: TypeAlias = tuple[str, int, int]
#: A call expression, and the one of the app's that called its function, if it was the app.
Path: TypeAlias = tuple[Site, Site | None]

_MAX_SITES = 4096
_MAX_PER_SITE = 512
_MAX_LENGTH = 16 * 1024
_MAX_PROPOSED = 2048
#: Characters of all that is learned, and fingerprints of all that is proposed: whoever asks for
#: lists of any length makes statements of any length.
_MAX_KEPT = 1 << 20
_MAX_VALUES, _MAX_FINGERPRINTS = 256, 64 * 1024
#: Statements that are examined at a site at first sight; where ever new ones are made up, only those that
#: come again are.
_YOUNG = 16

_Place = TypeVar("_Place", Site, Path)


class StatementMemory:
    """Statements by call site. Bounded: a site that makes up ever new ones starts over."""

    def __init__(self) -> None:
        self._sites: dict[Site, set[str]] = {}
        self._skeletons: dict[Path, set[str]] = {}
        self._length = 0
        self._young: dict[Site, int] = {}
        #: By the hash of a site and a statement.
        self._sightings: dict[int, int] = {}
        #: The fingerprints that all the clean requests had in common in which a statement was seen; and about
        #: how many that are.
        self._common: dict[int, frozenset[int]] = {}
        self._fingerprints = 0

    def knows(self, site: Site, statement: str) -> bool:
        """Whether `statement` was learned at `site`."""
        known = self._sites.get(site)
        return known is not None and statement in known

    def learn(self, site: Site, statement: str) -> None:
        """Take `statement` as the program's own at `site`."""
        self._add(self._sites, site, statement)

    def knows_skeleton(self, path: Path, skeleton: str) -> bool:
        """Whether `skeleton` was learned at `path`."""
        known = self._skeletons.get(path)
        return known is not None and skeleton in known

    def learn_skeleton(self, path: Path, skeleton: str) -> None:
        """Take `skeleton` as the program's own at `path`."""
        self._add(self._skeletons, path, skeleton)

    def is_due(self, site: Site, statement: str) -> bool:
        """Count a sighting of a statement that is not known: whether it is worth examining for learning.

        It is so the second, fourth, eighth, … time, and the first time at a site that has shown few.
        """
        key = hash((site, statement))
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
        if len(statement) > _MAX_LENGTH or len(values) > _MAX_VALUES:
            return
        key = hash((site, statement))
        common = self._common.get(key)
        if common is None:
            if len(self._common) >= _MAX_PROPOSED or self._fingerprints >= _MAX_FINGERPRINTS:
                self._common.clear()
                self._fingerprints = 0
            self._common[key] = values
            self._fingerprints += len(values)
            return
        common &= values
        if common:
            self._common[key] = common
            return
        self.learn(site, statement)
        self._common.pop(key, None)

    def _add(self, places: dict[_Place, set[str]], place: _Place, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            return
        if self._length >= _MAX_KEPT:
            self._sites.clear()
            self._skeletons.clear()
            # What was seen often would be examined again only when it has come twice as often.
            self._sightings.clear()
            self._length = 0
        known = places.get(place)
        if known is None:
            if len(places) >= _MAX_SITES:
                self._length -= sum([sum(map(len, list(each))) for each in list(places.values())])
                places.clear()
            known = places.setdefault(place, set())
        if len(known) >= _MAX_PER_SITE:
            self._length -= sum(map(len, list(known)))
            known.clear()
        known.add(text)
        self._length += len(text)
