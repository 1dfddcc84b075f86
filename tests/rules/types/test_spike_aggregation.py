"""`type: spike_aggregation`: aggregates of two windows, judged at the end of each step, against a naive
reading.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.types.contract import Measured, Observation, Settings, threshold_of
from divertor.rules.types.spike_aggregation import make

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
#: A timeframe of these tests is sixteen steps of four seconds.
TIMEFRAME = 64


def spike(rule: Rules, aggregate: str, kind: str = "up", **more: Any) -> Rule:
    options = {"metric_agg_key": "size", "metric_agg_type": aggregate, "spike_height": 3, "spike_type": kind}
    return rule(type="spike_aggregation", timeframe={"seconds": TIMEFRAME}, **options, **more)


def fired(rule: Rule, events: list[Event], until: int) -> list[tuple[int, float, float]]:
    engine, found, waiting = Engine([rule]), [], list(events)
    for second in range(until + 1):
        now = START + timedelta(seconds=second)
        while waiting and waiting[0].received <= now:
            found += engine.push(waiting[0], waiting[0].received)
            waiting.pop(0)
        found += engine.advance(now)
    return [
        (
            round((match.time - START).total_seconds()),
            match.document["spike_count"],
            match.document["reference_count"],
        )
        for match in found
    ]


def test_an_average_that_rose_is_told_at_the_end_of_the_step(rule: Rules, event: Events) -> None:
    events = [event(second, size=size) for second, size in ((0, 2), (70, 4), (129, 20), (133, 20))]
    assert fired(spike(rule, "avg"), events, 200) == [(136, 20.0, 4.0)]


def test_a_sum_that_fell_to_nothing_is_told(rule: Rules, event: Events) -> None:
    events = [event(second, size=5) for second in range(0, 130, 10)]
    assert fired(spike(rule, "sum", "down"), events, 300) == [(168, 10.0, 35.0)]


def test_an_empty_window_has_no_average_to_compare(rule: Rules, event: Events) -> None:
    events = [event(second, size=5) for second in range(0, 130, 10)]
    assert fired(spike(rule, "avg", "both"), events, 300) == []


def test_counts_of_nothing_are_taken_as_one(rule: Rules, event: Events) -> None:
    events = [event(200 + number, size=number) for number in range(3)]
    assert fired(spike(rule, "value_count"), events[:2], 300) == []
    assert fired(spike(rule, "cardinality"), events, 300) == [(204, 3, 0)]


def test_thresholds_are_least_numbers_of_both_windows(rule: Rules, event: Events) -> None:
    events = [event(second, size=size) for second, size in ((70, 2), (135, 9), (150, 9))]
    assert fired(spike(rule, "sum"), events, 200) == [(136, 9.0, 2.0)]
    assert fired(spike(rule, "sum", threshold_ref=3), events, 200) == []
    assert fired(spike(rule, "sum", threshold_cur=20), events, 200) == []


def test_windows_of_fewer_documents_than_asked_are_not_compared(rule: Rules, event: Events) -> None:
    events = [event(second, size=size, user="a") for second, size in ((0, 2), (70, 2), (135, 9), (150, 9))]
    assert fired(spike(rule, "max", query_key="user", min_doc_count=2), events, 200) == []


def test_a_new_key_waits_for_two_windows_unless_new_data_is_to_alert(rule: Rules, event: Events) -> None:
    events = [event(0, size=1, user="old"), *(event(300 + n, size=n, user="new") for n in range(4))]
    assert fired(spike(rule, "value_count", query_key="user"), events, 400) == []
    found = fired(spike(rule, "value_count", query_key="user", alert_on_new_data=True), events, 400)
    assert found == [(304, 4, 0)]


def test_intervals_and_scripts_are_refused(rule: Rules) -> None:
    for more in ({"bucket_interval": {"seconds": 5}}, {"metric_agg_script": {"script": "1"}}):
        with pytest.raises(InputError, match="bucket_interval|a script for Elasticsearch"):
            spike(rule, "sum", **more)


def test_the_sentence_names_the_aggregate(rule: Rules) -> None:
    told = spike(rule, "avg").behaviour.summary({"spike_count": 9.5, "reference_count": 2.0}, START)
    assert told.startswith("An abnormal value of avg of size (9.50) around 2026-01-01 00:00 UTC; in the")


def micros(second: float) -> int:
    base = (START - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return base + round(second * SECOND)


def seen(second: float, size: Any, key: str | None = None) -> Observation:
    moment = START + timedelta(seconds=second)
    one = Event(f"{second}", "log", moment, moment, body={"size": size})
    return Observation(one, key, micros(second), Document.of(one))


def made(aggregate: str, kind: str, height: float = 3) -> Any:
    options: dict[str, Any] = {
        "metric_agg_key": "size",
        "metric_agg_type": aggregate,
        "percentile_range": None,
        "spike_type": kind,
        "spike_height": height,
        "timeframe": timedelta(seconds=TIMEFRAME),
        "threshold_ref": 0.0,
        "threshold_cur": 0.0,
        "alert_on_new_data": False,
        "min_doc_count": 1,
    }
    return make(options, Settings(query_key=("user",)))


def test_measure_is_the_factor_between_the_windows_now() -> None:
    kind = made("sum", "both")
    threshold = threshold_of(kind)
    state = kind.start()
    for second, size in ((0, 2), (70, 6)):
        kind.step(state, seen(second, size, "a"), micros(second))
    assert isinstance(kind, Measured)
    assert (kind.measure(state, "a", micros(70)), kind.measure(state, "b", 0)) == (3.0, None)
    assert (kind.side, threshold) == ("above", 3)


numbers = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9)), max_size=60)


@settings(max_examples=100)
@given(
    numbers,
    st.sampled_from(["max", "avg", "sum", "value_count"]),
    st.sampled_from(["up", "down"]),
    st.sampled_from([1.5, 3]),
    st.sampled_from([1, 10, 50]),
)
def test_it_fires_like_the_naive_reading_whenever_ticks_come(
    came: list[tuple[int, int]], aggregate: str, kind: str, height: float, every: int
) -> None:
    came.sort()
    judge = made(aggregate, kind, height)
    state, found, waiting = judge.start(), [], list(came)
    for now in range(0, 800, every):
        while waiting and waiting[0][0] <= now:
            second, size = waiting.pop(0)
            judge.step(state, seen(second, size, "a"), micros(second))
        found += [(hit.micros - micros(0)) // SECOND for hit in judge.tick(state, micros(now))]
        state = pickle.loads(pickle.dumps(state))
    assert found == naive(came, aggregate, kind, height)


def naive(came: list[tuple[int, int]], aggregate: str, kind: str, height: float) -> list[int]:
    """Steps of four seconds; judged where an event came, or left one of the windows."""
    found: list[int] = []
    changes = (0, 15, 16, 31, 32)
    for step in sorted({second // 4 + later for second, _size in came for later in changes}):
        moment, recent = 4 * (step + 1), [second // 4 for second, _size in came if second // 4 <= step]
        since = recent[0]
        for before, after in zip(recent, recent[1:], strict=False):
            since = after if after - before > 32 else since
        current = number(aggregate, [size for second, size in came if step - 16 < second // 4 <= step])
        reference = number(aggregate, [size for second, size in came if step - 32 < second // 4 <= step - 16])
        if step - 31 < since or (found and moment < found[-1] + 128) or current is None or reference is None:
            continue
        if current == reference == 0:
            continue
        if aggregate == "value_count":
            current, reference = max(current, 1), max(reference, 1)
        if reference > 0 and (
            current >= reference * height if kind == "up" else current * height <= reference
        ):
            found.append(moment)
    return found


def number(aggregate: str, sizes: list[int]) -> float | None:
    if aggregate in ("sum", "value_count"):
        return sum(sizes) if aggregate == "sum" else len(sizes)
    if not sizes:
        return None
    return max(sizes) if aggregate == "max" else sum(sizes) / len(sizes)
