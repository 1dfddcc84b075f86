"""`type: cardinality`: too many and too few different values, through the engine and against naive
readings.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.types.cardinality import SPARE_VALUES, Cardinality
from divertor.rules.types.contract import Observation, threshold_of

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


def cardinality(rule: Rules, seconds: float = 60, **more: Any) -> Rule:
    return rule(type="cardinality", cardinality_field="ip", timeframe={"seconds": seconds}, **more)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fired(rule: Rule, events: list[Event]) -> list[int]:
    """Which events (from 0) made the rule fire, each judged when it was received."""
    engine = Engine([rule])
    return [place for place, one in enumerate(events) if engine.push(one, one.received)]


def ticked(rule: Rule, events: list[Event], until: int) -> list[int]:
    """At which second ticks made the rule fire."""
    engine, found = Engine([rule]), []
    for second in range(until):
        for one in events:
            if one.received == at(second):
                engine.push(one, one.received)
        found += [second for _match in engine.advance(at(second))]
    return found


def test_only_a_new_value_that_is_too_many_fires(rule: Rules, event: Events) -> None:
    events = [event(n, ip=ip) for n, ip in enumerate("abcaabcd")]
    assert fired(cardinality(rule, max_cardinality=2), events) == [2, 7]


def test_a_value_exactly_the_timeframe_old_no_longer_counts(rule: Rules, event: Events) -> None:
    events = [event(0, ip="a"), event(60, ip="b")]
    assert fired(cardinality(rule, max_cardinality=1), events) == []
    assert fired(cardinality(rule, max_cardinality=1), [event(0, ip="a"), event(59.999, ip="b")]) == [1]


def test_a_value_seen_again_counts_from_then_on(rule: Rules, event: Events) -> None:
    events = [event(0, ip="a"), event(40, ip="a"), event(70, ip="b")]
    assert fired(cardinality(rule, max_cardinality=1), events) == [2]


def test_the_elements_of_a_list_are_values_by_themselves(rule: Rules, event: Events) -> None:
    assert fired(
        cardinality(rule, max_cardinality=2), [event(0, ip=["a", "b"]), event(1, ip=["b", "c"])]
    ) == [1]


def test_an_event_without_a_value_counts_for_nothing(rule: Rules, event: Events) -> None:
    assert fired(cardinality(rule, max_cardinality=0), [event(0), event(1, ip=None), event(2, ip=[])]) == []


def test_keys_are_counted_apart(rule: Rules, event: Events) -> None:
    events = [event(n, ip=str(n), user=user) for n, user in enumerate("aba")]
    assert fired(cardinality(rule, max_cardinality=1, query_key="user"), events) == [2]


def test_too_few_is_known_a_timeframe_after_the_first(rule: Rules, event: Events) -> None:
    few = cardinality(rule, seconds=10, min_cardinality=2)
    assert ticked(few, [event(0, ip="a"), event(5, ip="a")], 15) == [10]


def test_enough_values_are_left_alone_until_they_are_too_old(rule: Rules, event: Events) -> None:
    few = cardinality(rule, seconds=10, min_cardinality=2)
    events = [event(second, ip=ip) for second, ip in ((0, "a"), (1, "b"), (8, "a"), (9, "b"), (17, "a"))]
    assert ticked(few, events, 25) == [19]


def test_a_key_without_values_is_told_once_and_forgotten(rule: Rules, event: Events) -> None:
    few = cardinality(rule, seconds=10, min_cardinality=1, query_key="user")
    assert ticked(few, [event(0, ip="a", user="x")], 60) == [10]


def test_without_a_key_it_is_told_again_and_again(rule: Rules, event: Events) -> None:
    few = cardinality(rule, seconds=10, min_cardinality=1)
    assert ticked(few, [event(0, ip="a")], 35) == [10, 20, 30]


def test_too_few_shows_the_time_and_the_key(rule: Rules, event: Events) -> None:
    engine = Engine([cardinality(rule, seconds=10, min_cardinality=2, query_key="user")])
    engine.push(event(0, ip="a", user="x"), START)
    (match,) = engine.advance(at(12))
    assert match.document["user"] == "x"
    assert match.time == at(12)
    assert match.event is None


def test_one_of_both_bounds_is_needed(rule: Rules) -> None:
    with pytest.raises(InputError, match="neither max_cardinality nor min_cardinality"):
        cardinality(rule)


def test_the_sentence_names_the_field_and_the_bound(rule: Rules) -> None:
    many, few = (cardinality(rule, **{name: 3}).behaviour for name in ("max_cardinality", "min_cardinality"))
    assert many.summary({}, START).startswith(
        "A maximum of 3 unique ip(s) occurred since last alert or between"
    )
    assert few.summary({}, START).startswith("Less than 3 unique ip(s) occurred since last alert or between")


def test_the_last_event_of_each_other_value_is_attached_when_asked_for(rule: Rules, event: Events) -> None:
    engine = Engine([cardinality(rule, max_cardinality=2, attach_related=True)])
    events = [event(n, ip=ip, n=n) for n, ip in enumerate("abac")]
    (match,) = [match for one in events for match in engine.push(one, one.received)]
    assert [one["n"] for one in match.document["related_events"]] == [1, 2]


def test_the_events_that_are_kept_are_bounded() -> None:
    kind = Cardinality("ip", 100, most=5, attach_related=True)
    state = kind.start()
    for micros in range(5000):
        kind.step(state, observation(micros, str(micros)), micros)
    events = state.by_key[None].events
    assert events is not None and len(events) <= 2 * 100 + 16


def observation(micros: int, ip: str, key: str | None = None) -> Observation:
    moment = START + timedelta(microseconds=micros)
    event = Event(f"{micros} {ip}", "log", moment, moment, body={"ip": ip})
    return Observation(event, key, micros, Document(event.body))


def test_what_is_remembered_is_bounded() -> None:
    kind = Cardinality("ip", 10**9, most=5, max_keys=20)
    state = kind.start()
    for micros in range(5000):
        kind.step(state, observation(micros, str(micros), "hot"), micros)
        kind.step(state, observation(micros, str(micros), str(micros)), micros)
    assert len(state.by_key["hot"]) <= 5 + SPARE_VALUES
    assert len(state.by_key) <= 20
    assert state.forgotten > 4000


def test_what_is_waited_for_is_bounded() -> None:
    kind = Cardinality("ip", 10**9, least=5, keyed=True, max_keys=20)
    state = kind.start()
    for micros in range(1000):
        kind.step(state, observation(micros, "a", str(micros)), micros)
    assert sum(map(len, state.due.slots.values())) == len(state.by_key) <= 20


def test_a_tick_frees_idle_keys() -> None:
    kind = Cardinality("ip", 1000, most=5)
    state = kind.start()
    kind.step(state, observation(0, "a", "idle"), 0)
    kind.step(state, observation(500, "a", "b"), 500)
    kind.tick(state, 1001)
    assert list(state.by_key) == ["b"]


def test_the_values_held_are_counted_right() -> None:
    kind = Cardinality("ip", 30, most=3, least=2, keyed=True)
    state, random = kind.start(), Random(1)
    for now in range(3000):
        kind.step(
            state,
            observation(max(0, now - random.randint(0, 40)), random.choice("uvwxyz"), random.choice("ab")),
            now,
        )
        if random.random() < 0.2:
            kind.tick(state, now)
        assert state.held == sum(len(known) for known in state.by_key.values())


def test_a_single_value_is_kept_without_a_mapping_until_another_joins_it() -> None:
    kind = Cardinality("ip", 100, most=5)
    state, kept = kind.start(), []
    for micros, ip in ((0, "a"), (50, "a"), (160, "b"), (170, "a"), (400, "c")):
        kind.step(state, observation(micros, ip, "k"), micros)
        kept.append(state.by_key["k"].seen)
    assert kept[:3] == ["a", "a", "b"]
    assert kept[3:] == [{"b": 160, "a": 170}, "c"]


def test_it_says_where_the_bad_side_begins() -> None:
    assert threshold_of(Cardinality("ip", 50, most=3)) == 4
    assert threshold_of(Cardinality("ip", 50, least=3, side="below")) == 2


def test_a_state_survives_pickling() -> None:
    kind = Cardinality("ip", 30, least=2)
    state = kind.start()
    kind.step(state, observation(0, "a"), 0)
    again = pickle.loads(pickle.dumps(state))
    assert [hit.micros for hit in kind.tick(again, 30)] == [30]


STREAMS = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("abcdef")), max_size=50)


def window(stream: list[tuple[int, str]], timeframe: int) -> set[str]:
    """The values within the timeframe of the newest event."""
    newest = max((time for time, _ip in stream), default=0)
    return {ip for time, ip in stream if newest - time < timeframe}


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(0, 4), st.integers(1, 90))
def test_too_many_is_what_the_naive_reading_finds(
    stream: list[tuple[int, str]], most: int, timeframe: int
) -> None:
    kind = Cardinality("ip", timeframe, most=most)
    state, found, expected = kind.start(), [], []
    for place, (time, ip) in enumerate(stream):
        newest = max([one for one, _ip in stream[: place + 1]])
        before = {one for when, one in stream[:place] if newest - when < timeframe}
        now_in = window(stream[: place + 1], timeframe)
        if len(now_in) > most and ip not in before and newest - time < timeframe:
            expected.append(place)
        # `now` long past: nothing is stale, as in the naive reading.
        if kind.step(state, observation(time, ip), 0):
            found.append(place)
    assert found == expected


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.integers(1, 90))
def test_it_measures_the_different_values_of_the_last_timeframe(
    stream: list[tuple[int, str]], timeframe: int
) -> None:
    kind = Cardinality("ip", timeframe, most=3, measured=True)
    state = kind.start()
    for time, ip in sorted(stream):
        kind.step(state, observation(time, ip), time)
    now = max((time for time, _ip in stream), default=0)
    assert kind.measure(state, None, now) == len(window(stream, timeframe))


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.integers(1, 4), st.integers(1, 90))
def test_too_few_is_told_whenever_it_is_so_and_never_otherwise(
    stream: list[tuple[int, str]], least: int, timeframe: int
) -> None:
    kind = Cardinality("ip", timeframe, least=least)
    state, stream = kind.start(), sorted(stream)
    told_before = -timeframe
    for now in range(0, 400):
        for time, ip in stream:
            if time == now:
                kind.step(state, observation(time, ip), now)
        hits = kind.tick(state, now)
        recent = {ip for time, ip in stream if time <= now and now - time < timeframe}
        waited = bool(stream) and now - max(stream[0][0], told_before) >= timeframe
        assert bool(hits) == (waited and len(recent) < least)
        told_before = now if hits else told_before
