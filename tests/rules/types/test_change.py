"""`type: change` through the engine."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Match, Rule
from divertor.rules.document import Document
from divertor.rules.types.change import Change
from divertor.rules.types.contract import Observation

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


def change(rule: Rules, **more: Any) -> Rule:
    return rule(type="change", **{"query_key": "user", "compare_key": "country", **more})


def matches(rule: Rule, events: list[Event]) -> list[Match]:
    engine = Engine([rule])
    return [match for one in events for match in engine.push(one, one.received)]


def logins(event: Events, *countries: Any) -> list[Event]:
    return [event(n, user="a", country=country, n=n) for n, country in enumerate(countries)]


def places(found: list[Match]) -> list[int]:
    return [match.document["n"] for match in found]


def test_the_first_event_never_matches_and_a_different_one_does(rule: Rules, event: Events) -> None:
    assert places(matches(change(rule), logins(event, "de", "de", "nl", "nl", "de"))) == [2, 4]


def test_the_match_has_both_values(rule: Rules, event: Events) -> None:
    (match,) = matches(change(rule), logins(event, "de", "nl"))
    assert (match.document["old_value"], match.document["new_value"]) == (["de"], ["nl"])


def test_any_of_several_fields_may_change(rule: Rules, event: Events) -> None:
    events = [event(n, user="a", country="de", city=city) for n, city in enumerate(["Bonn", "Kiel"])]
    (match,) = matches(change(rule, compare_key=["country", "city"]), events)
    assert match.document["old_value"] == ["de", "Bonn"]


def test_keys_are_apart(rule: Rules, event: Events) -> None:
    events = [event(0, user="a", country="de"), event(1, user="b", country="nl")]
    assert matches(change(rule), events) == []


def test_an_event_without_the_key_belongs_to_nobody(rule: Rules, event: Events) -> None:
    assert matches(change(rule), [event(0, country="de"), event(1, country="nl")]) == []


def test_only_a_change_within_the_timeframe_matches(rule: Rules, event: Events) -> None:
    timed = change(rule, timeframe={"seconds": 10})
    events = [event(s, user="a", country=c, n=s) for s, c in ((0, "de"), (10, "nl"), (21, "de"))]
    assert places(matches(timed, events)) == [10]


@pytest.mark.parametrize("nothing", [None, "", []])
def test_ignore_null_looks_past_events_without_a_value(rule: Rules, event: Events, nothing: Any) -> None:
    assert places(matches(change(rule), logins(event, "de", nothing, "de"))) == [1, 2]
    assert matches(change(rule, ignore_null=True), logins(event, "de", nothing, "de")) == []


@pytest.mark.parametrize("value", [0, False])
def test_zero_and_false_are_values(rule: Rules, event: Events, value: Any) -> None:
    assert places(matches(change(rule, ignore_null=True), logins(event, "de", value))) == [1]


def test_a_late_event_says_nothing_about_the_present(rule: Rules, event: Events) -> None:
    events = [event(10, user="a", country="de"), event(5, received=11, user="a", country="nl")]
    assert matches(change(rule), events) == []


def test_long_values_are_told_apart_and_shown_short(rule: Rules, event: Events) -> None:
    (match,) = matches(change(rule), logins(event, "x" * 5000 + "a", "x" * 5000 + "b"))
    (old,), (new,) = match.document["old_value"], match.document["new_value"]
    assert old != new
    assert len(old) < 200


def test_lists_are_compared_and_shown_whole(rule: Rules, event: Events) -> None:
    (match,) = matches(change(rule), logins(event, ["a", 1], ["a", 1], ["a", 2]))
    assert match.document["new_value"] == [["a", 2]]


def test_a_change_needs_a_query_key(rule: Rules) -> None:
    with pytest.raises(InputError, match="needs a query_key"):
        change(rule, query_key=[])


def observation(micros: int, key: str, country: str) -> Observation:
    moment = START + timedelta(microseconds=micros)
    event = Event(str(micros), "log", moment, moment, body={"country": country})
    return Observation(event, key, micros, Document(event.body))


def test_keys_beyond_the_bound_push_out_the_longest_idle() -> None:
    kind = Change(("country",), max_keys=2)
    state = kind.start()
    for micros, key in enumerate(["a", "b", "a", "c"]):
        kind.step(state, observation(micros, key, "de"), micros)
    assert list(state.by_key) == ["a", "c"]
    assert pickle.loads(pickle.dumps(state)) == state


def test_a_tick_frees_keys_whose_time_is_over() -> None:
    kind = Change(("country",), timeframe=100)
    state = kind.start()
    for micros, key in ((0, "a"), (60, "b")):
        kind.step(state, observation(micros, key, "de"), micros)
    kind.tick(state, 101)
    assert list(state.by_key) == ["b"]
