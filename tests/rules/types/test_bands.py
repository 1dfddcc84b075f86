"""`type: metric_aggregation` and `type: percentage_match`: their windows, bounds and kinds, and against a
naive reading.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.types.contract import Measured, Observation, Settings, threshold_of
from divertor.rules.types.metric_aggregation import make

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
#: The window of these tests is a minute: it moves in steps of two seconds.
WINDOW = timedelta(minutes=1)


def metric(rule: Rules, kind: str, **more: Any) -> Rule:
    options = {"metric_agg_key": "size", "metric_agg_type": kind, "buffer_time": {"minutes": 1}}
    return rule(type="metric_aggregation", **options, **more)


def percentage(rule: Rules, **more: Any) -> Rule:
    bad = {"match_bucket_filter": [{"term": {"status": "bad"}}], "buffer_time": {"minutes": 1}}
    return rule(type="percentage_match", **bad, **more)


def fired(rule: Rule, events: list[Event], until: int) -> list[tuple[int, Any]]:
    """When (seconds from the start) and the number, with a tick every second and events between them."""
    engine, found, waiting = Engine([rule]), [], list(events)
    for second in range(until + 1):
        now = START + timedelta(seconds=second)
        found += engine.advance(now)
        while waiting and waiting[0].received < now + timedelta(seconds=1):
            found += engine.push(waiting[0], waiting[0].received)
            waiting.pop(0)
    shown = [match.document.get("metric_agg_value", match.document.get("percentage")) for match in found]
    times = [round((match.time - START).total_seconds()) for match in found]
    return list(zip(times, shown, strict=True))


@pytest.mark.parametrize(
    ("kind", "most", "number"), [("max", 8, 9), ("sum", 13, 14), ("cardinality", 2, 3), ("value_count", 3, 4)]
)
def test_what_more_events_only_raise_is_judged_with_each(
    rule: Rules, event: Events, kind: str, most: int, number: int
) -> None:
    events = [event(second, size=size) for second, size in ((0, 1), (5, 3), (10, 1), (20, 9))]
    assert fired(metric(rule, kind, max_threshold=most), events, 40) == [(20, number)]


def test_a_least_value_is_judged_with_each_event_from_below(rule: Rules, event: Events) -> None:
    events = [event(0, size=5), event(7, size=2), event(9, size=1)]
    assert fired(metric(rule, "min", min_threshold=3), events, 40) == [(7, 2)]


def test_the_match_shows_the_event_that_crossed_the_bound(rule: Rules, event: Events) -> None:
    (match,) = Engine([metric(rule, "max", max_threshold=3)]).push(event(0, size=4, user="eve"), START)
    shown = {name: match.document[name] for name in ("metric_size_max", "metric_agg_value", "user")}
    assert shown == {"metric_size_max": 4.0, "metric_agg_value": 4.0, "user": "eve"}


def test_bounds_are_strict(rule: Rules, event: Events) -> None:
    assert fired(metric(rule, "max", max_threshold=4, min_threshold=4), [event(0, size=4)], 100) == []


def test_an_average_is_judged_over_a_whole_window(rule: Rules, event: Events) -> None:
    events = [event(second, size=size, user="a") for second, size in ((10, 90), (20, 1), (30, 2), (65, 50))]
    found = fired(metric(rule, "avg", max_threshold=20, query_key="user"), events, 200)
    assert found == [(70, 35.75), (82, 26.0)]


def test_while_it_is_bad_there_is_a_hit_per_window(rule: Rules, event: Events) -> None:
    events = [event(second, size=10) for second in range(0, 200, 5)]
    found = fired(metric(rule, "max", max_threshold=3), events, 200)
    assert [second for second, _number in found] == [0, 60, 120, 180]


def test_a_number_that_was_good_between_is_told_at_once(rule: Rules, event: Events) -> None:
    events = [event(second, size=size) for second, size in ((0, 10), (20, 10), (50, 1), (82, 10))]
    found = fired(metric(rule, "max", max_threshold=3), events, 200)
    assert [second for second, _number in found] == [0, 82]


def test_without_a_key_nothing_at_all_is_few(rule: Rules) -> None:
    found = fired(metric(rule, "value_count", min_threshold=1), [], 130)
    assert found == [(62, 0), (122, 0)]


def test_nothing_has_no_average(rule: Rules) -> None:
    assert fired(metric(rule, "avg", min_threshold=1), [], 200) == []


def test_a_key_that_fades_is_few_before_it_is_forgotten(rule: Rules, event: Events) -> None:
    events = [event(second, size=1, user="a") for second in range(0, 90, 10)]
    found = fired(metric(rule, "sum", min_threshold=3, query_key="user"), events, 300)
    assert found == [(122, 2.0)]


def test_keys_with_fewer_documents_than_asked_are_not_judged(rule: Rules, event: Events) -> None:
    events = [event(0, size=9, user="a"), event(0, user="a"), event(1, size=9, user="a")]
    found = fired(metric(rule, "max", max_threshold=3, min_doc_count=3, query_key="user"), events, 40)
    assert found == [(1, 9.0)]


def test_an_event_without_the_key_is_in_no_group(rule: Rules, event: Events) -> None:
    events = [event(0, size=9, user="a"), event(0, size=9)]
    single = metric(rule, "max", max_threshold=3, query_key="user")
    both = metric(rule, "max", max_threshold=3, query_key=["user", "host"])
    assert (len(fired(single, events, 10)), fired(both, events, 10)) == (1, [])


def test_a_compound_key_is_shown_by_its_fields(rule: Rules, event: Events) -> None:
    options = {"min_threshold": 5, "query_key": ["user", "host"]}
    engine = Engine([metric(rule, "sum", **options)])
    engine.push(event(0, size=1, user="a", host="h"), START)
    (match,) = engine.advance(START + WINDOW)
    assert (match.document["user"], match.document["host"], match.event) == ("a", "h", None)


def test_a_percentile_is_between_the_values_at_its_rank(rule: Rules, event: Events) -> None:
    events = [event(second, size=second + 1) for second in range(10)]
    found = fired(metric(rule, "percentiles", percentile_range=95, max_threshold=1), events, 65)
    assert found == [(62, pytest.approx(9.65))]


def test_an_interval_is_the_window_when_there_is_one(rule: Rules, event: Events) -> None:
    events = [event(0, size=1), event(20, size=1), event(35, size=1)]
    found = fired(metric(rule, "sum", max_threshold=1, bucket_interval={"seconds": 30}), events, 40)
    assert found == [(20, 2.0), (35, 2.0)]


def test_run_every_is_the_window_when_the_rule_says_so(rule: Rules, event: Events) -> None:
    options = {"use_run_every_query_size": True, "run_every": {"seconds": 10}, "max_threshold": 1}
    events = [event(0, size=1), event(20, size=1), event(25, size=1)]
    assert fired(metric(rule, "sum", **options), events, 40) == [(25, 2.0)]


def test_texts_that_are_numbers_count_and_others_do_not(rule: Rules, event: Events) -> None:
    events = [
        event(n, size=size) for n, size in enumerate(["2", "x", None, True, {"a": 9}, [3, "4"], "1e999"])
    ]
    assert fired(metric(rule, "sum", max_threshold=8), events, 10) == [(5, 9.0)]


def test_numbers_are_spelled_as_the_rule_says(rule: Rules, event: Events) -> None:
    spelled = metric(rule, "max", max_threshold=3, metric_format_string="{:.1%}")
    (match,) = Engine([spelled]).push(event(0, size=4.25), START)
    assert match.document["metric_size_max_formatted"] == "425.0%"
    told = match.rule.behaviour.summary(match.document, match.time)
    assert told == "Threshold violation, max:size 425.0% (min: None max : 3.0)"


@pytest.mark.parametrize(
    ("spelling", "shown"), [("%.2f €", "4.25 €"), ("%d%%", "4%"), ("{:d} of", "4 of"), ("{}", "4.25")]
)
def test_both_kinds_of_format_are_taken(rule: Rules, event: Events, spelling: str, shown: str) -> None:
    spelled = metric(rule, "max", max_threshold=3, metric_format_string=spelling)
    (match,) = Engine([spelled]).push(event(0, size=4.25), START)
    assert match.document["metric_agg_value_formatted"] == shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_threshold": 1, "metric_format_string": "{:1000000}"}, "no place for a number"),
        ({"max_threshold": 1, "metric_format_string": "{0.__class__}"}, "no place for a number"),
        ({"max_threshold": 1, "metric_format_string": "%d %d"}, "more than one place"),
        ({"max_threshold": 1, "metric_format_string": "none"}, "no place for a number"),
        ({"max_threshold": 1, "metric_agg_script": {"script": "1"}}, "a script for Elasticsearch"),
        ({}, "neither max_threshold nor min_threshold"),
        ({"max_threshold": 1, "metric_agg_type": "percentiles"}, "without percentile_range"),
        ({"max_threshold": 1, "metric_agg_type": "median"}, "metric_agg_type is 'median'"),
        ({"max_threshold": 1, "bucket_interval": {"seconds": 7}}, "no multiple of bucket_interval"),
    ],
    ids=range(9),
)
def test_what_makes_no_sense_is_refused(rule: Rules, options: dict[str, Any], said: str) -> None:
    least = {"type": "metric_aggregation", "metric_agg_key": "a", "metric_agg_type": "sum"}
    with pytest.raises(InputError, match=said):
        rule(**{**least, **options})


def test_the_share_of_events_is_told(rule: Rules, event: Events) -> None:
    events = [event(second, status="bad" if second % 4 == 0 else "good") for second in range(0, 60)]
    engine = Engine([percentage(rule, max_percentage=20, percentage_format_string="%.1f")])
    engine.advance(START)
    for one in events:
        engine.push(one, one.received)
    (match,) = engine.advance(START + timedelta(seconds=62))
    shown = {name: match.document[name] for name in ("percentage", "percentage_formatted", "denominator")}
    assert shown == {
        "percentage": pytest.approx(14 / 58 * 100),
        "percentage_formatted": "24.1",
        "denominator": 58,
    }
    told = match.rule.behaviour.summary(match.document, match.time)
    assert told == "Percentage violation, value: 24.1 (min: None max : 20.0) of 58 items"


def test_few_events_have_no_share(rule: Rules, event: Events) -> None:
    events = [event(second, status="bad") for second in range(3)]
    assert fired(percentage(rule, max_percentage=20, min_denominator=4), events, 100) == []
    assert fired(percentage(rule, min_percentage=20), [], 100) == []


def test_shares_are_by_key(rule: Rules, event: Events) -> None:
    events = [event(0, user=user, status=status) for user, status in (("a", "bad"), ("b", "good"))]
    assert fired(percentage(rule, min_percentage=20, query_key="user"), events, 100) == [(60, 0.0)]


@pytest.mark.parametrize("options", [{"max_percentage": 101}, {}], ids=["more than all", "no bound"])
def test_a_share_needs_a_bound_from_0_to_100(rule: Rules, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        percentage(rule, **options)


def seen(second: float, size: Any, key: str | None = None) -> Observation:
    moment = START + timedelta(seconds=second)
    one = Event(f"{second}", "log", moment, moment, body={"size": size})
    return Observation(one, key, micros(second), Document.of(one))


def micros(second: float) -> int:
    base = (START - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return base + round(second * SECOND)


def made(kind: str, keyed: bool = False, **more: Any) -> Any:
    options: dict[str, Any] = {
        "metric_agg_key": "size",
        "metric_agg_type": kind,
        "percentile_range": 50.0,
        "metric_format_string": None,
        "bucket_interval": None,
        "use_run_every_query_size": False,
        "min_doc_count": 1,
        "max_threshold": None,
        "min_threshold": None,
    }
    keys = ("user",) if keyed else ()
    return make({**options, **more}, Settings(query_key=keys, buffer_time=WINDOW))


def test_measure_is_the_number_of_the_window_now() -> None:
    kind = made("sum", max_threshold=3.0)
    threshold = threshold_of(kind)
    state = kind.start()
    for second in (0, 30, 50):
        kind.step(state, seen(second, 2), micros(second))
    assert isinstance(kind, Measured)
    assert [kind.measure(state, None, micros(second)) for second in (50, 61, 95, 120)] == [6.0, 4.0, 2.0, 0.0]
    assert (kind.side, 3 < (threshold or 0) < 3.1) == ("above", True)


def test_with_two_bounds_measure_is_how_far_outside_it_is() -> None:
    kind = made("sum", max_threshold=5.0, min_threshold=3.0)
    state = kind.start()
    found = []
    for second in range(4):
        kind.step(state, seen(second, 2), micros(second))
        found.append(kind.measure(state, None, micros(second)))
    assert found == [1.0, -1.0, 1.0, 3.0]
    assert (kind.side, 0 < (threshold_of(kind) or 0) < 1e-300) == ("above", True)


def naive_number(kind: str, sizes: list[int]) -> float | None:
    empty = {"sum": 0.0, "value_count": 0, "cardinality": 0}
    if not sizes:
        return empty.get(kind)
    middle = sorted(sizes)[(len(sizes) - 1) // 2 :][: 2 - len(sizes) % 2]
    numbers: dict[str, float] = {"min": min(sizes), "max": max(sizes), "avg": fmean(sizes), "sum": sum(sizes)}
    return {
        **numbers,
        "value_count": len(sizes),
        "cardinality": len(set(sizes)),
        "percentiles": fmean(middle),
    }[kind]


came = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.sampled_from("ab")), max_size=40)
kinds = st.sampled_from(["min", "max", "avg", "sum", "value_count", "cardinality", "percentiles"])


@settings(max_examples=100)
@given(came, kinds, st.integers(0, 9), st.booleans(), st.sampled_from([1, 7, 40]), st.booleans())
def test_it_fires_like_the_naive_reading(
    came: list[tuple[int, int, str]], kind: str, bound: int, above: bool, every: int, saved: bool
) -> None:
    """Windows of 30 steps of 2 s, whenever ticks come."""
    judge = made(kind, keyed=True, **{"max_threshold" if above else "min_threshold": float(bound)})
    state, found, waiting = judge.start(), [], sorted(came)
    for now in range(0, 500, every):
        while waiting and waiting[0][0] <= now:
            second, size, key = waiting.pop(0)
            found += judge.step(state, seen(second, size, key), micros(second))
        found += judge.tick(state, micros(now))
        if saved:
            state = pickle.loads(pickle.dumps(state))
    told = {key: [(hit.micros - micros(0)) // SECOND for hit in found if hit.key == key] for key in "ab"}
    assert told == {
        key: naive_hits([one[:2] for one in sorted(came) if one[2] == key], kind, bound, above)
        for key in "ab"
    }


def naive_hits(came: list[tuple[int, int]], kind: str, bound: int, above: bool) -> list[int]:
    """Bounds that events can only push further past are judged by events, the others where a step of two
    seconds changed something, by what came in it or went.
    """
    early = (above and kind in ("max", "sum", "cardinality", "value_count")) or (not above and kind == "min")

    def number_at(step: int, events: list[tuple[int, int]]) -> float | None:
        inside = [size for second, size in events if step - 30 < second // 2 <= step]
        return naive_number(kind, inside) if inside else None

    def is_bad(number: float | None) -> bool:
        return number is not None and (number > bound if above else number < bound)

    return _by_events(came, number_at, is_bad) if early else _by_steps(came, number_at, is_bad)


NumberAt = Callable[[int, list[tuple[int, int]]], float | None]


def _by_events(came: list[tuple[int, int]], number_at: NumberAt, is_bad: Callable[[Any], bool]) -> list[int]:
    found: list[int] = []
    for place, (second, _size) in enumerate(came):
        step, so_far = second // 2, came[: place + 1]
        if not is_bad(number_at(step, so_far)):
            continue
        last = found[-1] if found else None
        between = range(step if last is None else last // 2, step)
        was_good = any(not is_bad(number_at(one, so_far)) for one in between)
        if last is None or was_good or second >= last + 60:
            found.append(second)
    return found


def _by_steps(came: list[tuple[int, int]], number_at: NumberAt, is_bad: Callable[[Any], bool]) -> list[int]:
    steps = sorted({second // 2 + later for second, _size in came for later in (0, 29, 30)})
    found: list[int] = []
    bad = False
    for step in steps:
        moment = 2 * (step + 1)
        recent = [one // 2 for one, _size in came if one // 2 <= step]
        since = _since(recent)
        if not is_bad(number_at(step, came)) or step - 29 < since:
            bad = False
            continue
        if not bad or moment >= found[-1] + 60:
            found.append(moment)
        bad = True
    return found


def _since(steps: list[int]) -> int:
    """The first of the last steps that are not more than a window apart."""
    since = steps[0]
    for before, after in pairwise(steps):
        since = after if after - before > 30 else since
    return since
