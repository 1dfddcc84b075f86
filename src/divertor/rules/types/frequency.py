"""`type: frequency`: at least `num_events` events of one key within `timeframe`.

The window hangs on its newest event, not on the present: events exactly `timeframe` apart are not in one
window. A match empties the key's window, so the next one needs `num_events` new events. A key whose newest
event is more than `timeframe` and what events may be late before the present is forgotten, both on a tick and
before a later event could join it: when ticks happen changes nothing. The match shows the event that made it.

In compatible mode the match shows the newest event by time, which need not be the one that arrived last,
and only ticks forget.

A key is remembered by the times of its events only, one time as a bare number: a million keys fit into
memory. The events themselves are kept when the match is to show them, as far as there is room (`kept`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.reading.options import Option, boolean, integer, span
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side, TypeDeclaration
from divertor.rules.types.kept import MAX_SIZE, MAX_SIZE_OF_KEY, Kept
from divertor.rules.types.polling import Entry, EventWindow
from divertor.rules.types.remembered import MAX_KEYS, idle, longest_idle

#: A window never holds more than num_events, so this bounds it.
MAX_NUM_EVENTS = 1_000_000

#: Times in the windows of several events of one rule together; beyond it the longest idle keys go.
MAX_TIMES = 16_000_000

#: A measured number is not followed beyond this.
MAX_MEASURED = 10_000

#: Events kept by one rule whose matches show them.
MAX_EVENTS = 200_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Windows:
    """The times of each key's events, the longest idle key first: one time as itself; several in order,
    after the place where the window starts (dropping the oldest moves it, and the array is cut now and
    then). `held` counts the places in arrays.
    """

    by_key: dict[Key, int | array[int]] = field(default_factory=dict)
    held: int = 0
    forgotten: int = 0

    def forget(self, key: Key) -> None:
        window = self.by_key.pop(key, None)
        if window.__class__ is array:
            self.held -= len(window)

    def bound(self, max_keys: int) -> None:
        while len(self.by_key) > max_keys or self.held > MAX_TIMES:
            for key in longest_idle(self.by_key):
                self.forget(key)
                self.forgotten += 1


@dataclass(slots=True)
class Counted:
    """The state. `since_match` are windows that a match empties; `kept` has them instead when events are
    kept; `lately`, for measuring only, are windows that a match does not empty.
    """

    since_match: Windows = field(default_factory=Windows)
    kept: dict[Key, Kept] = field(default_factory=dict)
    kept_events: int = 0
    kept_size: int = 0
    lately: Windows | None = None


@dataclass(frozen=True, slots=True)
class Frequency:
    """`timeframe` and `late` in microseconds; `attach_related` adds the other events to the match."""

    num_events: int
    timeframe: int
    attach_related: bool = False
    max_keys: int = MAX_KEYS
    compatible: bool = False
    measured: bool = False
    side: Side = "above"
    late: int = 0

    def start(self) -> Counted:
        return Counted(lately=Windows() if self.measured else None)

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe + self.late)

    def step(self, state: Counted, seen: Observation, now: int) -> list[Hit]:
        if state.lately is not None:
            self._add(state.lately, seen.key, seen.micros, now, max(self.num_events, MAX_MEASURED))
        if self.attach_related or self.compatible:
            return self._step_keeping(state, seen, now)
        if self._add(state.since_match, seen.key, seen.micros, now, self.num_events) < self.num_events:
            return []
        state.since_match.forget(seen.key)
        return [Hit.of(seen)]

    def tick(self, state: Counted, now: int) -> list[Hit]:
        for windows in (state.since_match, state.lately):
            if windows is not None:
                for key in idle(windows.by_key, lambda window: self._is_over(_newest(window), now)):
                    windows.forget(key)
        for key in [key for key, kept in state.kept.items() if self._is_over(kept.times[-1], now)]:
            _drop(state, key)
        return []

    @property
    def threshold(self) -> float:
        """Where alarms begin."""
        return float(self.num_events)

    def measure(self, state: Counted, key: Key, now: int) -> float | None:
        """The events of a key within the last `timeframe`; at most 10,000 or `num_events`."""
        if state.lately is None:
            return None
        window = state.lately.by_key.get(key)
        if window is None:
            return 0.0
        if isinstance(window, int):
            return float(now - window < self.timeframe)
        return float(len(window) - bisect_right(window, now - self.timeframe, lo=window[0]))

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return sentence(self.num_events, self.timeframe, time)

    def _is_over(self, newest: int, now: int) -> bool:
        """Whether nothing that may still come can be in one window with an event of that time."""
        return now - newest > self.timeframe + self.late

    def _add(self, windows: Windows, key: Key, micros: int, now: int, most: int) -> int:
        """Put a time into its key's window, which keeps `most`; how many it holds then."""
        # Popped and put back, so that the dict stays in order of last use.
        window = windows.by_key.pop(key, None)
        if window is None:
            windows.by_key[key] = micros
            if len(windows.by_key) > self.max_keys:
                windows.bound(self.max_keys)
            return 1
        if isinstance(window, int):
            return self._add_to_one(windows, key, window, micros, now, most)
        return self._add_to_many(windows, key, window, micros, now, most)

    def _add_to_one(self, windows: Windows, key: Key, known: int, micros: int, now: int, most: int) -> int:
        if self._is_over(known, now):
            windows.by_key[key] = micros
            return 1
        older, newer = (known, micros) if known <= micros else (micros, known)
        if newer - older >= self.timeframe or most == 1:
            windows.by_key[key] = newer
            return 1
        windows.by_key[key] = array("q", (1, older, newer))
        windows.held += 3
        return 2

    def _add_to_many(
        self, windows: Windows, key: Key, window: array[int], micros: int, now: int, most: int
    ) -> int:
        before = len(window)
        if self._is_over(window[-1], now):
            windows.by_key[key] = micros
            windows.held -= before
            return 1
        first = window[0]
        if micros >= window[-1]:
            window.append(micros)
        else:
            insort_right(window, micros, lo=first)
        first = self._first(window, first, most)
        count = len(window) - first
        if count == 1:
            windows.by_key[key] = window[-1]
            windows.held -= before
            return 1
        if first > 64 and first * 2 > len(window):
            del window[1:first]
            first = 1
        window[0] = first
        windows.by_key[key] = window
        windows.held += len(window) - before
        if windows.held > MAX_TIMES:
            windows.bound(self.max_keys)
        return count

    def _first(self, window: array[int], first: int, most: int) -> int:
        """Where the window starts: nothing too old in it, and no more than decides."""
        oldest = window[-1] - self.timeframe
        while window[first] <= oldest:
            first += 1
        return max(first, len(window) - most)

    def _step_keeping(self, state: Counted, seen: Observation, now: int) -> list[Hit]:
        kept = _drop(state, seen.key)
        if kept is None or (self._is_over(kept.times[-1], now) and not self.compatible):
            kept = Kept()
        kept.add(seen, self.timeframe)
        # A compatible match may show another event than the one that made it: the newest is needed.
        kept.slim_to(min(MAX_SIZE_OF_KEY, MAX_SIZE - state.kept_size), spared=int(self.compatible))
        if len(kept.events) >= self.num_events:
            return [self._hit(kept, seen)]
        state.kept[seen.key] = kept
        state.kept_events += len(kept.events)
        state.kept_size += kept.size
        too_much = state.kept_events > MAX_EVENTS or state.kept_size > 2 * MAX_SIZE
        if too_much or len(state.kept) > self.max_keys:
            for key in longest_idle(state.kept):
                _drop(state, key)
                state.since_match.forgotten += 1
        return []

    def _hit(self, kept: Kept, seen: Observation) -> Hit:
        shown = kept.events[-1] if self.compatible else seen.event
        if not self.attach_related:
            return Hit(seen.key, kept.times[-1], seen.event.id, shown)
        related, fields = kept.but(shown)
        if self.compatible:
            return Hit(seen.key, kept.times[-1], seen.event.id, shown, fields, related)
        return Hit.of(seen, fields=fields, related=related)


@dataclass(slots=True)
class Polls:
    """The state of `PolledCounts`: events since the last poll by key, and the windows of what polls found."""

    since_poll: dict[Key, int] = field(default_factory=dict)
    windows: dict[Key, EventWindow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolledCounts:
    """`use_count_query` and `use_terms_query` (`by_key`) in compatible mode: a poll finds numbers, which
    count as so many events at its end. The match shows the time and the key only.
    """

    num_events: int
    timeframe: int
    by_key: bool
    max_keys: int = MAX_KEYS

    def start(self) -> Polls:
        return Polls()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe)

    def step(self, state: Polls, seen: Observation, now: int) -> list[Hit]:
        key = seen.key if self.by_key else None
        if key is not None or not self.by_key:
            state.since_poll[key] = state.since_poll.get(key, 0) + 1
            if len(state.since_poll) > self.max_keys:
                for oldest in longest_idle(state.since_poll):
                    del state.since_poll[oldest]
        return []

    def tick(self, state: Polls, now: int) -> list[Hit]:
        found = state.since_poll if self.by_key else {None: state.since_poll.get(None, 0)}
        state.since_poll = {}
        hits = [hit for key, count in found.items() for hit in self._counted(state, key, count, now)]
        for key in [key for key, window in state.windows.items() if now - window.times[-1] > self.timeframe]:
            del state.windows[key]
        return hits

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return sentence(self.num_events, self.timeframe, time)

    def _counted(self, state: Polls, key: Key, count: int, now: int) -> list[Hit]:
        window = state.windows.setdefault(key, EventWindow(self.timeframe))
        window.append(Entry(now, count))
        if window.total < self.num_events:
            return []
        del state.windows[key]
        return [Hit.at(key, now)]


def sentence(num_events: int, timeframe: int, time: datetime) -> str:
    """What a match means."""
    start = time - timedelta(microseconds=timeframe)
    return f"At least {num_events} events occurred between {minute(start)} and {minute(time)}"


def _drop(state: Counted, key: Key) -> Kept | None:
    """Take a key's events out."""
    kept = state.kept.pop(key, None)
    if kept is not None:
        state.kept_events -= len(kept.events)
        state.kept_size -= kept.size
    return kept


def _newest(window: int | array[int]) -> int:
    return window if isinstance(window, int) else window[-1]


def minute(moment: datetime) -> str:
    """A time as the sentences about matches spell it."""
    return moment.strftime("%Y-%m-%d %H:%M %Z")


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    num_events, timeframe = options["num_events"], options["timeframe"] // _MICROSECOND
    if settings.compatible and (options["use_count_query"] or options["use_terms_query"]):
        return PolledCounts(num_events, timeframe, by_key=not options["use_count_query"])
    return Frequency(
        num_events=num_events,
        timeframe=timeframe,
        attach_related=options["attach_related"],
        compatible=settings.compatible,
        measured=settings.measured,
        late=0 if settings.compatible else settings.late // _MICROSECOND,
    )


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "frequency",
    (
        Option("num_events", integer(1, MAX_NUM_EVENTS), required=True),
        Option("timeframe", span(), required=True),
        Option("attach_related", boolean, default=False),
        Option("use_count_query", boolean, default=False),
        Option("use_terms_query", boolean, default=False),
    ),
    make,
)
