"""`type: spike_aggregation`: an aggregate of a field over the last `timeframe` is `spike_height` times as
large, or as small, as over the `timeframe` before.

Both windows move in steps of a sixteenth of `timeframe` and are judged at the end of each. A cardinality or
value_count of nothing is taken as one, as `spike` does; any other aggregate is compared only with a reference
above 0. A key is judged from 2 * timeframe after its first event (with `alert_on_new_data`: after the rule's
first), and again 2 * timeframe after a hit. With a query_key, windows with fewer than `min_doc_count` events
are not compared.

Compatible mode takes each run's aggregate over `buffer_time` as one sample of a spike, as ElastAlert does:
averages, minima and maxima of samples are compared, of other kinds the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail
from divertor.rules.reading.options import Option, boolean, number, span
from divertor.rules.types.aggregates import OF_ANYTHING
from divertor.rules.types.band import compound, leading_parts_of, parts_of
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side, TypeDeclaration
from divertor.rules.types.metric_aggregation import METRIC, Metric, percentile_rank
from divertor.rules.types.panes import Glazing, Strip, Strips
from divertor.rules.types.polling import Entry, PolledSpikes, SpikeJudge, least, mean, most, total
from divertor.rules.types.readers import choice
from divertor.rules.types.runs import Poller, Runs
from divertor.rules.types.spike import spike_summary

#: Into how many steps each of the two windows is cut.
PANES = 16

_LARGEST = 1e30
_MICROSECOND = timedelta(microseconds=1)
_READINGS = {"avg": mean, "min": least, "max": most}


@dataclass(frozen=True, slots=True)
class SpikeAggregation:
    """`timeframe` in microseconds."""

    metric: Metric
    glazing: Glazing
    timeframe: int
    height: float
    up: bool
    down: bool
    threshold_ref: float = 0
    threshold_cur: float = 0
    query_key: tuple[str, ...] = ()
    new_data: bool = False
    min_docs: int = 1
    side: Side = "above"

    @property
    def threshold(self) -> float:
        return self.height

    def start(self) -> Strips:
        return Strips()

    def span(self) -> timedelta:
        return timedelta(microseconds=2 * self.timeframe)

    def step(self, state: Strips, seen: Observation, now: int) -> list[Hit]:
        parts = parts_of(seen, self.query_key)
        entered = None if parts is None else self.glazing.enter(state, seen.key, seen.micros, parts)
        if entered is not None:
            for value in self.metric.sample(seen.document):
                entered[1].aggregate.add(value)
        return []

    def tick(self, state: Strips, now: int) -> list[Hit]:
        if not self.query_key:
            self.glazing.began(state, now)
        hits = []
        for index, keys in self.glazing.passed(state, now):
            for key in keys:
                strip = state.by_key.get(key)
                if strip is not None:
                    hits += self._judge(state, key, strip, index)
        return hits

    def measure(self, state: Strips, key: Key, now: int) -> float | None:
        strip = state.by_key.get(key)
        if strip is None:
            return None
        numbers = self._numbers(strip, now // self.glazing.width)
        if numbers is None:
            return None
        current, reference = self._compared(*numbers)
        if reference <= 0 or current < 0:
            return None
        rise = current / reference
        fall = 1 / rise if rise else float(self.height) if reference else 0.0
        return max(rise if self.up else 0.0, fall if self.down else 0.0)

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        return spike_summary(document, time, self.timeframe, f"{self.metric.kind} of {self.metric.key}")

    def _judge(self, state: Strips, key: Key, strip: Strip, index: int) -> list[Hit]:
        moment = (index + 1) * self.glazing.width
        since = strip.began(index, 2 * PANES)
        if not self.query_key or self.new_data:
            since = state.since or 0
        if index - 2 * PANES + 1 < since or moment < strip.quiet:
            return []
        numbers = self._numbers(strip, index)
        if numbers is None or not self._is_spike(*numbers):
            return []
        strip.quiet = moment + 2 * self.timeframe
        fields = {"spike_count": numbers[0], "reference_count": numbers[1]}
        return [Hit.at(key, moment, fields={**compound(self.query_key, strip.parts), **fields})]

    def _numbers(self, strip: Strip, index: int) -> tuple[float, float] | None:
        """Current and reference as of the end of a pane."""
        middle = index - PANES
        current, docs = strip.over(middle + 1, index, self.metric.empty)
        reference, docs_before = strip.over(middle - PANES + 1, middle, self.metric.empty)
        if self.query_key and self.min_docs > 1 and min(docs, docs_before) < self.min_docs:
            return None
        now, before = current.value(), reference.value()
        return None if now is None or before is None else (now, before)

    def _compared(self, current: float, reference: float) -> tuple[float, float]:
        if self.metric.kind in OF_ANYTHING:
            return max(current, 1), max(reference, 1)
        return current, reference

    def _is_spike(self, current: float, reference: float) -> bool:
        if current < self.threshold_cur or reference < self.threshold_ref:
            return False
        if not current and not reference:
            return False
        now, before = self._compared(current, reference)
        if before <= 0 or now < 0:
            return False
        return (self.up and now >= before * self.height) or (self.down and now * self.height <= before)


@dataclass(slots=True)
class Polled:
    """The state in compatible mode."""

    runs: Runs
    spikes: PolledSpikes


@dataclass(frozen=True, slots=True)
class PolledSpikeAggregation:
    """Compatible mode."""

    metric: Metric
    judge: SpikeJudge
    poller: Poller
    query_key: tuple[str, ...] = ()
    side: Side = "above"

    @property
    def threshold(self) -> float:
        return self.judge.height

    def start(self) -> Polled:
        return Polled(Runs(), PolledSpikes())

    def span(self) -> timedelta:
        return timedelta(microseconds=2 * self.judge.timeframe + self.poller.buffer)

    def step(self, state: Polled, seen: Observation, now: int) -> list[Hit]:
        parts = leading_parts_of(seen, self.query_key)
        self.poller.take(state.runs, (seen.micros, parts, self.metric.sample(seen.document)))
        return []

    def tick(self, state: Polled, now: int) -> list[Hit]:
        hits = []
        for one in self.poller.stretches(state.runs, now):
            for bucket in self.poller.buckets(state.runs, one, len(self.query_key), self.metric.empty):
                number = bucket.aggregate.value()
                key = ", ".join(bucket.parts) if self.query_key else None
                if number is None:
                    self.judge.wait(state.spikes, key, bucket.micros)
                else:
                    hits += self.judge.take(state.spikes, key, Entry(bucket.micros, number))
            if one.polled:
                hits += self.judge.poll(state.spikes, one.end)
        return hits

    def measure(self, state: Polled, key: Key, now: int) -> float | None:
        return self.judge.measure(state.spikes, key)

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        what = f"{self.metric.kind} of {self.metric.key}"
        return spike_summary(document, time, self.judge.timeframe, what)


def _no_interval(node: Node, what: str) -> Any:
    """:raises InputError: always."""
    fail(node, f"{what} would cut the windows that are compared", "timeframe alone")


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    kind, timeframe = options["spike_type"], options["timeframe"] // _MICROSECOND
    metric = Metric(options["metric_agg_key"], options["metric_agg_type"], percentile_rank(options))
    up, down = kind in ("up", "both"), kind in ("down", "both")
    keyed = bool(settings.query_key)
    shared: dict[str, Any] = {
        "timeframe": timeframe,
        "height": options["spike_height"],
        "up": up,
        "down": down,
        "threshold_ref": options["threshold_ref"],
        "threshold_cur": options["threshold_cur"],
        "new_data": keyed and options["alert_on_new_data"],
    }
    if settings.compatible:
        judge = SpikeJudge(**shared, keyed=keyed, reading=_READINGS.get(metric.kind, total))
        poller = Poller(
            settings.buffer_time // _MICROSECOND,
            settings.run_every // _MICROSECOND,
            min_docs=options["min_doc_count"],
            terms=options["terms_size"],
        )
        return PolledSpikeAggregation(metric, judge, poller, settings.query_key)
    glazing = Glazing(max(1, timeframe // PANES), PANES, 2 * PANES, metric.empty, keyed)
    return SpikeAggregation(
        metric, glazing, **shared, query_key=settings.query_key, min_docs=options["min_doc_count"]
    )


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "spike_aggregation",
    (
        *METRIC,
        Option("spike_height", number(1, 1e9), required=True),
        Option("spike_type", choice("up", "down", "both"), required=True),
        Option("timeframe", span(), required=True),
        Option("threshold_ref", number(-_LARGEST, _LARGEST), default=0.0),
        Option("threshold_cur", number(-_LARGEST, _LARGEST), default=0.0),
        Option("alert_on_new_data", boolean, default=False),
        Option("bucket_interval", _no_interval),
    ),
    make,
)
