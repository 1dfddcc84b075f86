"""`type: frequency`: at least `num_events` events of one key within `timeframe`.

The window hangs on its newest event, not on the present: events exactly `timeframe` apart are not in one
window. A match empties the key's window, so the next one needs `num_events` new events; its body is the
newest event by time, which need not be the one that arrived last. A key whose newest event is more than
`timeframe` before the present is forgotten, both on a tick and before a late event could join it: when ticks
happen changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.options import Option, boolean, integer, span
from divertor.rules.types.contract import Hit, Key, Observation, Settings, TypeDeclaration

#: Keys of one rule that are remembered; an attacker may choose keys, so beyond it the longest idle one goes.
MAX_KEYS = 100_000

#: A window never holds more than num_events, so this bounds it.
MAX_NUM_EVENTS = 1_000_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Window:
    """The events of one key, ordered by time, as their times.

    `newest` is what a match will show; `seen` runs beside `times`, and only when the related events are asked
    for.
    """

    newest: Observation
    times: list[int] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    #: Where the window starts in both lists: dropping the oldest moves it, and the lists are cut now and
    #: then.
    first: int = 0

    def count(self) -> int:
        return len(self.times) - self.first


@dataclass(slots=True)
class Windows:
    """The state: windows by key, the longest idle first."""

    by_key: dict[Key, Window] = field(default_factory=dict)
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Frequency:
    """`timeframe` in microseconds; `attach_related` adds the window's other events to the match."""

    num_events: int
    timeframe: int
    attach_related: bool = False
    max_keys: int = MAX_KEYS

    def start(self) -> Windows:
        return Windows()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe)

    def step(self, state: Windows, seen: Observation, now: int) -> list[Hit]:
        window = self._window(state, seen, now)
        self._insert(window, seen)
        self._drop_old(window)
        if window.count() < self.num_events:
            return []
        del state.by_key[seen.key]
        return [self._hit(window, seen.event.id)]

    def tick(self, state: Windows, now: int) -> list[Hit]:
        stale = [key for key, window in state.by_key.items() if self._is_stale(window, now)]
        for key in stale:
            del state.by_key[key]
        return []

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        start = time - timedelta(microseconds=self.timeframe)
        return f"At least {self.num_events} events occurred between {_minute(start)} and {_minute(time)}"

    def _window(self, state: Windows, seen: Observation, now: int) -> Window:
        # Popped and put back, so that the dict stays in order of last use.
        window = state.by_key.pop(seen.key, None)
        if window is None or self._is_stale(window, now):
            window = Window(seen)
        state.by_key[seen.key] = window
        if len(state.by_key) > self.max_keys:
            del state.by_key[next(iter(state.by_key))]
            state.forgotten += 1
        return window

    def _is_stale(self, window: Window, now: int) -> bool:
        return now - window.times[-1] > self.timeframe

    def _drop_old(self, window: Window) -> None:
        times, newest, first = window.times, window.times[-1], window.first
        while newest - times[first] >= self.timeframe:
            first += 1
        if first > 64 and first * 2 > len(times):
            del times[:first], window.seen[:first]
            first = 0
        window.first = first

    def _hit(self, window: Window, cause: str) -> Hit:
        related = (
            tuple(seen.event for seen in window.seen[window.first : -1]) if self.attach_related else None
        )
        newest = window.newest
        return Hit(newest.key, newest.micros, cause, newest.event, related=related)

    def _insert(self, window: Window, seen: Observation) -> None:
        """By time; among equals the one that arrived last counts as the newest."""
        times = window.times
        place = len(times)
        if seen.micros >= window.newest.micros:
            window.newest = seen
        else:
            place = bisect_right(times, seen.micros, lo=window.first)
        times.insert(place, seen.micros)
        if self.attach_related:
            window.seen.insert(place, seen)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def make(options: Mapping[str, Any], _settings: Settings) -> Frequency:
    return Frequency(
        num_events=options["num_events"],
        timeframe=options["timeframe"] // _MICROSECOND,
        attach_related=options["attach_related"],
    )


DECLARATION: TypeDeclaration[Windows] = TypeDeclaration(
    "frequency",
    (
        Option("num_events", integer(1, MAX_NUM_EVENTS), required=True),
        Option("timeframe", span(), required=True),
        Option("attach_related", boolean, default=False),
    ),
    make,
)
