"""The engine: routing by index, silences, counts, replacement, replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Match, Rule, backtest
from divertor.rules.engine import event_time, fits_index

Events = Callable[..., Event]
Rules = Callable[..., Rule]
At = Callable[[float], datetime]


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
    assert set(match.document) == shown
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


def test_advancing_forgets_silences_that_are_over(rule: Rules, event: Events, at: At) -> None:
    engine = Engine([rule(realert={"seconds": 10})])
    push(engine, event(0))
    assert engine.advance(at(10)) == []
    assert not engine.alarms._silences


def test_the_timestamp_field_is_the_time_of_the_match(rule: Rules, event: Events, at: At) -> None:
    timed = rule(timestamp_field="endpoint.localtime")
    (match,) = push(Engine([timed]), event(9, endpoint={"localtime": "2026-01-01T00:00:05Z"}))
    assert match.time == at(5)


@pytest.mark.parametrize("value", ["not a time", 5, None, {"a": 1}, "0001-01-01T00:00:00+23:59"])
def test_an_unreadable_timestamp_field_yields_to_the_events_own(event: Events, at: At, value: Any) -> None:
    assert event_time(event(9, t=value), "t") == at(9)


def test_a_time_after_receipt_is_taken_as_the_receipt(event: Events, at: At) -> None:
    assert event_time(event(9, received=9, t="2999-01-01"), "t") == at(9)


def test_keys_of_any_length_are_cut(rule: Rules, event: Events) -> None:
    engine = Engine([rule(realert={"minutes": 1}, query_key="user")])
    push(engine, event(0, user="x" * 10**6))
    ((_name, key),) = engine.alarms._silences
    assert key is not None and len(key) == 1024


def test_an_event_nobody_can_print_is_still_a_match(rule: Rules, event: Events) -> None:
    deep: Any = "leaf"
    for _ in range(5000):
        deep = [{"a": deep}]
    engine = Engine([rule(query_key="deep")])
    (match,) = push(engine, event(0, deep=deep, number=float("nan")))
    shown = json.loads(json.dumps(match.document, allow_nan=False))
    assert shown["number"] == "nan" and "\u2026" in json.dumps(shown["deep"], ensure_ascii=False)
