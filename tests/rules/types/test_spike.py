"""`type: spike`: rises by events, falls by ticks, their references, and against a naive reading."""

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
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.types.contract import Measured, Observation
from divertor.rules.types.spike import MOST_FEW, Spike
from divertor.rules.types.tracks import Track, Tracks

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


def spike(rule: Rules, height: float = 3, kind: str = "up", **more: Any) -> Rule:
    return rule(type="spike", spike_height=height, spike_type=kind, timeframe={"seconds": 60}, **more)


def fired(rule: Rule, events: list[Event], until: int) -> list[tuple[int, int, int]]:
    """When (seconds from the start), the current and the reference number."""
    engine, found, waiting = Engine([rule]), [], list(events)
    for second in range(until + 1):
        now = START + timedelta(seconds=second)
        found += engine.advance(now)
        while waiting and waiting[0].received < now + timedelta(seconds=1):
            found += engine.push(waiting[0], waiting[0].received)
            waiting.pop(0)
    return [
        (
            round((match.time - START).total_seconds()),
            match.document["spike_count"],
            match.document["reference_count"],
        )
        for match in found
    ]


def test_a_rise_is_told_by_the_event_that_makes_it(rule: Rules, event: Events) -> None:
    events = [event(70), event(90), *(event(130 + number) for number in range(8))]
    assert fired(spike(rule), events, 200) == [(131, 3, 1)]


def test_the_match_shows_that_event(rule: Rules, event: Events) -> None:
    engine = Engine([spike(rule)])
    engine.advance(START)
    found = [match for number in range(5) for match in engine.push(event(130 + number, n=number), START)]
    assert [match.document["n"] for match in found] == [2]


def test_a_fall_is_told_when_it_happens(rule: Rules, event: Events) -> None:
    events = [event(70 + number) for number in range(6)]
    assert fired(spike(rule, 3, "down"), events, 300) == [(134, 1, 5)]


def test_nothing_against_nothing_is_no_spike(rule: Rules, event: Events) -> None:
    assert fired(spike(rule, 1, "both"), [event(0)], 600)[1:] == []


def test_silence_counts_as_one_event(rule: Rules, event: Events) -> None:
    assert fired(spike(rule, 3), [event(200), event(201)], 300) == []
    assert fired(spike(rule, 3), [event(200), event(201), event(202)], 300) == [(202, 3, 0)]


def test_two_full_windows_are_waited_for(rule: Rules, event: Events) -> None:
    assert fired(spike(rule, 3), [event(second) for second in range(100, 119)], 200) == []


def test_after_a_spike_two_full_windows_are_waited_for(rule: Rules, event: Events) -> None:
    events = [event(second) for second in (*range(200, 206), *range(300, 306), *range(500, 506))]
    assert [second for second, _now, _before in fired(spike(rule), events, 600)] == [202, 502]


def test_thresholds_are_least_numbers_of_both_windows(rule: Rules, event: Events) -> None:
    events = [event(second) for second in (130, 131, *range(180, 200))]
    assert fired(spike(rule, 3, threshold_cur=8), events, 250) == [(185, 8, 0)]
    assert fired(spike(rule, 3, threshold_ref=3), events, 250) == []


def test_a_new_key_waits_for_its_own_windows(rule: Rules, event: Events) -> None:
    events = [event(0, user="old"), *(event(300 + number, user="new") for number in range(9))]
    assert fired(spike(rule, query_key="user"), events, 400) == []


def test_unless_new_data_is_to_alert(rule: Rules, event: Events) -> None:
    events = [event(0, user="old"), *(event(300 + number, user="new") for number in range(9))]
    found = fired(spike(rule, query_key="user", alert_on_new_data=True), events, 400)
    assert found == [(302, 3, 0)]


def test_a_key_that_was_idle_is_not_new(rule: Rules, event: Events) -> None:
    events = [event(0, user="a"), *(event(900 + number, user="a") for number in range(9))]
    assert fired(spike(rule, query_key="user"), events, 950) == [(902, 3, 0)]


def test_means_of_a_field_are_compared(rule: Rules, event: Events) -> None:
    events = [event(second, size=value) for second, value in ((70, 2), (80, "4"), (150, 8), (151, 11.5))]
    found = fired(spike(rule, 3, field_value="size"), events, 200)
    assert found == [(151, 9.75, 3.0)]


def test_events_without_a_number_are_passed_over(rule: Rules, event: Events) -> None:
    events = [event(70, size=2), event(140), event(141, size="x"), event(142, size=[]), event(143, size=6)]
    assert fired(spike(rule, 3, field_value="size"), events, 200) == [(143, 6.0, 2.0)]


def test_the_sentence_names_both_numbers(rule: Rules) -> None:
    told = spike(rule).behaviour.summary({"spike_count": 9, "reference_count": 2}, START)
    assert told == (
        "An abnormal number of events (9) around 2026-01-01 00:00 UTC; in the 0:01:00 before it was 2"
    )


def micros(second: float) -> int:
    return round(second * SECOND)


def seen(second: float, key: str | None = None, **body: Any) -> Observation:
    moment = START + timedelta(seconds=second)
    one = Event(f"{second}", "log", moment, moment, body=body)
    return Observation(one, key, micros(second), Document.of(one))


def test_measure_is_the_factor_in_the_bad_direction() -> None:
    factors = {}
    for kind in ("up", "down", "both"):
        judge = Spike(60 * SECOND, 3, kind != "down", kind != "up")
        state = judge.start()
        for second in (10, 20, 70):
            judge.step(state, seen(second), micros(second))
        assert isinstance(judge, Measured)
        factors[kind] = [judge.measure(state, None, micros(second)) for second in (75, 100)]
    assert factors == {"up": [2.0, 0.5], "down": [0.5, 2.0], "both": [2.0, 2.0]}


def test_the_longest_idle_keys_go_when_there_are_too_many() -> None:
    kind = Spike(60 * SECOND, 3, True, False, keyed=True, max_keys=2)
    state = kind.start()
    for second, key in enumerate(["a", "b", "a", "c"]):
        kind.step(state, seen(100 * second, key), micros(100 * second))
    assert (list(state.by_key), state.forgotten) == (["a", "c"], 1)


def test_a_key_idle_for_two_windows_is_forgotten() -> None:
    kind = Spike(60 * SECOND, 3, True, False, keyed=True)
    state = kind.start()
    kind.step(state, seen(0, "a"), 0)
    kind.tick(state, micros(119))
    assert list(state.by_key) == ["a"]
    kind.tick(state, micros(130))
    assert (list(state.by_key), state.idle, state.deadlines.slots) == ([], {"a": 0}, {})


class Thorough(Spike):
    """Keeps a track of every key from its first event on."""

    def _can_be_few(self) -> bool:
        return False


@pytest.mark.parametrize("seed", range(6))
def test_keeping_bare_numbers_of_keys_with_few_events_changes_nothing_that_is_found(seed: int) -> None:
    chance, options = Random(seed), (60 * SECOND, (1.5, 3, 4, 40)[seed % 4], True, False)
    kinds = [kind(*options, keyed=seed % 2 == 0, max_keys=8) for kind in (Spike, Thorough)]
    states = [kind.start() for kind in kinds]
    found: list[list[Any]] = [[], []]
    for second in range(1500):
        keys = [f"k{chance.randrange(3 + seed)}" for _ in range(chance.choice((0, 0, 1, 6)))]
        late = chance.choice((0, 0, 0, 5, 200))
        for kind, state, hits in zip(kinds, states, found, strict=True):
            hits += kind.tick(state, micros(second))
            for key in keys:
                hits += kind.step(state, seen(second - late, key), micros(second))
                hits.append(kind.measure(state, key, micros(second)))
    assert found[0] == found[1]
    assert any(hit is not None and not isinstance(hit, float) for hit in found[0]) is (seed % 4 != 3)


@pytest.mark.parametrize("height", [4, 1000])
def test_a_key_gets_a_track_when_its_events_may_be_a_rise_or_are_no_longer_few(height: float) -> None:
    kind = Spike(60 * SECOND, height, True, False, keyed=True)
    state, tracked = kind.start(), []
    for second in range(30):
        kind.step(state, seen(second, "a"), micros(second))
        tracked.append(isinstance(state.by_key["a"], Track))
    assert tracked.index(True) + 1 == min(height, MOST_FEW)


def test_neighbours_share_a_time_when_there_are_too_many() -> None:
    exact, joined = (Spike(60 * SECOND, 3, True, True, max_entries=most) for most in (10_000, 64))
    states = [kind.start() for kind in (exact, joined)]
    for number in range(5000):
        for kind, state in zip((exact, joined), states, strict=True):
            kind.step(state, seen(number / 25), micros(number / 25))
            kind.tick(state, micros(number / 25))
    track = states[1].by_key[None]
    assert isinstance(track, Track) and len(track.times) <= 64
    numbers = [
        kind.measure(state, None, micros(200)) for kind, state in zip((exact, joined), states, strict=True)
    ]
    assert numbers[1] == pytest.approx(numbers[0], rel=0.1), numbers


def naive(came: list[tuple[int, int | None]], moment: int, mean: bool) -> tuple[float | None, float | None]:
    """Current and reference as of a moment, with timeframe 60."""
    current = [value or 0 for second, value in came if moment - 60 < second <= moment]
    reference = [value or 0 for second, value in came if moment - 120 < second <= moment - 60]
    if not mean:
        return len(current), len(reference)
    return tuple(sum(one) / len(one) if one else None for one in (current, reference))  # type: ignore[return-value]


events_with_values = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 9)), max_size=60)


@settings(max_examples=150)
@given(events_with_values, st.sampled_from([1, 1.5, 3]), st.booleans(), st.booleans(), st.booleans())
def test_rises_are_those_of_the_naive_reading(
    came: list[tuple[int, int | None]], height: float, in_order: bool, mean: bool, saved: bool
) -> None:
    """An event is judged at its time, or the newest before it."""
    kind = Spike(60 * SECOND, height, True, False, field="n" if mean else None)
    state: Tracks = kind.start()
    if in_order:
        came.sort(key=lambda one: one[0])
    newest, quiet, first = 0, 0, None
    for place, (second, value) in enumerate(came):
        first = second if first is None else first
        newest = max(newest, second)
        current, reference = naive(came[: place + 1], newest, mean)
        rises = (
            second > newest - 120
            and newest - first >= 120
            and newest >= quiet
            and bool(current)
            and (bool(reference) or not mean)
            and (current or 0) >= ((reference or 0) if mean else max(reference or 0, 1)) * height
        )
        if rises:
            quiet = newest + 120
        hits = kind.step(state, seen(second, n=value), micros(newest))
        assert [hit.fields for hit in hits] == [
            {"spike_count": current, "reference_count": reference}
        ] * rises
        if saved:
            state = pickle.loads(pickle.dumps(state))


@settings(max_examples=100)
@given(events_with_values, st.sampled_from([1, 1.5, 3]), st.sampled_from([1, 7, 50]), st.booleans())
def test_falls_are_those_of_the_naive_reading_whenever_ticks_come(
    came: list[tuple[int, int | None]], height: float, every: int, mean: bool
) -> None:
    """Each moment at which an event left the current window is judged, ticks or not in between."""
    kind = Spike(60 * SECOND, height, False, True, field="n" if mean else None)
    state: Tracks = kind.start()
    came.sort(key=lambda one: one[0])
    waiting, found = list(came), []
    for now in range(0, 900, every):
        while waiting and waiting[0][0] <= now:
            second, value = waiting.pop(0)
            kind.step(state, seen(second, n=value), micros(second))
        found += [hit.micros // SECOND for hit in kind.tick(state, micros(now))]
    expected, quiet = [], 0
    for moment in sorted({second + 60 for second, _value in came}):
        current, reference = naive(came, moment, mean)
        counts = bool(reference) and (bool(current) or not mean)
        falls = counts and ((current or 0) if mean else max(current or 0, 1)) * height <= (reference or 0)
        if falls and moment >= 120 and moment >= quiet and moment <= 850:
            expected.append(moment)
            quiet = moment + 120
    assert [moment for moment in found if moment <= 850] == expected
