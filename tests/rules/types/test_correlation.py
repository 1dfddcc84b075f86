"""`type: correlation` and `type: sequence`: which events belong together, through the engine and against
naive readings.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.document import Document
from divertor.rules.filters.filter import Filter
from divertor.rules.types.contract import Hit, Observation
from divertor.rules.types.correlation import Correlation, Part

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


def kind(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "filter": [{"term": {"what": name}}], **more}


def sequence(rule: Rules, *events: dict[str, Any], seconds: float = 60, **more: Any) -> Rule:
    return rule(type="sequence", events=list(events), timeframe={"seconds": seconds}, **more)


def correlation(rule: Rules, *events: dict[str, Any], seconds: float = 60, **more: Any) -> Rule:
    return rule(type="correlation", events=list(events), timeframe={"seconds": seconds}, **more)


def fired(rule: Rule, events: list[Event]) -> list[int]:
    """Which events (from 0) made the rule fire, each judged when it was received."""
    engine = Engine([rule])
    return [place for place, one in enumerate(events) if engine.push(one, one.received)]


def test_a_sequence_needs_its_order(rule: Rules, event: Events) -> None:
    login_after_guessing = sequence(rule, kind("fail"), kind("login"))
    assert fired(login_after_guessing, [event(0, what="fail"), event(1, what="login")]) == [1]
    assert fired(login_after_guessing, [event(0, what="login"), event(1, what="fail")]) == []


def test_a_correlation_does_not(rule: Rules, event: Events) -> None:
    both = correlation(rule, kind("fail"), kind("login"))
    assert fired(both, [event(0, what="login"), event(1, what="fail")]) == [1]


def test_a_correlation_may_be_ordered(rule: Rules, event: Events) -> None:
    both = correlation(rule, kind("fail"), kind("login"), ordered=True)
    assert fired(both, [event(0, what="login"), event(1, what="fail")]) == []


def test_events_exactly_the_timeframe_apart_are_not_together(rule: Rules, event: Events) -> None:
    both = sequence(rule, kind("fail"), kind("login"))
    assert fired(both, [event(0, what="fail"), event(60, what="login")]) == []
    assert fired(both, [event(0, what="fail"), event(59.999, what="login")]) == [1]


def test_several_events_of_a_kind_may_be_needed(rule: Rules, event: Events) -> None:
    guessed = sequence(rule, kind("fail", count=3), kind("login"))
    events = [event(n, what=what) for n, what in enumerate(["fail", "fail", "login", "fail", "login"])]
    assert fired(guessed, events) == [4]


def test_the_match_shows_the_last_event_and_the_others_beside_it(rule: Rules, event: Events) -> None:
    guessed = sequence(rule, kind("fail", count=2), kind("login"))
    engine = Engine([guessed])
    events = [event(n, what=what, n=n) for n, what in enumerate(["fail", "fail", "fail", "login"])]
    (match,) = [match for one in events for match in engine.push(one, one.received)]
    assert match.document["n"] == 3
    assert [one["n"] for one in match.document["related_events"]] == [1, 2]


def test_a_match_uses_its_events_up(rule: Rules, event: Events) -> None:
    both = sequence(rule, kind("fail"), kind("login"))
    events = [event(n, what=what) for n, what in enumerate(["fail", "login", "login", "fail", "login"])]
    assert fired(both, events) == [1, 4]


def test_what_must_not_be_between_spoils_it(rule: Rules, event: Events) -> None:
    unnoticed = sequence(rule, kind("fail"), kind("reset", without=True), kind("login"))
    assert fired(unnoticed, [event(0, what="fail"), event(1, what="login")]) == [1]
    events = [event(0, what="fail"), event(1, what="reset"), event(2, what="login")]
    assert fired(unnoticed, events) == []


def test_what_must_not_come_before_spoils_it_for_the_timeframe(rule: Rules, event: Events) -> None:
    unasked = sequence(rule, kind("order", without=True), kind("pay"))
    assert fired(unasked, [event(0, what="order"), event(59, what="pay"), event(60, what="pay")]) == [2]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_what_must_not_follow_is_known_when_the_time_is_over(rule: Rules, event: Events) -> None:
    engine = Engine([sequence(rule, kind("ask"), kind("answer", without=True))])
    asked = event(0, what="ask")
    assert engine.push(asked, asked.received) == []
    assert engine.advance(at(59)) == []
    (match,) = engine.advance(at(61))
    assert match.event == asked
    assert match.time == at(60)


def test_an_answer_in_time_ends_the_waiting(rule: Rules, event: Events) -> None:
    engine = Engine([sequence(rule, kind("ask"), kind("answer", without=True))])
    for one in (event(0, what="ask"), event(5, what="answer")):
        engine.push(one, one.received)
    assert engine.advance(at(120)) == []


def test_a_late_answer_ends_it_too(rule: Rules, event: Events) -> None:
    engine = Engine([sequence(rule, kind("ask"), kind("answer", without=True))])
    for one in (event(10, what="ask"), event(20, what="ask"), event(15, received=21, what="answer")):
        engine.push(one, one.received)
    (match,) = engine.advance(at(120))
    assert match.time == at(80)


def test_a_correlation_without_something_waits_as_well(rule: Rules, event: Events) -> None:
    engine = Engine([correlation(rule, kind("a"), kind("b"), kind("c", without=True))])
    for one in (event(0, what="b"), event(5, what="a")):
        assert engine.push(one, one.received) == []
    (match,) = engine.advance(at(61))
    assert match.document["what"] == "a"


def test_a_late_event_is_put_where_it_belongs(rule: Rules, event: Events) -> None:
    both = sequence(rule, kind("fail"), kind("login"))
    assert fired(both, [event(5, what="login"), event(4, received=6, what="fail")]) == [1]


def test_events_are_joined_by_the_query_key(rule: Rules, event: Events) -> None:
    both = sequence(rule, kind("fail"), kind("login"), query_key="user")
    events = [
        event(0, what="fail", user="a"),
        event(1, what="login", user="b"),
        event(2, what="login", user="a"),
    ]
    assert fired(both, events) == [2]


def test_each_kind_may_hold_the_key_elsewhere(rule: Rules, event: Events) -> None:
    moved = sequence(rule, kind("mail", key="recipient"), kind("login"), query_key="user")
    engine = Engine([moved])
    events = [event(0, what="mail", recipient="a"), event(1, what="login", user="a")]
    (match,) = [match for one in events for match in engine.push(one, one.received)]
    assert match.key == "a"


def test_the_match_has_the_query_key_when_its_event_has_it_elsewhere(rule: Rules, event: Events) -> None:
    moved = correlation(rule, kind("mail", key="recipient"), kind("login"), query_key="user")
    engine = Engine([moved])
    events = [event(0, what="login", user="a"), event(1, what="mail", recipient="a")]
    (match,) = [match for one in events for match in engine.push(one, one.received)]
    assert match.document["user"] == "a"


def test_an_event_without_a_key_belongs_to_nobody(rule: Rules, event: Events) -> None:
    both = sequence(rule, kind("fail"), kind("login"), query_key=["user", "host"])
    assert fired(both, [event(0, what="fail", user="a"), event(1, what="login", user="a")]) == []


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([kind("a")], "two entries or more"),
        ([kind("a", without=True), kind("b", without=True)], "not 'without'"),
        ([kind("a"), kind("a")], "two events of one name"),
        ([kind("a"), kind("b", key="user")], "as many fields as the rule's query_key"),
        ([kind("a"), kind("b", count=0)], "whole number"),
        ([kind("a"), {**kind("b"), "counts": 3}], "unknown 'counts'"),
        ([kind("a"), {"name": "b"}], "without 'filter'"),
    ],
)
def test_parts_that_make_no_sense_are_refused(
    rule: Rules, events: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sequence(rule, *events)


def test_the_sentence_says_what_was_asked_for(rule: Rules) -> None:
    asked = sequence(rule, kind("fail", count=3), kind("reset", without=True), kind("login"), seconds=300)
    expected = "3 times fail, then no reset, then login within 0:05:00"
    assert asked.behaviour.summary({}, START) == expected


def test_some_of_the_kinds_may_suffice(rule: Rules, event: Events) -> None:
    any_two = correlation(rule, kind("a"), kind("b"), kind("c"), at_least=2)
    events = [event(n, what=what) for n, what in enumerate(["a", "a", "c"])]
    engine = Engine([any_two])
    (match,) = [match for one in events for match in engine.push(one, one.received)]
    assert [one["what"] for one in match.document["related_events"]] == ["a"]


EQL = """
sequence by user with maxspan=1m
  [any where what == "fail"] with runs=2
  [any where what == "login"]
until [any where what == "reset"]
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fail", "fail", "login"], [2]),
        (["fail", "login"], []),
        (["fail", "fail", "reset", "login"], []),
        (["reset", "fail", "fail", "login"], [3]),
    ],
)
def test_a_sequence_may_be_written_in_eql(
    rule: Rules, event: Events, words: list[str], expected: list[int]
) -> None:
    asked = rule(type="sequence", eql=EQL, query_key="user")
    assert fired(asked, [event(n, what=what, user="a") for n, what in enumerate(words)]) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either events or eql"),
        ({"eql": EQL, "events": [kind("a"), kind("b")]}, "either events or eql"),
        ({"eql": "sequence [any where true] [any where true]"}, "within what time"),
        ({"eql": "sequence [any where"}, "of the query"),
        ({"events": [kind("a"), kind("b")]}, "'timeframe' is missing"),
        (
            {"events": [kind("a"), kind("b")], "timeframe": {"hours": 1}, "at_least": 3},
            "number of the events",
        ),
    ],
)
def test_what_belongs_together_is_said_once_and_whole(
    rule: Rules, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        rule(type="correlation", **options)


def part(name: str, count: int = 1, without: bool = False) -> Part:
    return Part(name, Filter(lambda document: name in document.fields["what"]), count, (), without)


def observation(micros: int, what: str, user: str = "u") -> Observation:
    moment = START + timedelta(microseconds=micros)
    event = Event(f"{micros} {what}", "log", moment, moment, body={"what": what, "user": user})
    return Observation(event, user, micros, Document(event.body))


def test_keys_beyond_the_bound_push_out_the_longest_idle() -> None:
    kept = Correlation(
        (part("a"), part("b")), timedelta(seconds=1), ordered=True, query_key=("user",), max_keys=2
    )
    state = kept.start()
    for user in ("1", "2", "3"):
        kept.step(state, observation(0, "a", user), 0)
    assert list(state.by_key) == ["2", "3"]
    assert (state.held, state.forgotten) == (2, 1)


def test_a_tick_frees_idle_keys() -> None:
    kept = Correlation((part("a"), part("b")), timedelta(microseconds=50), ordered=True, query_key=("user",))
    state = kept.start()
    kept.step(state, observation(0, "a", "1"), 0)
    kept.step(state, observation(40, "a", "2"), 40)
    kept.tick(state, 60)
    assert list(state.by_key) == ["2"]
    assert state.held == 1


def test_repeated_events_are_remembered_to_a_bound() -> None:
    kept = Correlation((part("a"), part("b")), timedelta(days=1), ordered=True)
    state = kept.start()
    for micros in range(1000):
        kept.step(state, observation(micros, "a"), micros)
    assert state.held <= kept.plan.max_noted
    assert kept.step(state, observation(1000, "b"), 1000)


def test_a_state_survives_pickling() -> None:
    kept = Correlation(
        (part("a"), part("b"), part("c", without=True)), timedelta(microseconds=9), ordered=True
    )
    state = kept.start()
    for micros, what in enumerate("ab"):
        kept.step(state, observation(micros, what), micros)
    again = pickle.loads(pickle.dumps(state))
    assert [hit.micros for hit in kept.tick(again, 9)] == [9]


Stream = list[tuple[int, str]]
WORDS = st.sampled_from(["a", "b", "c", "ab", "bc", "ac", "x"])
STREAMS = st.lists(st.tuples(st.integers(0, 60), WORDS), max_size=12)
COUNTS = st.lists(st.integers(1, 2), min_size=2, max_size=3)


def run(kept: Correlation, stream: Stream) -> list[tuple[int, Hit]]:
    state = kept.start()
    steps = [kept.step(state, observation(*one), 0) for one in stream]
    return [(place, hit) for place, hits in enumerate(steps) for hit in hits]


def chains(stream: Stream, counts: Sequence[int], timeframe: int, last: int) -> Iterator[tuple[int, ...]]:
    """The places of all events that are what is asked for, in order, ending with one event."""
    wanted = [what for what, count in zip("abc", counts, strict=False) for _ in range(count)]
    for places in combinations(range(last + 1), len(wanted)):
        fits = all(what in stream[place][1] for what, place in zip(wanted, places, strict=True))
        if fits and places[-1] == last and stream[last][0] - stream[places[0]][0] < timeframe:
            yield places


def sets(stream: Stream, counts: Sequence[int], timeframe: int, last: int) -> bool:
    """Whether the events of the window up to one have enough of each."""
    window = [what for time, what in stream[: last + 1] if stream[last][0] - time < timeframe]
    needed = zip("abc", counts, strict=False)
    return all(sum(letter in what for what in window) >= count for letter, count in needed)


def in_turn(stream: Stream, is_match: Callable[[Stream, int], bool]) -> list[int]:
    """The places of the matches, each of which uses up what came before it."""
    found, rest = [], 0
    for place in range(len(stream)):
        if is_match(stream[rest:], place - rest):
            found.append(place)
            rest = place + 1
    return found


@settings(max_examples=300, deadline=None)
@given(STREAMS, COUNTS, st.integers(1, 40))
def test_a_sequence_is_what_the_naive_reading_finds(
    stream: Stream, counts: list[int], timeframe: int
) -> None:
    stream = sorted(stream, key=lambda one: one[0])
    parts = tuple(part(name, count) for name, count in zip("abc", counts, strict=False))
    kept = Correlation(parts, timedelta(microseconds=timeframe), ordered=True)
    expected = in_turn(stream, lambda rest, last: any(chains(rest, counts, timeframe, last)))
    assert [place for place, _hit in run(kept, stream)] == expected


@settings(max_examples=300, deadline=None)
@given(STREAMS, COUNTS, st.integers(1, 40))
def test_a_correlation_is_what_the_naive_reading_finds(
    stream: Stream, counts: list[int], timeframe: int
) -> None:
    stream = sorted(stream, key=lambda one: one[0])
    parts = tuple(part(name, count) for name, count in zip("abc", counts, strict=False))
    kept = Correlation(parts, timedelta(microseconds=timeframe), ordered=False)
    expected = in_turn(
        stream,
        lambda rest, last: (
            any(letter in rest[last][1] for letter in "abc"[: len(counts)])
            and sets(rest, counts, timeframe, last)
        ),
    )
    assert [place for place, _hit in run(kept, stream)] == expected


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(1, 40))
def test_a_spoiled_sequence_is_not_found(stream: Stream, timeframe: int) -> None:
    stream = sorted(stream, key=lambda one: one[0])
    kept = Correlation(
        (part("a"), part("c", without=True), part("b")), timedelta(microseconds=timeframe), ordered=True
    )

    def is_match(rest: Stream, last: int) -> bool:
        clear = "c" not in rest[last][1]
        return clear and any(
            not any("c" in what for _time, what in rest[first + 1 : last])
            for first, _last in chains(rest, [1, 1], timeframe, last)
        )

    assert [place for place, _hit in run(kept, stream)] == in_turn(stream, is_match)


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.permutations(range(12)), st.booleans())
def test_the_order_of_arrival_does_not_change_that_something_is_found(
    stream: Stream, order: list[int], ordered: bool
) -> None:
    """One chain at most can be found, so that none is used up early."""
    stream = sorted({time: what for time, what in stream}.items())
    kept = Correlation((part("a"), part("b"), part("c")), timedelta(seconds=1), ordered=ordered)
    arrival = [stream[place] for place in order if place < len(stream)]
    assert bool(run(kept, arrival)) == bool(run(kept, stream))


@pytest.mark.parametrize("ordered", [True, False])
def test_one_event_is_two_parts_only_when_there_is_no_order(ordered: bool) -> None:
    kept = Correlation((part("a"), part("b")), timedelta(seconds=1), ordered=ordered)
    assert bool(run(kept, [(0, "ab")])) == (not ordered)
