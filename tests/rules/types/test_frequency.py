"""`type: frequency`: the window, its edges and its memory, through the engine and against a naive reading."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.model.events import Event
from divertor.rules import Engine, Rule, backtest
from divertor.rules.document import Document
from divertor.rules.types.contract import Observation, threshold_of
from divertor.rules.types.frequency import MAX_MEASURED, Frequency

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


def frequency(rule: Rules, num_events: int, seconds: float = 60, **more: Any) -> Rule:
    return rule(type="frequency", num_events=num_events, timeframe={"seconds": seconds}, **more)


def fired(rule: Rule, events: list[Event]) -> list[int]:
    """Which events (from 0) made the rule fire, each judged when it was received."""
    engine = Engine([rule])
    return [place for place, one in enumerate(events) if engine.push(one, one.received)]


def test_events_exactly_the_timeframe_apart_are_not_in_one_window(rule: Rules, event: Events) -> None:
    assert fired(frequency(rule, 2), [event(0), event(60)]) == []


def test_events_a_millisecond_closer_are(rule: Rules, event: Events) -> None:
    assert fired(frequency(rule, 2), [event(0), event(59.999)]) == [1]


def test_a_match_empties_the_window(rule: Rules, event: Events) -> None:
    assert fired(frequency(rule, 3), [event(second) for second in range(8)]) == [2, 5]


def test_the_body_is_the_event_that_made_it_a_match(rule: Rules, event: Events) -> None:
    events = [event(0, user="a"), event(10, user="newest"), event(5, received=11, user="late")]
    (match,) = backtest(frequency(rule, 3), events)
    assert match.document["user"] == "late"
    assert match.time == START + timedelta(seconds=5)


def test_a_late_event_counts_while_it_fits(rule: Rules, event: Events) -> None:
    assert fired(frequency(rule, 3), [event(30), event(60), event(1, received=60)]) == [2]


def test_an_event_older_than_the_window_does_not_count(rule: Rules, event: Events) -> None:
    assert fired(frequency(rule, 3), [event(100), event(101), event(40, received=102)]) == []


def test_keys_are_counted_apart_and_a_missing_key_is_one_too(rule: Rules, event: Events) -> None:
    events = [event(0, user="a"), event(1, user="b"), event(2), event(3, user="a"), event(4)]
    assert fired(frequency(rule, 2, query_key="user"), events) == [3, 4]


def test_a_compound_key_is_shown_in_the_match(rule: Rules, event: Events) -> None:
    events = [event(0, user="a", ip="1"), event(1, user="a", ip="2"), event(2, user="a", ip="1")]
    (match,) = backtest(frequency(rule, 2, query_key=["user", "ip"]), events)
    assert match.document["user,ip"] == "a, 1"


def test_a_compound_key_spells_what_is_missing(rule: Rules, event: Events) -> None:
    (match,) = backtest(frequency(rule, 1, query_key=["user", "ip"]), [event(0, user="a")])
    assert match.document["user,ip"] == "a, None"


def test_related_events_are_all_the_others_by_time(rule: Rules, event: Events) -> None:
    events = [event(0, n=0), event(2, n=2), event(1, received=2, n=1), event(3, n=3)]
    (match,) = backtest(frequency(rule, 4, attach_related=True), events)
    assert [one["n"] for one in match.document["related_events"]] == [0, 1, 2]


def test_related_events_are_not_attached_unasked(rule: Rules, event: Events) -> None:
    (match,) = backtest(frequency(rule, 2), [event(0), event(1)])
    assert "related_events" not in match.document


def test_a_key_idle_for_longer_than_an_event_may_be_late_is_forgotten(rule: Rules, event: Events) -> None:
    stale = [event(0), event(1, received=62)]
    fresh = [event(0), event(1, received=60)]
    patient = frequency(rule, 2, buffer_time={"seconds": 1})
    assert fired(patient, stale) == []
    assert fired(patient, fresh) == [1]


def test_an_event_from_the_future_cannot_push_others_out(rule: Rules, event: Events) -> None:
    events = [event(0), event(9e9, received=1), event(2)]
    assert fired(frequency(rule, 3), events) == [2]


def test_the_sentence_names_the_count_and_the_window(rule: Rules) -> None:
    summary = frequency(rule, 7, seconds=3600).behaviour.summary({}, START)
    assert summary == "At least 7 events occurred between 2025-12-31 23:00 UTC and 2026-01-01 00:00 UTC"


def observation(micros: int, key: str | None = None) -> Observation:
    moment = START + timedelta(microseconds=micros)
    event = Event(str(micros), "log", moment, moment)
    return Observation(event, key, micros, Document.of(event))


def test_keys_beyond_the_bound_push_out_the_longest_idle() -> None:
    kind = Frequency(2, 1000, max_keys=2)
    state = kind.start()
    for key in ("a", "b", "a2", "b"):
        hits = kind.step(state, observation(1, key), 1)
    assert hits and state.since_match.forgotten == 1


def test_a_tick_frees_idle_keys() -> None:
    kind = Frequency(2, 1000)
    state = kind.start()
    kind.step(state, observation(0, "a"), 0)
    kind.step(state, observation(500, "b"), 500)
    kind.tick(state, 1001)
    assert list(state.since_match.by_key) == ["b"]


def naive(stream: list[tuple[int, str]], num_events: int, timeframe: int) -> list[int]:
    """Which event fired: lists, sorted again at every step."""
    windows: dict[str, list[int]] = {}
    found = []
    for place, (time, key) in enumerate(stream):
        window = sorted([*windows.get(key, []), time])
        window = [one for one in window if window[-1] - one < timeframe]
        if len(window) >= num_events:
            found.append(place)
            window = []
        windows[key] = window
    return found


STREAMS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab")), max_size=60)


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(1, 5), st.integers(1, 120), st.booleans())
def test_it_counts_as_the_naive_reading_does(
    stream: list[tuple[int, str]], num_events: int, timeframe: int, attach: bool
) -> None:
    kind = Frequency(num_events, timeframe, attach)
    state = kind.start()
    found = []
    for place, (time, key) in enumerate(stream):
        # `now` long past: nothing is stale, as in the naive reading.
        for hit in kind.step(state, observation(time, key), 0):
            found.append(place)
            assert hit.micros == time
            assert not attach or len(hit.related or ()) == num_events - 1
    assert found == naive(stream, num_events, timeframe)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from("ab")), max_size=40),
    st.lists(st.integers(0, 40), max_size=10),
)
def test_when_ticks_happen_changes_nothing(stream: list[tuple[int, int, str]], ticks: list[int]) -> None:
    def run(ticked: set[int]) -> list[int]:
        kind = Frequency(3, 50)
        state = kind.start()
        now, found = 0, []
        for place, (step, lag, key) in enumerate(stream):
            now += step
            if place in ticked:
                kind.tick(state, now)
            if kind.step(state, observation(max(0, now - lag), key), now):
                found.append(place)
        return found

    assert run(set(ticks)) == run(set())


@settings(max_examples=150, deadline=None)
@given(STREAMS, st.integers(1, 5), st.integers(1, 120))
def test_it_measures_the_events_of_the_last_timeframe(
    stream: list[tuple[int, str]], num_events: int, timeframe: int
) -> None:
    kind = Frequency(num_events, timeframe, measured=True)
    state, times = kind.start(), sorted(time for time, key in stream if key == "a")
    for time, key in sorted(stream):
        kind.step(state, observation(time, key), time)
    now = max(times, default=0)
    within = sum(now - time < timeframe for time in times)
    assert kind.measure(state, "a", now) == within


def test_without_anybody_asking_nothing_is_kept_to_measure() -> None:
    kind = Frequency(2, 50)
    assert kind.measure(kind.start(), "a", 0) is None


def test_it_says_where_the_bad_side_begins() -> None:
    assert threshold_of(Frequency(3, 50)) == 3


def test_a_state_survives_pickling() -> None:
    kind = Frequency(4, 50, measured=True)
    state = kind.start()
    for micros, key in ((0, "a"), (1, "a"), (2, "a"), (3, "b")):
        kind.step(state, observation(micros, key), micros)
    again = pickle.loads(pickle.dumps(state))
    assert again == state
    assert kind.step(again, observation(4, "a"), 4)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_window_never_holds_more_than_it_needs(count: int) -> None:
    kind = Frequency(count, 10**9)
    state = kind.start()
    for micros in range(500):
        kind.step(state, observation(micros), micros)
    assert state.since_match.held <= count + 1


def test_what_is_measured_is_bounded() -> None:
    kind = Frequency(5, 10**9, measured=True)
    state = kind.start()
    for micros in range(3 * MAX_MEASURED):
        kind.step(state, observation(micros), micros)
    assert state.lately is not None
    # Cut now and then, by half.
    assert state.lately.held <= 2 * MAX_MEASURED + 66
    assert kind.measure(state, None, 3 * MAX_MEASURED) == MAX_MEASURED


def test_places_in_arrays_are_counted_right() -> None:
    kind = Frequency(7, 30)
    state = kind.start()
    random = Random(1)
    for now in range(3000):
        kind.step(state, observation(max(0, now - random.randint(0, 40)), random.choice("abc")), now)
        windows = [one for one in state.since_match.by_key.values() if not isinstance(one, int)]
        assert state.since_match.held == sum(map(len, windows))
