"""Alarms where they belong: rules over events, with real types."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from divertor.alerts.text import body
from divertor.alerts.wording import title
from divertor.model.events import Event
from divertor.rules import Engine, Match, Notification, Rule
from divertor.rules.alarms import Controls, Silence, judging
from divertor.rules.alarms.tracks import MAX_TOLD
from divertor.rules.rule import Audience, Status
from divertor.rules.types.contract import threshold_of

Build = Callable[..., Rule]
At = Callable[[float], datetime]
NewEvent = Callable[..., Event]

FREQUENCY = {"type": "frequency", "num_events": 3, "timeframe": {"seconds": 60}, "query_key": "user"}


def run(engine: Engine, at: At, event: NewEvent, seconds: range, user: str = "bob") -> list[Match]:
    """An event each of these seconds, and a tick."""
    found: list[Match] = []
    for second in seconds:
        found += engine.push(event(second, user=user), at(second))
    return found


def test_a_frequency_alarm_is_over_with_fewer_events_in_the_window(
    rule: Build, at: At, event: NewEvent
) -> None:
    engine = Engine([rule(**FREQUENCY, recovery=True)])
    (fired,) = run(engine, at, event, range(3))
    assert engine.advance(at(59)) == []
    (over,) = engine.advance(at(61))
    assert (over.status, over.alarm, over.key) == (Status.RESOLVED, fired.alarm, "bob")
    assert over.document["alarm_lasted"] == 59 and over.document["user"] == "bob"


def test_the_end_of_an_alarm_is_told_with_what_its_alert_showed(rule: Build, at: At, event: NewEvent) -> None:
    made = rule(**FREQUENCY, recovery=True, alert_subject="{} from {}", alert_subject_args=["user", "ip"])
    engine = Engine([made])
    for second in range(3):
        engine.push(event(second, user="bob", ip="10.0.0.1"), at(second))
    (over,) = engine.advance(at(61))
    assert title(Notification.of(over)) == "Resolved: bob from 10.0.0.1"
    assert over.time == at(61) and "At least" not in body(Notification.of(over))


def test_only_so_many_alerts_are_kept_for_their_ends(rule: Build, at: At, event: NewEvent) -> None:
    made = rule(type="any", query_key="user", recovery={"after": {"seconds": 60}})
    engine = Engine([made])
    for number in range(MAX_TOLD + 1):
        engine.push(event(0, user=f"u{number}"), at(0))
    over = engine.advance(at(70))
    assert sum(match.event is not None for match in over) == MAX_TOLD and len(over) == MAX_TOLD + 1


def test_a_tick_looks_at_so_many_open_alarms_and_all_have_their_turn(
    rule: Build, at: At, event: NewEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LOOKED_AT", 2)
    engine = Engine([rule(**FREQUENCY | {"num_events": 1}, recovery=True)])
    for user in "abcde":
        engine.push(event(0, user=user), at(0))
    ended = [[match.key for match in engine.advance(at(61 + tick))] for tick in range(4)]
    assert ended == [["a", "b"], ["c", "d"], ["e"], []]


def test_hysteresis_of_a_frequency_alarm(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(**FREQUENCY, recovery={"below": 2, "for": {"seconds": 10}})])
    run(engine, at, event, range(3))
    assert engine.advance(at(60.5)) == []  # two are left
    assert engine.advance(at(61.5)) == []  # one is left, for no time yet
    assert len(engine.advance(at(71.5))) == 1


def test_a_pending_frequency_alarm_waits(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(**FREQUENCY, pending={"seconds": 30})])
    assert run(engine, at, event, range(3)) == []
    (fired,) = engine.advance(at(32))
    assert fired.status is Status.FIRING and fired.event is not None


@pytest.mark.parametrize(
    "options",
    [
        {"type": "cardinality", "cardinality_field": "user", "max_cardinality": 3},
        {"type": "flatline", "threshold": 5},
        {"type": "spike", "spike_height": 3, "spike_type": "up"},
    ],
)
def test_types_with_a_number_say_where_their_alarms_begin(rule: Build, options: dict[str, Any]) -> None:
    made = rule(timeframe={"minutes": 1}, recovery=True, **options)
    assert threshold_of(made.behaviour) is not None


def test_a_silenced_rule_isolates_and_tells_nobody(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(alert=["debug", "isolate"])])
    engine.alarms.control(Controls.of([Silence(id="s", rule="r", mute=True)]))
    (match,) = engine.push(event(0), at(0))
    assert match.audience is Audience.ACTIONS


def test_counts_since_the_last_alert_go_on_in_a_silence(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(alert=["debug", "isolate"])])
    end = round(at(2).timestamp() * 1_000_000)
    engine.alarms.control(Controls.of([Silence(id="s", end=end)]))
    matches = run(engine, at, event, range(3))
    assert (matches[-1].audience, matches[-1].num_matches, matches[-1].suppressed) == (Audience.ALL, 3, 2)


def test_an_event_that_is_too_late_is_counted_and_not_judged(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(max_lateness={"minutes": 5})])
    assert engine.push(event(0, received=301), at(301)) == []
    assert len(engine.push(event(0, received=300), at(300))) == 1
    assert engine.health()["r"].late == 1


def test_without_a_bound_no_event_is_too_late(rule: Build, at: At, event: NewEvent) -> None:
    assert len(Engine([rule()]).push(event(0, received=86400 * 30), at(86400 * 30))) == 1


def test_a_late_event_counts_where_it_belongs_by_its_own_time(rule: Build, at: At, event: NewEvent) -> None:
    engine = Engine([rule(**FREQUENCY, max_lateness={"minutes": 5})])
    for second in (0, 100):
        assert engine.push(event(second, user="a"), at(second)) == []
    assert engine.push(event(50, received=101, user="a"), at(101)) == []
    assert len(engine.push(event(90, received=102, user="a"), at(102))) == 1


def test_with_coverage_only_the_minutes_of_the_limit_are_judged(rule: Build, at: At, event: NewEvent) -> None:
    limited = {"limit_execution": "0 * * * *", "limit_execution_coverage": True}
    engine = Engine([rule(**limited)])
    assert engine.push(event(61), at(61)) == [] and engine.advance(at(3600)) == []
    assert len(engine.push(event(3610), at(3610))) == 1


def test_the_same_stream_gives_the_same_ids(rule: Build, at: At, event: NewEvent) -> None:
    made = rule(**FREQUENCY, recovery={"after": {"seconds": 30}}, realert={"seconds": 5})
    events = [event(second, user="ab"[second % 2]) for second in range(40)]

    def ids() -> list[tuple[str, str]]:
        engine = Engine([made])
        found = [match for each in events for match in engine.push(each, each.received)]
        return [(match.id, match.alarm) for match in (*found, *engine.advance(at(200)))]

    assert ids() == ids() and len(ids()) == len(set(ids())) > 4


def test_alarms_go_on_in_an_engine_that_was_restored(rule: Build, at: At, event: NewEvent) -> None:
    made = rule(**FREQUENCY, recovery=True, realert={"minutes": 5})
    engine, other = Engine([made]), Engine([made])
    (fired,) = run(engine, at, event, range(3))
    other.restore(engine.snapshot())
    assert run(other, at, event, range(3, 6)) == []
    (over,) = other.advance(at(120))
    assert over.alarm == fired.alarm
