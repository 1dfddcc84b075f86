"""`type: flatline`: fewer than `threshold` events of one key within `timeframe`.

Only time shows silence, so it is judged on ticks, and the clock of the ticks is what late events are waited
for with (`query_delay`): a key is silent when its `threshold`-th newest event is `timeframe` or more before
the tick. Without a query_key the rule is armed from its first tick, whether or not an event ever came; with
one, a key is watched from its first event. A silence is one hit, at the moment when it became true; the key
is armed again when `threshold` events came within `timeframe`.

Beyond MAX_KEYS those that have been silent longest are let go, and if none is silent a new key is not
watched: an attacker who invents keys must not push out those that matter.

Compatible mode judges as ElastAlert does, after each batch, and hits again with every run while it lasts.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.model.events import Event
from divertor.rules.reading.options import Option, boolean, integer, span
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side, TypeDeclaration
from divertor.rules.types.deadlines import Deadlines, grain_of
from divertor.rules.types.polling import Entry, EventWindow
from divertor.rules.types.remembered import MAX_KEYS, longest_idle

MAX_THRESHOLD = 1_000_000

#: Times that are kept beyond the threshold when somebody asks how many events there are.
_KEPT_TO_MEASURE = 10_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Watch:
    """One key: the times of its newest events in order, and when it was first seen."""

    times: list[int]
    since: int


@dataclass(slots=True)
class Watches:
    """The state: keys that are alive, keys that are silent (the longest silent first), when who is due."""

    deadlines: Deadlines
    alive: dict[Key, Watch] = field(default_factory=dict)
    silent: dict[Key, Watch] = field(default_factory=dict)
    #: New keys that were not watched, because there were too many.
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Flatline:
    """`timeframe` in microseconds; `keyed`: there is a query_key; `keep`: how many times are kept."""

    fewest: int
    timeframe: int
    keyed: bool = False
    forget_keys: bool = False
    keep: int = 1
    max_keys: int = MAX_KEYS
    side: Side = "below"

    @property
    def threshold(self) -> float:
        """The most events that are still too few."""
        return self.fewest - 1

    def start(self) -> Watches:
        return Watches(Deadlines(grain_of(self.timeframe)))

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe)

    def step(self, state: Watches, seen: Observation, now: int) -> list[Hit]:
        watch = state.alive.get(seen.key)
        if watch is None:
            self._meet(state, seen)
            return []
        times = watch.times
        if self.keep == 1 and times:
            times[0] = max(times[0], seen.micros)  # one that is enough needs no others beside it
        elif not times or seen.micros >= times[-1]:
            times.append(seen.micros)
        else:
            insort(times, seen.micros)
        if len(times) > 2 * self.keep + 16:
            del times[: -self.keep]
        return []

    def tick(self, state: Watches, now: int) -> list[Hit]:
        if not self.keyed and not state.alive and not state.silent:
            self._watch(state, None, Watch([], now))
        hits = []
        for key in state.deadlines.due(now):
            watch = state.alive.get(key)
            if watch is None:
                continue
            moment = self._deadline(watch)
            if moment > now:
                state.deadlines.set(key, moment)
                continue
            hits.append(self._hit(key, watch, moment))
            del state.alive[key]
            if not self.forget_keys:
                state.silent[key] = watch
        hits.sort(key=lambda hit: hit.micros)
        return hits

    def measure(self, state: Watches, key: Key, now: int) -> float | None:
        watch = state.alive.get(key) or state.silent.get(key)
        return None if watch is None else self._count(watch, now)

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return _summary(self.fewest, self.timeframe, time)

    def _deadline(self, watch: Watch) -> int:
        """When the key is silent if nothing else comes."""
        times = watch.times
        if len(times) < self.fewest:
            return watch.since + self.timeframe
        return max(watch.since, times[-self.fewest]) + self.timeframe

    def _count(self, watch: Watch, now: int) -> int:
        return len(watch.times) - bisect_right(watch.times, now - self.timeframe)

    def _hit(self, key: Key, watch: Watch, moment: int) -> Hit:
        fields = {
            "key": key if self.keyed else "all",
            "count": self._count(watch, moment),
            "threshold": self.fewest,
        }
        return Hit.at(key, moment, fields=fields)

    def _meet(self, state: Watches, seen: Observation) -> None:
        """An event of a key that is new or silent."""
        watch = state.silent.get(seen.key)
        if watch is None:
            self._watch(state, seen.key, Watch([seen.micros], seen.micros))
            return
        insort(watch.times, seen.micros)
        del watch.times[: -self.keep]
        if len(watch.times) >= self.fewest and watch.times[-self.fewest] + self.timeframe > watch.times[-1]:
            del state.silent[seen.key]
            self._watch(state, seen.key, watch)

    def _watch(self, state: Watches, key: Key, watch: Watch) -> None:
        if len(state.alive) + len(state.silent) >= self.max_keys:
            for gone in longest_idle(state.silent):
                del state.silent[gone]
        if len(state.alive) >= self.max_keys:
            state.refused += 1
            return
        state.alive[key] = watch
        state.deadlines.set(key, self._deadline(watch))


@dataclass(slots=True)
class Polled:
    """The state in compatible mode: ElastAlert's windows, and whose event came last in the batch."""

    windows: dict[Key, EventWindow] = field(default_factory=dict)
    first: dict[Key, int] = field(default_factory=dict)
    newest: dict[Key, Event | None] = field(default_factory=dict)
    last: tuple[Key] | None = None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class PolledFlatline:
    """Compatible mode. After a batch only the key of its last event is judged, then every key as of the
    batch's end; the match shows the newest event, or only a time when the poll itself is newer.
    """

    fewest: int
    timeframe: int
    keyed: bool = False
    forget_keys: bool = False
    max_keys: int = MAX_KEYS
    side: Side = "below"

    @property
    def threshold(self) -> float:
        """The most events that are still too few."""
        return self.fewest - 1

    def start(self) -> Polled:
        return Polled()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe)

    def step(self, state: Polled, seen: Observation, now: int) -> list[Hit]:
        if self._append(state, seen.key, seen.micros, 1, seen.event):
            state.last = (seen.key,)
        return []

    def tick(self, state: Polled, now: int) -> list[Hit]:
        hits = []
        if state.last is not None:
            hits += self._judge(state, *state.last)
            state.last = None
        for key in list(state.windows) or ([] if self.keyed else [None]):
            self._append(state, key, now, 0, None)
            state.first.setdefault(key, now)
            hits += self._judge(state, key)
        return hits

    def measure(self, state: Polled, key: Key, now: int) -> float | None:
        window = state.windows.get(key)
        return None if window is None else window.total_after(now - self.timeframe)

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return _summary(self.fewest, self.timeframe, time)

    def _append(self, state: Polled, key: Key, micros: int, count: int, event: Event | None) -> bool:
        window = state.windows.get(key)
        if window is None:
            if len(state.windows) >= self.max_keys:
                state.refused += 1
                return False
            window = state.windows[key] = EventWindow(self.timeframe)
        if not window.times or micros >= window.times[-1]:
            state.newest[key] = event
        window.append(Entry(micros, count))
        return True

    def _judge(self, state: Polled, key: Key) -> list[Hit]:
        window = state.windows[key]
        newest = window.times[-1]
        if newest - state.first.setdefault(key, newest) < self.timeframe or window.total >= self.fewest:
            return []
        event = state.newest[key]
        fields = {
            "key": key if self.keyed else "all",
            "count": int(window.total),
            "threshold": self.fewest,
        }
        cause = f"@{newest}" if event is None else event.id
        if self.forget_keys:
            del state.first[key], state.windows[key], state.newest[key]
        else:
            state.first[key] = min(window.times[0], newest - self.timeframe)
        return [Hit(key, newest, cause, event, fields)]


def _summary(fewest: int, timeframe: int, time: datetime) -> str:
    start = time - timedelta(microseconds=timeframe)
    return (
        f"An abnormally low number of events: fewer than {fewest} between"
        f" {start:%Y-%m-%d %H:%M %Z} and {time:%Y-%m-%d %H:%M %Z}"
    )


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    fewest, timeframe = options["threshold"], options["timeframe"] // _MICROSECOND
    keyed, forget = bool(settings.query_key), options["forget_keys"]
    if settings.compatible:
        return PolledFlatline(fewest, timeframe, keyed, forget)
    keep = fewest + _KEPT_TO_MEASURE if settings.measured else fewest
    return Flatline(fewest, timeframe, keyed, forget, keep)


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "flatline",
    (
        Option("threshold", integer(1, MAX_THRESHOLD), required=True),
        Option("timeframe", span(), required=True),
        Option("forget_keys", boolean, default=False),
    ),
    make,
)
