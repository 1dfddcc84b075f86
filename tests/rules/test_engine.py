"""The engine: routing by index, silences, counts, replacement, replay."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.model.events import Event, micros_of
from divertor.rules import Engine, Match, Rule, backtest
from divertor.rules.filters.filter import Filter
from divertor.rules.rule import Clock
from divertor.rules.running.backtest import arrival, replay
from divertor.rules.running.engine import Health, fits_index
from divertor.rules.running.observing import event_time, query_key_value
from divertor.rules.types.contract import Hit, Observation

Events = Callable[..., Event]
Rules = Callable[..., Rule]
At = Callable[[float], datetime]


class Recorder:
    """A rule type whose state is the list of the times it was asked at."""

    def start(self) -> list[tuple[str, int]]:
        return []

    def step(self, state: list[tuple[str, int]], seen: Observation, now: int) -> list[Hit]:
        state.append(("step", now))
        return []

    def tick(self, state: list[tuple[str, int]], now: int) -> list[Hit]:
        state.append(("tick", now))
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        return ""


class Broken(Recorder):
    """A rule type that raises."""

    def step(self, state: list[tuple[str, int]], seen: Observation, now: int) -> list[Hit]:
        raise ZeroDivisionError("why not")

    def tick(self, state: list[tuple[str, int]], now: int) -> list[Hit]:
        raise ZeroDivisionError("why not")


def push(engine: Engine, *events: Event) -> list[Match]:
    return [match for one in events for match in engine.push(one, one.received)]


INDICES = [
    (("bitsensor",), ("divertor-detection", "bitsensor"), True),
    (("bit*",), ("bitsensor",), True),
    (("*",), ("anything",), True),
    (("a", "b*"), ("bc",), True),
    (("bitsensor",), ("bitsensor2",), False),
    (("[ab]",), ("a",), False),
    (("a?",), ("ab",), False),
    (("*",), (), False),
]


@pytest.mark.parametrize(("patterns", "indices", "fits"), INDICES)
def test_an_index_pattern_selects(patterns: tuple[str, ...], indices: tuple[str, ...], fits: bool) -> None:
    assert fits_index(patterns, indices) is fits


def test_index_examples_are_all_there() -> None:
    assert len(INDICES) == 8


def test_an_event_meets_only_rules_of_its_index(rule: Rules, event: Events) -> None:
    engine = Engine([rule(name="a", index="logs"), rule(name="b", index="other*")])
    assert [match.rule.name for match in push(engine, event(0, index="other-1"))] == ["b"]


def test_a_disabled_rule_does_not_run(rule: Rules, event: Events) -> None:
    engine = Engine([rule(is_enabled=False)])
    assert push(engine, event(0)) == [] and engine.rules == ()


def test_realert_keeps_quiet_until_it_is_over(rule: Rules, event: Events) -> None:
    engine = Engine([rule(realert={"seconds": 10})])
    matches = [len(push(engine, event(second))) for second in (0, 9.999, 10, 15, 20)]
    assert matches == [1, 0, 1, 0, 1]


def test_realert_zero_alerts_every_time(rule: Rules, event: Events) -> None:
    assert len(push(Engine([rule()]), event(0), event(0), event(0))) == 3


def test_realert_goes_by_arrival_not_by_event_time(rule: Rules, event: Events) -> None:
    engine = Engine([rule(realert={"seconds": 10})])
    assert len(push(engine, event(0), event(0, received=11))) == 2


def test_silences_are_kept_apart_by_query_key(rule: Rules, event: Events) -> None:
    engine = Engine([rule(realert={"minutes": 5}, query_key="user")])
    users = ["a", "b", "a", None, None]
    matches = push(engine, *(event(place, user=user) for place, user in enumerate(users)))
    assert [match.document["user"] for match in matches] == ["a", "b", None]


def test_rules_with_one_realert_key_share_their_silence(rule: Rules, event: Events) -> None:
    options = {"realert": {"minutes": 5}, "realert_key": "shared"}
    engine = Engine([rule(name="a", **options), rule(name="b", **options)])
    assert [match.rule.name for match in push(engine, event(0))] == ["a"]


def test_a_match_counts_what_was_silenced_before_it(rule: Rules, event: Events) -> None:
    engine = Engine([rule(type="frequency", num_events=2, timeframe={"hours": 1}, realert={"seconds": 5})])
    matches = push(engine, *(event(second) for second in range(8)))
    assert [(match.num_hits, match.num_matches) for match in matches] == [(2, 1), (6, 3)]
    assert matches[1].document["num_matches"] == 3


def test_include_projects_the_match_but_not_the_filter(rule: Rules, event: Events) -> None:
    chosen = rule(include=["a.b", "n*"], filter=[{"term": {"secret": "s"}}], query_key="user")
    (match,) = push(Engine([chosen]), event(0, a={"b": 1, "c": 2}, name="x", secret="s", user="u"))
    shown = {"a", "name", "user", "_id", "_index", "@timestamp", "num_hits", "num_matches"}
    assert set(match.document) - {"severity", "num_suppressed"} == shown
    assert match.document["a"] == {"b": 1}
    assert match.event is not None and match.event.body["secret"] == "s"


def test_an_unchanged_rule_keeps_its_window_when_rules_are_replaced(rule: Rules, event: Events) -> None:
    counting: dict[str, Any] = {"type": "frequency", "num_events": 2, "timeframe": {"hours": 1}}
    engine = Engine([rule(name="same", **counting), rule(name="changed", **counting)])
    push(engine, event(0))
    engine.replace([rule(name="same", **counting), rule(name="changed", **counting, priority=1)])
    assert [match.rule.name for match in push(engine, event(1))] == ["same"]


def test_warming_rebuilds_windows_and_silences_without_alerting(rule: Rules, event: Events) -> None:
    engine = Engine([rule(type="frequency", num_events=3, timeframe={"hours": 1}, realert={"minutes": 1})])
    for second in range(4):
        engine.warm(event(second))
    assert push(engine, event(4), event(5)) == []
    assert len(push(engine, *(event(second) for second in (70, 71, 72)))) == 1


def test_a_backtest_is_what_runs_live(rule: Rules, event: Events) -> None:
    counting = rule(type="frequency", num_events=3, timeframe={"seconds": 20}, realert={"seconds": 30})
    events = [event(second) for second in range(0, 100, 4)]
    live = [match.event_id for match in push(Engine([counting]), *events)]
    assert [match.event_id for match in backtest(counting, events)] == live != []


def test_the_timestamp_field_is_the_time_of_the_match(rule: Rules, event: Events, at: At) -> None:
    timed = rule(timestamp_field="endpoint.localtime")
    (match,) = push(Engine([timed]), event(9, endpoint={"localtime": "2026-01-01T00:00:05Z"}))
    assert match.time == at(5)


@pytest.mark.parametrize("value", ["not a time", 5, None, {"a": 1}, "0001-01-01T00:00:00+23:59"])
def test_an_unreadable_timestamp_field_yields_to_the_events_own(event: Events, at: At, value: Any) -> None:
    assert event_time(event(9, t=value), Clock("t")) == at(9)


def test_a_time_after_receipt_is_taken_as_the_receipt(event: Events, at: At) -> None:
    assert event_time(event(9, received=9, t="2999-01-01"), Clock("t")) == at(9)


def test_keys_of_any_length_are_cut() -> None:
    assert query_key_value({"user": "x" * 10**6}, ("user",)) == "x" * 1024


TIMES = [
    ("unix", 1767225605, 5),
    ("unix", "1767225605.5", 5.5),
    ("unix_ms", 1767225605250, 5.25),
    ("custom", "01.01.2026 00:00:05", 5),
    ("custom", "no time", 9),
    ("unix", "nan", 9),
    ("unix", 10**30, 9),
    ("unix", True, 9),
]


@pytest.mark.parametrize(("kind", "value", "seconds"), TIMES)
def test_times_are_read_as_the_rule_says(
    event: Events, at: At, kind: str, value: Any, seconds: float
) -> None:
    clock = Clock("t", kind=kind, format="%d.%m.%Y %H:%M:%S")
    assert event_time(event(9, t=value), clock) == at(seconds)


def test_times_are_all_there() -> None:
    assert len(TIMES) == 8


def test_a_rule_that_raises_is_counted_and_the_others_go_on(rule: Rules, event: Events) -> None:
    broken = replace(rule(name="broken"), behaviour=Broken())
    engine = Engine([broken, rule(name="sound")])
    assert [match.rule.name for match in push(engine, event(0), event(1))] == ["sound", "sound"]
    engine.advance(event(2).timestamp)
    assert engine.health()["broken"] == Health(faults=3, fault="ZeroDivisionError: why not")


def test_a_filter_that_raises_is_counted_and_the_others_go_on(rule: Rules, event: Events) -> None:
    def broken(_document: Any) -> bool:
        raise RecursionError

    engine = Engine([replace(rule(name="broken"), filter=Filter(broken)), rule(name="sound")])
    assert [match.rule.name for match in push(engine, event(0))] == ["sound"]
    assert engine.health()["broken"].faults == 1


def test_an_event_later_than_allowed_is_counted_and_not_judged(rule: Rules, event: Events) -> None:
    patient = rule()
    strict = replace(patient, alarm=replace(patient.alarm, max_lateness=timedelta(seconds=10)))
    engine = Engine([strict])
    assert len(push(engine, event(0, received=10), event(0, received=10.001))) == 1
    assert engine.health()["r"].late == 1


def test_a_compatible_rule_is_ticked_at_each_poll_before_the_next_event(
    rule: Rules, event: Events, at: At
) -> None:
    clock = Clock(compatible=True, run_every=timedelta(seconds=10))
    engine = Engine([replace(rule(), behaviour=Recorder(), clock=clock)])
    push(engine, event(3), event(8), event(31))
    engine.advance(at(39))
    engine.advance(at(45))
    seconds = [(kind, (micros - micros_of(at(0))) / 1e6) for kind, micros in engine.state("r")]
    assert seconds == [("step", 10), ("step", 10), ("tick", 10), ("tick", 20), ("tick", 30),
                       ("step", 40), ("tick", 40)]  # fmt: skip


def test_time_alone_shows_nothing_before_the_query_delay_is_over(rule: Rules, at: At) -> None:
    clock = Clock(query_delay=timedelta(seconds=30))
    engine = Engine([replace(rule(), behaviour=Recorder(), clock=clock)])
    engine.advance(at(40))
    assert engine.state("r") == [("tick", micros_of(at(10)))]


def test_rules_with_one_filter_test_an_event_once(rule: Rules, event: Events) -> None:
    tested: list[Any] = []

    def test(document: Any) -> bool:
        tested.append(document)
        return True

    shared = Filter(test, source="same")
    rules = [replace(rule(name=name), filter=shared) for name in "abc"]
    matches = push(Engine(rules), event(0))
    assert [match.rule.name for match in matches] == ["a", "b", "c"] and len(tested) == 1


def test_filters_that_say_the_same_are_one(rule: Rules) -> None:
    one, same = (rule(filter=[{"term": {"a": "1"}}]) for _ in range(2))
    other = rule(filter=[{"term": {"a": 1.0}}])
    assert one.filter.source == same.filter.source != other.filter.source


def test_rules_are_judged_in_their_order_whatever_their_filters(rule: Rules, event: Events) -> None:
    a, b = [{"term": {"a": 1}}], [{"term": {"b": 1}}]
    rules = [rule(name=str(place), filter=kind) for place, kind in enumerate([a, b, a, b])]
    assert [match.rule.name for match in push(Engine(rules), event(0, a=1, b=1))] == list("0123")


STREAMS = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 20), st.sampled_from("xyz")), min_size=1, max_size=40
)


def several(rule: Rules) -> list[Rule]:
    count = {"type": "frequency", "num_events": 2, "timeframe": {"seconds": 20}, "query_key": "user"}
    return [
        rule(name="counting", **count),
        rule(name="quiet", **count | {"realert": {"seconds": 15}, "attach_related": True}),
        rule(name="each", filter=[{"term": {"user": "y"}}], realert={"seconds": 5}),
    ]


def shown(matches: Iterable[Match]) -> list[Any]:
    return [
        (match.rule.name, match.id, match.alarm, match.num_hits, dict(match.document)) for match in matches
    ]


def stream(items: list[tuple[int, int, str]], event: Events) -> list[Event]:
    items = sorted(items, key=lambda item: item[0] + item[1])
    return [event(when, received=when + late, user=user) for when, late, user in items]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(items=STREAMS)
def test_the_same_events_and_ticks_make_the_same_matches(
    rule: Rules, event: Events, items: list[tuple[int, int, str]]
) -> None:
    events = stream(items, event)
    first, second = (shown(replay(Engine(several(rule)), events, arrival)) for _ in range(2))
    assert first == second


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(items=STREAMS, cut=st.integers(0, 40))
def test_a_restored_engine_goes_on_as_if_nothing_had_happened(
    rule: Rules, event: Events, items: list[tuple[int, int, str]], cut: int
) -> None:
    events, engine = stream(items, event), Engine(several(rule))
    matches = shown(push(engine, *events[:cut]))
    restored = Engine(several(rule))
    assert restored.restore(pickle.loads(pickle.dumps(engine.snapshot()))) == ()
    assert matches + shown(push(restored, *events[cut:])) == shown(push(Engine(several(rule)), *events))


def test_a_rule_that_was_changed_begins_anew_when_an_engine_is_restored(rule: Rules, event: Events) -> None:
    counting: dict[str, Any] = {"type": "frequency", "num_events": 2, "timeframe": {"hours": 1}}
    engine = Engine([rule(name="same", **counting), rule(name="changed", **counting)])
    push(engine, event(0))
    restored = Engine([rule(name="same", **counting), rule(name="changed", **counting, priority=1)])
    assert restored.restore(engine.snapshot()) == ("changed",)
    assert [match.rule.name for match in push(restored, event(1))] == ["same"]


def test_an_event_nobody_can_print_is_still_a_match(rule: Rules, event: Events) -> None:
    deep: Any = "leaf"
    for _ in range(5000):
        deep = [{"a": deep}]
    engine = Engine([rule(query_key="deep")])
    (match,) = push(engine, event(0, deep=deep, number=float("nan")))
    shown = json.loads(json.dumps(match.document, allow_nan=False))
    assert shown["number"] == "nan" and "\u2026" in json.dumps(shown["deep"], ensure_ascii=False)
