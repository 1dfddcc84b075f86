"""`type: flatline`: silence as ticks show it, by key and without, told once, and against a naive reading."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.types.contract import Measured, Observation
from divertor.rules.types.flatline import Flatline, PolledFlatline

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


def flatline(rule: Rules, threshold: int = 1, seconds: float = 60, **more: Any) -> Rule:
    return rule(type="flatline", threshold=threshold, timeframe={"seconds": seconds}, **more)


def fired(rule: Rule, events: list[Event], until: int) -> list[tuple[int, Any]]:
    """When (seconds from the start) and for which key, with a tick every second and events between them."""
    engine, found, waiting = Engine([rule]), [], list(events)
    for second in range(until + 1):
        now = START + timedelta(seconds=second)
        found += engine.advance(now)
        while waiting and waiting[0].received < now + timedelta(seconds=1):
            found += engine.push(waiting[0], waiting[0].received)
            waiting.pop(0)
    return [(round((match.time - START).total_seconds()), match.document["key"]) for match in found]


def test_without_a_key_silence_from_the_start_is_one_hit(rule: Rules) -> None:
    assert fired(flatline(rule), [], 300) == [(60, "all")]


def test_it_is_at_the_moment_when_the_last_event_is_too_old(rule: Rules, event: Events) -> None:
    assert fired(flatline(rule), [event(5), event(42)], 300) == [(102, "all")]


def test_it_is_told_again_after_enough_events_came(rule: Rules, event: Events) -> None:
    events = [event(0), event(100), event(101)]
    assert fired(flatline(rule, 2), events, 300) == [(60, "all"), (160, "all")]


def test_too_few_events_do_not_end_a_silence(rule: Rules, event: Events) -> None:
    assert fired(flatline(rule, 2), [event(0), event(100)], 300) == [(60, "all")]


def test_with_a_key_only_those_are_missed_that_were_there(rule: Rules, event: Events) -> None:
    events = [event(0, user="a"), event(10, user="b"), event(50, user="a")]
    assert fired(flatline(rule, query_key="user"), events, 300) == [(70, "b"), (110, "a")]


def test_a_forgotten_key_is_watched_again_when_it_is_seen(rule: Rules, event: Events) -> None:
    events = [event(0, user="a"), event(100, user="a")]
    found = fired(flatline(rule, 2, query_key="user", forget_keys=True), events, 300)
    assert found == [(60, "a"), (160, "a")]


def test_late_events_are_waited_for(rule: Rules, event: Events) -> None:
    events = [event(0), event(50, received=75), event(300)]
    assert fired(flatline(rule), events, 70) == [(60, "all")]
    assert fired(flatline(rule, query_delay={"seconds": 30}), events, 120) == []


def test_the_match_tells_how_many_there_were(rule: Rules, event: Events) -> None:
    engine = Engine([flatline(rule, 3, query_key="user")])
    engine.push(event(0, user="a"), START)
    engine.push(event(30, user="a"), START + timedelta(seconds=30))
    (match,) = engine.advance(START + timedelta(seconds=61))
    shown = {name: match.document[name] for name in ("user", "key", "count", "threshold")}
    assert shown == {"user": "a", "key": "a", "count": 1, "threshold": 3}
    assert match.event is None


def test_the_sentence_names_the_threshold_and_the_window(rule: Rules) -> None:
    summary = flatline(rule, 7, seconds=3600).behaviour.summary({}, START)
    assert "fewer than 7 between 2025-12-31 23:00 UTC and 2026-01-01 00:00 UTC" in summary


def test_counting_queries_count_the_same(rule: Rules, event: Events) -> None:
    assert fired(flatline(rule, use_count_query=True), [event(5)], 300) == [(65, "all")]


def seen(second: float, key: str | None = None, number: int = 0) -> Observation:
    moment = START + timedelta(seconds=second)
    one = Event(str(number), "log", moment, moment)
    return Observation(one, key, micros(second), Document.of(one))


def micros(second: float) -> int:
    return round(second * SECOND)


def test_measure_is_the_count_within_the_timeframe() -> None:
    kind = Flatline(2, 60 * SECOND, keep=100)
    state = kind.start()
    for second in (0, 30, 50):
        kind.step(state, seen(second), micros(second))
    assert isinstance(kind, Measured)
    assert [kind.measure(state, None, micros(second)) for second in (50, 60, 95, 110)] == [3, 2, 1, 0]
    assert (kind.side, kind.threshold, kind.measure(state, "other", 0)) == ("below", 1, None)


def test_new_keys_are_not_watched_when_too_many_are_alive() -> None:
    kind = Flatline(1, 60 * SECOND, keyed=True, max_keys=2)
    state = kind.start()
    for number, key in enumerate("abc"):
        kind.step(state, seen(number, key), micros(number))
    assert [hit.key for hit in kind.tick(state, micros(100))] == ["a", "b"]
    assert state.refused == 1


def test_silent_keys_make_room_for_new_ones() -> None:
    kind = Flatline(1, 60 * SECOND, keyed=True, max_keys=2)
    state = kind.start()
    for second, key in ((0, "a"), (1, "b")):
        kind.step(state, seen(second, key), micros(second))
    kind.tick(state, micros(100))
    kind.step(state, seen(101, "c"), micros(101))
    assert [hit.key for hit in kind.tick(state, micros(200))] == ["c"]


def test_a_key_keeps_no_more_times_than_decide() -> None:
    kind = Flatline(5, 60 * SECOND, keep=5)
    state = kind.start()
    for number in range(10_000):
        kind.step(state, seen(number / 1000), micros(number / 1000))
    assert len(state.alive[None].times) <= 26


def test_a_tick_looks_only_at_keys_that_are_due() -> None:
    kind = Flatline(1, 60 * SECOND, keyed=True)
    state = kind.start()
    for number in range(1000):
        kind.step(state, seen(number / 100, str(number)), micros(number / 100))
    slots = {slot: dict(keys) for slot, keys in state.deadlines.slots.items()}
    kind.tick(state, micros(30))
    assert state.deadlines.slots == slots


times = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 30), st.sampled_from(["a", "b", None])), max_size=40
)


@settings(max_examples=60)
@given(times, st.integers(1, 4), st.booleans(), st.booleans())
def test_it_fires_like_the_naive_reading(
    came: list[tuple[int, int, str | None]], threshold: int, forget: bool, saved: bool
) -> None:
    """At each tick: keys (seen, and not open) with fewer than `threshold` events after tick - timeframe."""
    arrivals = sorted(((second + late, second, key) for second, late, key in came), key=lambda one: one[:2])
    kind = Flatline(threshold, 60 * SECOND, keyed=True, forget_keys=forget, keep=threshold)
    state = kind.start()
    known: dict[str | None, list[int]] = {}
    opened: set[str | None] = set()
    since: dict[str | None, int] = {}
    for now in range(500):
        expected = set()
        for key in list(since):
            count = sum(second > now - 60 for second in known[key])
            if count >= threshold or key in opened or now - since[key] < 60:
                continue
            expected.add(key)
            opened.add(key)
            if forget:
                opened.discard(key)
                del since[key], known[key]
        assert {hit.key for hit in kind.tick(state, micros(now))} == expected, now
        for _arrived, second, key in [one for one in arrivals if one[0] == now]:
            kind.step(state, seen(second, key), micros(now))
            since.setdefault(key, second)
            known.setdefault(key, []).append(second)
            newest = max(known[key])
            if key in opened and sum(newest - 60 < one for one in known[key]) >= threshold:
                opened.discard(key)
        if saved and now % 50 == 0:
            state = pickle.loads(pickle.dumps(state))


def test_compatible_mode_repeats_with_every_run(rule: Rules) -> None:
    polled = flatline(rule, compatible=True, run_every={"seconds": 30})
    assert fired(polled, [], 180) == [(second, "all") for second in (90, 120, 150, 180)]


def test_compatible_mode_has_a_bound_of_keys() -> None:
    kind = PolledFlatline(1, 60 * SECOND, keyed=True, max_keys=2)
    state = kind.start()
    for number, key in enumerate("abc"):
        kind.step(state, seen(number, key), micros(number))
    assert (len(state.windows), state.refused) == (2, 1)
