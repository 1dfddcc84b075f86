"""Events that a match is to show take no more room than there is; all of them count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.events import Event, micros_of
from divertor.rules import Engine, Match, load_rule
from divertor.rules.document import Document
from divertor.rules.types import cardinality, frequency
from divertor.rules.types.contract import Observation
from divertor.rules.types.kept import LEFT_OUT, Kept, Latest, size_of

START = datetime(2026, 1, 2, tzinfo=UTC)
RULE = "name: r\ntype: frequency\nindex: logs\nnum_events: 4\ntimeframe: {minutes: 5}\nalert: debug\n"
RULE += "attach_related: true\nquery_key: user\nrealert: {minutes: 0}\n"


def event(number: int, size: int = 10, user: str = "bob") -> Event:
    moment = START + timedelta(seconds=number)
    return Event(
        f"e{number}", "log", moment, moment, ("logs",), body={"user": user, "n": number, "x": "x" * size}
    )


def found(engine: Engine, events: list[Event]) -> list[Match]:
    return [match for one in events for match in engine.push(one, one.received)]


def shown(match: Match) -> tuple[list[Any], Any]:
    return [one["n"] for one in match.document["related_events"]], match.document.get(LEFT_OUT)


def test_events_for_which_there_is_room_are_all_shown() -> None:
    (match,) = found(Engine([load_rule(RULE, "r")]), [event(number) for number in range(4)])
    assert shown(match) == ([0, 1, 2], None)


@pytest.mark.parametrize("compatible", [False, True])
def test_large_events_count_and_the_match_says_how_many_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, compatible: bool
) -> None:
    monkeypatch.setattr(frequency, "MAX_SIZE_OF_KEY", 600)
    rule = load_rule(RULE + ("compatible: true\n" if compatible else ""), "r")
    (match,) = found(Engine([rule]), [event(number, 60) for number in range(4)])
    assert shown(match) == ([2], 2) and match.document["n"] == 3


def test_one_event_larger_than_all_the_room_is_shown_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequency, "MAX_SIZE_OF_KEY", 600)
    sizes = (10, 10, 10, 1000)
    (match,) = found(
        Engine([load_rule(RULE, "r")]), [event(number, size) for number, size in enumerate(sizes)]
    )
    assert shown(match) == ([], 3) and match.document["n"] == 3


def test_the_room_of_a_rule_is_bounded_over_all_keys_and_nobody_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frequency, "MAX_SIZE", 3000)
    engine = Engine([load_rule(RULE, "r")])
    assert found(engine, [event(number, 100, f"u{number % 50}") for number in range(150)]) == []
    state = engine.state("r")
    assert state.kept_size <= 3000 and state.since_match.forgotten == 0
    matches = found(engine, [event(150 + number, 100, f"u{number}") for number in range(50)])
    assert len(matches) == 50 and shown(matches[-1]) == ([], 3)


def test_room_is_free_again_when_windows_are_over() -> None:
    engine = Engine([load_rule(RULE, "r")])
    found(engine, [event(number, 100, f"u{number}") for number in range(20)])
    engine.advance(START + timedelta(hours=1))
    assert (engine.state("r").kept_size, engine.state("r").kept_events) == (0, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 100), st.integers(0, 1500), st.booleans()), max_size=40
    )
)
def test_what_is_kept_is_what_it_says(steps: list[tuple[int, int, int, bool]]) -> None:
    kept = Kept()
    for number, (second, size, room, spared) in enumerate(steps):
        one = event(second, size)
        kept.add(Observation(one, "k", micros_of(one.timestamp), Document(one.body, one)), 20_000_000)
        kept.slim_to(room, spared=int(spared))
        held = [each for each in kept.events if each is not None]
        assert kept.size == sum(map(size_of, held)) == sum(kept.sizes)
        assert kept.events[: kept.slim] == [None] * kept.slim and None not in kept.events[kept.slim :]
        assert kept.times == sorted(kept.times) and len(kept.times) == len(kept.events) <= number + 1
        assert kept.size <= room or (spared and kept.slim == len(kept.events) - 1)


DIFFERENT = (
    "name: r\ntype: cardinality\nindex: logs\ncardinality_field: n\nmax_cardinality: 3\nalert: debug\n"
)
DIFFERENT += "timeframe: {minutes: 5}\nattach_related: true\nquery_key: user\nrealert: {minutes: 0}\n"


def test_large_events_of_different_values_count_and_the_match_says_how_many_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cardinality, "MAX_SIZE_OF_KEY", 600)
    (match,) = found(Engine([load_rule(DIFFERENT, "r")]), [event(number, 60) for number in range(4)])
    assert shown(match) == ([2], 2) and match.document["n"] == 3


def test_the_room_for_different_values_is_bounded_over_all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cardinality, "MAX_SIZE", 3000)
    engine = Engine([load_rule(DIFFERENT, "r")])
    assert found(engine, [event(number, 100, f"u{number % 50}") for number in range(150)]) == []
    state = engine.state("r")
    assert 0 < state.kept_size <= 3000 and state.forgotten == 0
    matches = found(engine, [event(150 + number, 100, f"u{number}") for number in range(50)])
    assert len(matches) == 50 and shown(matches[-1]) == ([], 3)
    engine.advance(START + timedelta(hours=1))
    assert state.kept_size == 0


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.integers(0, 100), st.integers(0, 1500))))
def test_the_latest_events_are_what_they_say(steps: list[tuple[set[str], int, int]]) -> None:
    latest = Latest()
    for number, (values, size, room) in enumerate(steps):
        latest.put(sorted(values), event(number, size), room)
        held = {value: one for value, one in latest.events.items() if one is not None}
        assert latest.size == sum(latest.sizes.values()) == sum(map(size_of, held.values())) <= room
        assert latest.sizes.keys() == held.keys()
        if number % 5 == 4:
            latest.keep("abc")
            assert latest.size == sum(latest.sizes.values()) and set(latest.events) <= set("abc")


def test_what_json_has_no_word_for_has_a_size_too() -> None:
    odd = Event("e", "log", START, START, body={"x": "\ud800" * 1000, "n": 1 << 100})
    assert size_of(odd) > 1000
