"""Aggregates over a window that moves in steps: time is cut into panes, each key has one aggregate per pane.

A window is some panes in a row. Panes begin at multiples of their width since the epoch, whenever the rule
began. A pane that has passed is judged on the next tick, with the keys for which the step changed anything:
those with an event in the pane that came, or in one that went. Events that come late go to their pane, and
count in later windows. What an aggregate means, and when it is bad, is the rule type's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from divertor.rules.types.aggregates import Aggregate
from divertor.rules.types.contract import Key
from divertor.rules.types.remembered import MAX_KEYS, longest_idle

#: A clock that jumped ahead makes no more panes than this be judged for rules that judge silence, too.
_MOST_AT_ONCE = 1000

#: Ticks that stay away let a key's panes grow to so many times the reach.
_MOST_BEHIND = 8


@dataclass(slots=True)
class Pane:
    """One key's events in one pane: how many, and what they add up to."""

    index: int
    docs: int
    aggregate: Aggregate


@dataclass(slots=True)
class Strip:
    """One key's panes in order. `parts`: the values of a compound key. `since`: the first pane since it was
    last without any; `quiet`: until when nothing more is told; `bad`: the last judgement. Where events are
    judged when they come: `whole` is the panes of the newest window together, as of the pane `whole_at`, and
    `hot` is `quiet` for what they show, 0 when it is good.
    """

    since: int
    parts: tuple[str, ...] = ()
    panes: list[Pane] = field(default_factory=list)
    quiet: int = 0
    bad: bool = False
    whole: Aggregate | None = None
    whole_at: int = -1
    hot: int = 0

    def began(self, index: int, reach: int) -> int:
        """The first pane, as of this one, since the key was without any in reach."""
        since, before = self.since, None
        for pane in self.panes:
            if pane.index > index:
                break
            if before is not None and pane.index - before > reach:
                since = pane.index
            before = pane.index
        return since

    def drop_first(self, reach: int) -> None:
        gone = self.panes.pop(0)
        if self.panes and self.panes[0].index - gone.index > reach:
            self.since = self.panes[0].index

    def over(self, first: int, last: int, empty: Callable[[], Aggregate]) -> tuple[Aggregate, int]:
        """The aggregate of the panes first to last, both included, and how many events they have."""
        found, docs = empty(), 0
        for pane in self.panes:
            if first <= pane.index <= last:
                found.merge(pane.aggregate)
                docs += pane.docs
        return found, docs


@dataclass(slots=True)
class Strips:
    """The state: strips by key, the longest idle first; which keys have something in which pane; up to which
    pane it is judged; the rule's first pane.
    """

    by_key: dict[Key, Strip] = field(default_factory=dict)
    keys: dict[int, dict[Key, None]] = field(default_factory=dict)
    judged: int | None = None
    since: int | None = None
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Glazing:
    """How time is cut: `window` panes of `width` microseconds are a window, `reach` of them are kept."""

    width: int
    window: int
    reach: int
    empty: Callable[[], Aggregate]
    keyed: bool = False
    max_keys: int = MAX_KEYS

    def began(self, state: Strips, micros: int) -> None:
        """The rule is at work; without a query_key there is something to judge from now on."""
        if state.since is None:
            state.since = micros // self.width
            state.judged = state.since - 1

    def enter(
        self, state: Strips, key: Key, micros: int, parts: tuple[str, ...] = ()
    ) -> tuple[Strip, Pane] | None:
        """The strip and pane of an event, which is counted there; None when it is too late for any window."""
        index = micros // self.width
        if state.judged is None:
            self.began(state, micros)
        elif index <= state.judged - self.reach:
            return None
        strip = state.by_key.pop(key, None)
        if strip is None:
            if len(state.by_key) >= self.max_keys:
                self._forget_longest_idle(state)
            strip = Strip(index, parts)
        state.by_key[key] = strip
        pane = strip.panes[-1] if strip.panes else None
        if pane is None or pane.index != index:
            pane = self._pane(state, key, strip, index)
        pane.docs += 1
        return strip, pane

    def _pane(self, state: Strips, key: Key, strip: Strip, index: int) -> Pane:
        panes = strip.panes
        place = len(panes)
        while place and panes[place - 1].index > index:
            place -= 1
        if place and panes[place - 1].index == index:
            return panes[place - 1]
        pane = Pane(index, 0, self.empty())
        panes.insert(place, pane)
        state.keys.setdefault(index, {})[key] = None
        if len(panes) > _MOST_BEHIND * self.reach:
            strip.drop_first(self.reach)
        return pane

    def passed(self, state: Strips, now: int) -> Iterable[tuple[int, list[Key]]]:
        """The panes that ended by now and were not judged, with the keys to judge; what nothing refers to is
        forgotten after each."""
        last = now // self.width - 1
        if state.judged is None:
            return
        for index in self._unjudged(state, last):
            yield index, self._touched(state, index)
            state.judged = index
            self._let_go(state, index)
        state.judged = max(last, state.judged)

    def _unjudged(self, state: Strips, last: int) -> list[int]:
        first = (state.judged or 0) + 1
        if not self.keyed:
            return list(range(max(first, last + 1 - _MOST_AT_ONCE), last + 1))
        found = {index + step for index in state.keys for step in self._steps()}
        return sorted(index for index in found if first <= index <= last)

    def _steps(self) -> tuple[int, ...]:
        """After how many panes an event changes a judgement, by coming, by being the oldest, by going."""
        turns = range(self.window, self.reach + 1, self.window)
        return (0, *(step for turn in turns for step in (turn - 1, turn)))

    def _touched(self, state: Strips, index: int) -> list[Key]:
        if not self.keyed:
            return [None]
        found: dict[Key, None] = {}
        for step in self._steps():
            found.update(state.keys.get(index - step, {}))
        return list(found)

    def _let_go(self, state: Strips, index: int) -> None:
        """What lies before all windows that are still to be judged."""
        for old in [one for one in state.keys if one <= index - self.reach]:
            for key in state.keys.pop(old):
                strip = state.by_key.get(key)
                if strip is None:
                    continue
                while strip.panes and strip.panes[0].index <= index - self.reach:
                    strip.drop_first(self.reach)
                if not strip.panes and self.keyed:
                    del state.by_key[key]

    def _forget_longest_idle(self, state: Strips) -> None:
        for key in longest_idle(state.by_key):
            for pane in state.by_key.pop(key).panes:
                keys = state.keys.get(pane.index)
                if keys is not None:
                    keys.pop(key, None)
            state.forgotten += 1
