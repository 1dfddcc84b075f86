"""A number over the events of a window that must stay between two bounds: what `metric_aggregation` and
`percentage_match` share.

The window is the last `buffer_time` (`bucket_interval` or `run_every`, if the rule says so) and moves in
steps of a thirtieth of it. A bound that more events can only push further past is judged with each event,
and the match shows the event; the others are judged at the end of each step, of keys that were seen a whole
window ago, so that half a window is not taken for few. While the number stays bad, there is a hit per window.

Compatible mode judges in each run what ElastAlert would query then (`runs.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, nextafter
from typing import Any, Protocol, TypeAlias

from divertor.rules.document import Document, scalar_text
from divertor.rules.types.aggregates import Aggregate
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side
from divertor.rules.types.panes import Glazing, Pane, Strip, Strips
from divertor.rules.types.remembered import compact
from divertor.rules.types.runs import Poller, Runs

#: Into how many steps a window is cut.
PANES = 30

_MICROSECOND = timedelta(microseconds=1)


class Gauge(Protocol):
    """What is measured. `pushes_up`, `pushes_down`: more events can only make the number larger, smaller."""

    @property
    def pushes_up(self) -> bool: ...

    @property
    def pushes_down(self) -> bool: ...

    def empty(self) -> Aggregate:
        """The number of no events."""

    def sample(self, document: Document) -> tuple[Any, ...]:
        """The values of one event."""

    def fields(self, aggregate: Aggregate, number: float) -> dict[str, Any]:
        """What a match shows of it."""

    def summary(self, document: Mapping[str, Any]) -> str:
        """The sentence for a match."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Strict ones; None: no bound."""

    least: float | None
    most: float | None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("neither an upper nor a lower bound")

    def is_above(self, number: float) -> bool:
        return self.most is not None and number > self.most

    def is_below(self, number: float) -> bool:
        return self.least is not None and number < self.least

    @property
    def side(self) -> Side:
        return "below" if self.most is None else "above"

    @property
    def threshold(self) -> float:
        """The first bad number, of those that `measured` gives."""
        if self.most is None:
            return nextafter(self.least or 0.0, -inf)
        return nextafter(self.most if self.least is None else 0.0, inf)

    def measured(self, number: float | None) -> float | None:
        """The number; with two bounds, how far it is outside, negative inside."""
        if number is None or self.most is None or self.least is None:
            return number
        return max(number - self.most, self.least - number)


#: The state in compatible mode beside which numbers measure asks for: the last by key.
Last: TypeAlias = dict[Key, float | None]


@dataclass(frozen=True, slots=True)
class Band:
    """The default mode."""

    gauge: Gauge
    bounds: Bounds
    glazing: Glazing
    query_key: tuple[str, ...] = ()
    min_docs: int = 1

    @property
    def side(self) -> Side:
        return self.bounds.side

    @property
    def threshold(self) -> float:
        return self.bounds.threshold

    def start(self) -> Strips:
        return Strips()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.glazing.width * self.glazing.window)

    def step(self, state: Strips, seen: Observation, now: int) -> list[Hit]:
        parts = parts_of(seen, self.query_key)
        if parts is None:
            return []
        entered = self.glazing.enter(state, seen.key, seen.micros, parts)
        if entered is None:
            return []
        strip, pane = entered
        sample = self.gauge.sample(seen.document)
        for value in sample:
            pane.aggregate.add(value)
        if not (self.gauge.pushes_up or self.gauge.pushes_down):
            return []
        return self._judge_early(strip, pane, sample, seen)

    def tick(self, state: Strips, now: int) -> list[Hit]:
        if not self.query_key:
            self.glazing.began(state, now)
        hits = []
        for index, keys in self.glazing.passed(state, now):
            # Where events alone can show that the number is bad, time only lets go of old ones.
            for key in keys if self._is_late_to_judge() else ():
                hits += self._judge(state, key, index)
        return hits

    def measure(self, state: Strips, key: Key, now: int) -> float | None:
        strip = state.by_key.get(key)
        if strip is None:
            return self.bounds.measured(self.gauge.empty().value())
        index = now // self.glazing.width
        found, _docs = strip.over(index - self.glazing.window + 1, index, self.gauge.empty)
        return self.bounds.measured(found.value())

    def summary(self, document: Mapping[str, Any], _time: datetime) -> str:
        return self.gauge.summary(document)

    def _judge_early(self, strip: Strip, pane: Pane, sample: tuple[Any, ...], seen: Observation) -> list[Hit]:
        newest = strip.panes[-1].index
        first = newest - self.glazing.window + 1
        if strip.whole is None or strip.whole_at != newest:
            self._look_back(strip, newest)
            strip.whole, _docs = strip.over(first, newest, self.gauge.empty)
            strip.whole_at = newest
        elif pane.index >= first:
            for value in sample:
                strip.whole.add(value)
        number = strip.whole.value()
        if number is None or not self._is_bad_early(number) or seen.micros < strip.hot:
            return []
        if sum(one.docs for one in strip.panes if one.index >= first) < self.min_docs:
            return []
        strip.hot = seen.micros + self.glazing.width * self.glazing.window
        return [Hit.of(seen, fields=self._fields(strip, strip.whole, number))]

    def _look_back(self, strip: Strip, newest: int) -> None:
        """Whether the number was good when the newest pane began: then what is bad now is news."""
        if strip.hot:
            before, _docs = strip.over(newest - self.glazing.window, newest - 1, self.gauge.empty)
            number = before.value()
            if number is None or not self._is_bad_early(number):
                strip.hot = 0

    def _is_bad_early(self, number: float) -> bool:
        if self.gauge.pushes_up and self.bounds.is_above(number):
            return True
        return self.gauge.pushes_down and self.bounds.is_below(number)

    def _is_bad_late(self, number: float) -> bool:
        if not self.gauge.pushes_up and self.bounds.is_above(number):
            return True
        return not self.gauge.pushes_down and self.bounds.is_below(number)

    def _is_late_to_judge(self) -> bool:
        """Whether there is a bound that is judged at the end of steps."""
        over = self.bounds.most is not None and not self.gauge.pushes_up
        return over or (self.bounds.least is not None and not self.gauge.pushes_down)

    def _judge(self, state: Strips, key: Key, index: int) -> list[Hit]:
        strip = state.by_key.get(key)
        if strip is None:
            if self.query_key or key is not None:
                return []
            strip = state.by_key[key] = Strip(index)
        first = index - self.glazing.window + 1
        # Without a key the rule's own first pane may have begun before the rule.
        since = strip.began(index, self.glazing.reach) if self.query_key else (state.since or 0) + 1
        found, docs = strip.over(first, index, self.gauge.empty)
        number = found.value()
        few = bool(self.query_key) and docs < self.min_docs
        if number is None or few or first < since or not self._is_bad_late(number):
            strip.bad = False
            return []
        moment = (index + 1) * self.glazing.width
        if strip.bad and moment < strip.quiet:
            return []
        strip.bad, strip.quiet = True, moment + self.glazing.width * self.glazing.window
        return [Hit.at(key, moment, fields=self._fields(strip, found, number))]

    def _fields(self, strip: Strip, aggregate: Aggregate, number: float) -> dict[str, Any]:
        return {**compound(self.query_key, strip.parts), **self.gauge.fields(aggregate, number)}


@dataclass(slots=True)
class Polled:
    """The state in compatible mode, with each key's last number."""

    runs: Runs
    last: Last


@dataclass(frozen=True, slots=True)
class PolledBand:
    """Compatible mode."""

    gauge: Gauge
    bounds: Bounds
    poller: Poller
    query_key: tuple[str, ...] = ()

    @property
    def side(self) -> Side:
        return self.bounds.side

    @property
    def threshold(self) -> float:
        return self.bounds.threshold

    def start(self) -> Polled:
        return Polled(Runs(), {})

    def span(self) -> timedelta:
        return timedelta(microseconds=2 * self.poller.buffer)

    def step(self, state: Polled, seen: Observation, now: int) -> list[Hit]:
        parts = leading_parts_of(seen, self.query_key)
        self.poller.take(state.runs, (seen.micros, parts, self.gauge.sample(seen.document)))
        return []

    def tick(self, state: Polled, now: int) -> list[Hit]:
        hits = []
        for one in self.poller.stretches(state.runs, now):
            state.last = {}
            for bucket in self.poller.buckets(state.runs, one, len(self.query_key), self.gauge.empty):
                key = ", ".join(bucket.parts) if self.query_key else None
                number = state.last[key] = bucket.aggregate.value()
                if number is not None and (self.bounds.is_above(number) or self.bounds.is_below(number)):
                    shown = compound(self.query_key, bucket.parts)
                    fields = {**shown, **self.gauge.fields(bucket.aggregate, number)}
                    hits.append(Hit.at(key, bucket.micros, fields=fields))
        return hits

    def measure(self, state: Polled, key: Key, now: int) -> float | None:
        return self.bounds.measured(state.last.get(key, self.gauge.empty().value()))

    def summary(self, document: Mapping[str, Any], _time: datetime) -> str:
        return self.gauge.summary(document)


def parts_of(seen: Observation, query_key: tuple[str, ...]) -> tuple[str, ...] | None:
    """The values of the key's fields; None when one is missing, as such an event is in no group."""
    if len(query_key) < 2:
        return () if not query_key else None if seen.key is None else (seen.key,)
    found = leading_parts_of(seen, query_key)
    return found if len(found) == len(query_key) else None


def leading_parts_of(seen: Observation, query_key: tuple[str, ...]) -> tuple[str, ...]:
    """The values of the key's fields up to the first that is missing."""
    found: list[str] = []
    for name in query_key:
        value = next(iter(seen.document.values(name)), None)
        if value is None:
            break
        found.append(compact(scalar_text(value)))
    return tuple(found)


def compound(query_key: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str]:
    """The fields of a compound key, for a match without an event; a single one is shown anyway."""
    return dict(zip(query_key, parts, strict=True)) if len(query_key) > 1 else {}


def make_band(gauge: Gauge, bounds: Bounds, options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    """Either mode, from the options that rules about windows share.

    :raises ValueError: bounds or lengths that make no sense together.
    """
    by_run_every = options["use_run_every_query_size"]
    length = settings.run_every if by_run_every else settings.buffer_time
    interval = options["bucket_interval"]
    if interval is not None and length % interval:
        which = "run_every" if by_run_every else "buffer_time"
        raise ValueError(f"{which} is no multiple of bucket_interval")
    min_docs = options.get("min_doc_count", 1)
    if settings.compatible:
        poller = Poller(
            buffer=settings.buffer_time // _MICROSECOND,
            run_every=settings.run_every // _MICROSECOND,
            by_run_every=by_run_every,
            overlap=options["allow_buffer_time_overlap"],
            interval=0 if interval is None else interval // _MICROSECOND,
            sync=options["sync_bucket_interval"],
            min_docs=min_docs,
            terms=options["terms_size"],
        )
        return PolledBand(gauge, bounds, poller, settings.query_key)
    window = (length if interval is None else interval) // _MICROSECOND
    glazing = Glazing(max(1, window // PANES), PANES, PANES, gauge.empty, bool(settings.query_key))
    return Band(gauge, bounds, glazing, settings.query_key, min_docs)
