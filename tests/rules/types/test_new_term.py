"""`type: new_term` through the engine."""

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
from divertor.rules.types.contract import Observation
from divertor.rules.types.new_term import MAX_TERMS_OF_EVENT, NewTerm

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


def new_term(rule: Rules, **more: Any) -> Rule:
    return rule(type="new_term", **{"fields": "ip", **more})


def matches(rule: Rule, events: list[Event]) -> list[Match]:
    engine = Engine([rule])
    return [match for one in events for match in engine.push(one, one.received)]


def seconds(found: list[Match]) -> list[float]:
    return [(match.time - START).total_seconds() for match in found]


def test_a_value_that_was_not_seen_matches(rule: Rules, event: Events) -> None:
    events = [event(n, ip=ip) for n, ip in enumerate("aab")]
    found = matches(new_term(rule), events)
    assert seconds(found) == [0, 2]
    assert found[0].document["new_field"] == "ip"


def test_a_value_not_seen_for_the_window_is_new_again(rule: Rules, event: Events) -> None:
    windowed = new_term(rule, terms_window_size={"seconds": 10})
    assert seconds(matches(windowed, [event(second, ip="a") for second in (0, 9, 18, 28)])) == [0, 28]


def test_each_field_is_looked_at_by_itself(rule: Rules, event: Events) -> None:
    found = matches(new_term(rule, fields=["ip", "user"]), [event(0, ip="a", user="b")])
    assert [match.document["new_field"] for match in found] == ["ip", "user"]
    assert len({match.id for match in found}) == 2


def test_the_values_of_a_composite_are_new_together(rule: Rules, event: Events) -> None:
    events = [event(n, ip=pair[0], user=pair[1]) for n, pair in enumerate(["1a", "2a", "1b", "1a"])]
    found = matches(new_term(rule, fields=[["ip", "user"]]), events)
    assert seconds(found) == [0, 1, 2]
    assert found[0].document["new_field"] == ["ip", "user"]


def test_a_composite_needs_all_its_values(rule: Rules, event: Events) -> None:
    assert matches(new_term(rule, fields=[["ip", "user"]]), [event(0, ip="1")]) == []


def test_the_elements_of_a_list_are_values_by_themselves(rule: Rules, event: Events) -> None:
    assert seconds(
        matches(new_term(rule), [event(0, ip=["a", "b"]), event(1, ip="b"), event(2, ip=["c"])])
    ) == [0, 2]


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_missing_field_matches_when_asked_for(rule: Rules, event: Events, nothing: Any) -> None:
    assert matches(new_term(rule), [event(0, ip=nothing)]) == []
    (match,) = matches(new_term(rule, alert_on_missing_field=True), [event(0, ip=nothing)])
    assert match.document["missing_field"] == "ip"


@pytest.mark.parametrize("value", [0, False])
def test_zero_and_false_are_values(rule: Rules, event: Events, value: Any) -> None:
    assert len(matches(new_term(rule), [event(0, ip=value)])) == 1


def test_what_is_seen_while_learning_is_known(rule: Rules, event: Events) -> None:
    learning = new_term(rule, learning={"seconds": 10})
    events = [event(n, ip=ip) for n, ip in ((0, "a"), (9, "b"), (10, "c"), (11, "a"))]
    assert seconds(matches(learning, events)) == [10]


def test_the_past_is_learnt_by_reading_it_again(rule: Rules, event: Events) -> None:
    engine = Engine([new_term(rule)])
    engine.warm(event(0, ip="a"))
    assert engine.push(event(1, ip="a"), START) == []


def test_without_fields_the_query_key_is_looked_at(rule: Rules, event: Events) -> None:
    found = matches(rule(type="new_term", query_key=["ip", "user"]), [event(0, ip="1", user="a")])
    assert found[0].document["new_field"] == ["ip", "user"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fields": []}, "empty"), ({"fields": [[]]}, "empty"), ({"fields": None}, "neither")],
)
def test_there_has_to_be_something_to_look_at(rule: Rules, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        new_term(rule, **options)


def observation(micros: int, ip: Any) -> Observation:
    moment = START + timedelta(microseconds=micros)
    event = Event(str(micros), "log", moment, moment, body={"ip": ip, "user": ip})
    return Observation(event, None, micros, Document(event.body))


def test_terms_beyond_the_bound_push_out_the_longest_unseen() -> None:
    kind = NewTerm((("ip",),), window=1000, max_terms=2)
    state = kind.start()
    for micros, ip in enumerate("abac"):
        kind.step(state, observation(micros, ip), micros)
    assert list(state.seen) == ["a", "c"]
    assert pickle.loads(pickle.dumps(state)) == state


def test_a_value_of_one_field_is_not_known_in_another(rule: Rules, event: Events) -> None:
    events = [event(0, ip="a", user="b"), event(1, ip="b", user="a"), event(2, ip="0 b", user="1 a")]
    found = matches(new_term(rule, fields=["ip", "user"]), events)
    assert [match.document["new_field"] for match in found] == ["ip", "user"] * 3


def test_one_event_brings_a_bounded_number_of_terms() -> None:
    kind = NewTerm((("ip", "user"),), window=1000)
    state = kind.start()
    kind.step(state, observation(0, list(range(1000))), 0)
    assert len(state.seen) == MAX_TERMS_OF_EVENT


def test_a_new_term_does_not_hide_behind_one_that_is_repeated(rule: Rules, event: Events) -> None:
    events = [event(0, ip="known"), event(1, ip=["known"] * MAX_TERMS_OF_EVENT + ["evil"])]
    assert seconds(matches(new_term(rule), events)) == [0, 1]


@pytest.mark.parametrize("fields", ["ip", [["ip", "user"]]])
def test_an_event_with_more_terms_than_are_looked_at_matches(rule: Rules, event: Events, fields: Any) -> None:
    known = [f"term {number}" for number in range(MAX_TERMS_OF_EVENT)]
    events = [event(0, ip=known, user="u"), event(1, ip=known, user="u")]
    events.append(event(2, ip=[*known, "evil"], user="u"))
    assert seconds(matches(new_term(rule, fields=fields), events)) == [0, 2]


def test_a_tick_frees_terms_whose_time_is_over() -> None:
    kind = NewTerm((("ip",),), window=100)
    state = kind.start()
    for micros, ip in ((0, "a"), (60, "b")):
        kind.step(state, observation(micros, ip), micros)
    kind.tick(state, 100)
    assert list(state.seen) == ["b"]
