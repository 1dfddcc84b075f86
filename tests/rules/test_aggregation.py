"""Matches that are gathered into one message."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Match, Notification, Rule, load_rule
from divertor.rules.rule import Audience
from divertor.rules.running import aggregation
from divertor.rules.running.aggregation import MAX_WINDOW_SIZE, Gatherer

At = Callable[[float], datetime]
Gather = Callable[..., list[Match]]


@pytest.fixture
def found(rule: Callable[..., Rule], event: Callable[..., Event], at: At) -> Gather:
    """`found([0, 5], aggregation=…)`: the matches of events at these seconds."""

    def build(
        seconds: list[float], bodies: list[dict[str, Any]] | None = None, **options: Any
    ) -> list[Match]:
        engine = Engine([rule(**options)])
        bodies = bodies or [{} for _ in seconds]
        events = (event(when, **body) for when, body in zip(seconds, bodies, strict=True))
        return [match for one in events for match in engine.push(one, one.received)]

    return build


def told(gatherer: Gatherer, matches: list[Match]) -> list[int]:
    """How many matches each notification has that comes while matches are taken as they arrive."""
    sizes: list[int] = []
    for match in matches:
        sizes += [len(one.matches) for one in gatherer.take(match, match.time)]
    return sizes


def test_without_aggregation_each_match_is_told_at_once(found: Gather) -> None:
    (match,) = found([0])
    assert Gatherer().take(match, match.time) == [Notification.of(match)]


def test_matches_of_a_window_are_told_together_when_it_ends(found: Gather, at: At) -> None:
    gatherer = Gatherer()
    assert told(gatherer, found([0, 30, 60], aggregation={"minutes": 1})) == []
    assert gatherer.due(at(60)) == [] and gatherer.next_due() == at(60)
    (notification,) = gatherer.due(at(60.001))
    assert [match.time for match in notification.matches] == [at(0), at(30), at(60)]
    assert (len(gatherer), gatherer.next_due(), gatherer.due(at(999))) == (0, None, [])


def test_a_match_after_the_window_ends_it_and_opens_another(found: Gather, at: At) -> None:
    gatherer = Gatherer()
    assert told(gatherer, found([0, 30, 61], aggregation={"minutes": 1})) == [2]
    assert [len(one.matches) for one in gatherer.due(at(122))] == [1]


def test_each_aggregation_key_has_its_own_window(found: Gather, at: At) -> None:
    gatherer = Gatherer()
    bodies = [{"u": "a"}, {"u": "b"}, {"u": "a"}, {}]
    told(gatherer, found([0, 1, 2, 3], bodies, aggregation={"minutes": 1}, aggregation_key="u"))
    assert [len(one.matches) for one in gatherer.due(at(100))] == [2, 1, 1]


def test_a_schedule_ends_windows_at_times_of_the_day_in_utc(found: Gather, at: At) -> None:
    gatherer = Gatherer()
    told(gatherer, found([0, 1800], aggregation={"schedule": "0 8 * * *"}))
    assert gatherer.next_due() == at(8 * 3600)


def test_a_window_may_start_at_the_matches_own_time(
    rule: Callable[..., Rule], event: Callable[..., Event], at: At
) -> None:
    engine = Engine([rule(aggregation={"minutes": 10}, aggregate_by_match_time=True)])
    (late,) = engine.push(event(0, received=300), at(300))
    gatherer = Gatherer()
    gatherer.take(late, at(300))
    assert gatherer.next_due() == at(600)


def test_a_match_may_join_by_its_own_time(
    rule: Callable[..., Rule], event: Callable[..., Event], at: At
) -> None:
    options = {"aggregate_by_match_time": True, "aggregation_alert_time_compared_with_timestamp_field": True}
    engine = Engine([rule(aggregation={"minutes": 1}, **options)])
    gatherer = Gatherer()
    for seconds in (0, 30):
        (match,) = engine.push(event(seconds, received=900), at(900))
        assert gatherer.take(match, at(900)) == []
    assert len(gatherer) == 2


def test_a_full_window_ends_early(found: Gather) -> None:
    matches = found([0, 1, 2, 3, 4], aggregation={"hours": 1}, max_aggregation=2)
    assert told(Gatherer(), matches) == [2, 2]


def test_too_many_waiting_end_the_oldest_window(found: Gather) -> None:
    bodies = [{"u": str(number)} for number in range(5)]
    matches = found([0, 1, 2, 3, 4], bodies, aggregation={"hours": 1}, aggregation_key="u")
    gatherer = Gatherer(max_waiting=3)
    assert (told(gatherer, matches), len(gatherer)) == ([1, 1], 3)


def test_a_window_ends_early_when_it_is_too_large_for_a_message(found: Gather) -> None:
    large = {"text": "x" * (MAX_WINDOW_SIZE // 3)}
    matches = found([0, 1, 2, 3], [large] * 4, aggregation={"minutes": 1})
    assert told(Gatherer(), matches) == [3]


def test_too_much_waiting_ends_the_oldest_window_after_a_restart_too(
    found: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregation, "MAX_SIZE", 3500)
    matches = found(
        [0, 1, 2, 3],
        [{"n": n, "t": "x" * 900} for n in range(4)],
        aggregation={"minutes": 1},
        aggregation_key="n",
    )
    before, after = Gatherer(), Gatherer()
    assert told(before, matches[:3]) == []
    after.restore(json.loads(json.dumps(before.dump())), lambda _name: matches[0].rule)
    assert told(before, matches[3:]) == told(after, matches[3:]) == [1]


def test_the_same_matches_make_the_same_id_and_others_another(found: Gather, at: At) -> None:
    matches = found([0, 1, 2], aggregation={"minutes": 1})

    def name(some: list[Match]) -> str:
        gatherer = Gatherer()
        told(gatherer, some)
        return gatherer.due(at(99))[0].id

    assert name(matches) == name(matches)
    assert len({name(matches), name(matches[:2]), name(matches[1:]), name(matches[:1])}) == 4


def test_actions_do_not_wait_for_the_window(found: Gather, at: At) -> None:
    (match,) = found([0], aggregation={"minutes": 1}, alert=["isolate", "debug"])
    gatherer = Gatherer()
    (acting,) = gatherer.take(match, match.time)
    (telling,) = gatherer.due(at(99))
    assert (acting.first.audience, telling.first.audience) == (Audience.ACTIONS, Audience.PEOPLE)
    assert acting.id == match.id != telling.id


def test_what_waits_survives_as_plain_values(found: Gather, at: At) -> None:
    before, after = Gatherer(), Gatherer()
    matches = found([0, 1], [{"a": [1, {"b": None}]}, {}], aggregation={"minutes": 1})
    told(before, matches)
    saved = pickle.loads(pickle.dumps(json.loads(json.dumps(before.dump()))))
    assert after.restore(saved, lambda _name: matches[0].rule) == 0
    assert after.due(at(99)) == before.due(at(99))


def test_what_waits_of_a_rule_that_is_gone_is_counted(found: Gather) -> None:
    gatherer, later = Gatherer(), Gatherer()
    told(gatherer, found([0, 1], aggregation={"minutes": 1}))
    assert (later.restore(gatherer.dump(), lambda _name: None), len(later)) == (2, 0)


@pytest.mark.parametrize("saved", [[{}], [1], [{"rule": "r", "matches": [{}], "due": "x"}]])
def test_what_is_no_window_is_refused(rule: Callable[..., Rule], saved: list[Any]) -> None:
    loaded = rule()
    with pytest.raises(ValueError, match="no (windows|match)"):
        Gatherer().restore(saved, lambda _name: loaded)


def test_a_gathering_rule_has_no_silence_unless_it_says_so() -> None:
    least = "name: r\ntype: any\nindex: logs\nalert: debug\naggregation: {minutes: 5}\n"
    assert load_rule(least, "r").alarm.realert == timedelta(0)
    assert load_rule(least + "realert: {minutes: 2}", "r").alarm.realert == timedelta(minutes=2)


@pytest.mark.parametrize(
    "aggregation",
    [{"minuets": 5}, {"schedule": "every day"}, {"schedule": "0 8 * * *", "minutes": 1}, 5, {"schedule": ""}],
)
def test_an_aggregation_that_is_none_is_refused(rule: Callable[..., Rule], aggregation: Any) -> None:
    with pytest.raises(InputError, match="aggregation|schedule|cron"):
        rule(aggregation=aggregation)


def test_no_aggregation_at_all_when_it_lasts_no_time(rule: Callable[..., Rule]) -> None:
    assert rule(aggregation={"minutes": 0}).gather is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.booleans()), max_size=25),
    st.integers(1, 4),
)
def test_every_match_is_told_exactly_once_and_replays_alike(
    steps: list[tuple[int, str, bool]], limit: int
) -> None:
    text = json.dumps(
        {
            "name": "r",
            "type": "any",
            "index": "logs",
            "alert": "debug",
            "aggregation": {"seconds": 60},
            "aggregation_key": "u",
            "max_aggregation": limit,
        }
    )
    start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    rule = load_rule(text, "r")
    engine = Engine([rule])
    moment, taken = start, []
    for number, (gap, user, ticks) in enumerate(steps):
        moment += timedelta(seconds=gap)
        event = Event(f"e{number}", "log", moment, moment, ("logs",), body={"u": user})
        taken += [(match, ticks) for match in engine.push(event, moment)]

    def run(ticking: bool) -> list[tuple[str, list[str]]]:
        gatherer, out = Gatherer(), []
        for match, ticks in taken:
            out += gatherer.due(match.time) if ticking and ticks else []
            out += gatherer.take(match, match.time)
        out += gatherer.due(moment + timedelta(days=1))
        return sorted((one.id, [match.id for match in one.matches]) for one in out)

    assert run(ticking=True) == run(ticking=False)
    told_ids = sorted(match for _id, matches in run(ticking=True) for match in matches)
    assert told_ids == sorted(match.id for match, _ticks in taken)
