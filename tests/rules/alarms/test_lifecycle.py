"""An alarm opens, waits, is over: the order of things."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from tests.rules.alarms.conftest import World, micros

from divertor.alerts import body
from divertor.rules import Notification
from divertor.rules.alarms import tracks
from divertor.rules.rule import Status
from divertor.rules.running.matches import match_of

MINUTE = 60
HOUR = 3600
Make = Callable[..., World]


def test_matches_of_one_alarm_have_its_id(world: Make) -> None:
    here = world(query_key="user")
    first, second, other = here.hit(0, "a"), here.hit(1, "a"), here.hit(2, "b")
    assert first and second and other
    assert first.alarm == second.alarm != other.alarm
    assert len({first.id, second.id, other.id}) == 3


def test_an_alarm_that_comes_again_after_its_end_has_another_id(world: Make) -> None:
    here = world(recovery={"after": {"minutes": 10}})
    first = here.hit(0)
    here.tick(10 * MINUTE)
    again = here.hit(11 * MINUTE)
    assert first and again and first.alarm != again.alarm


def test_an_alarm_is_over_when_nothing_matched_for_as_long_as_the_rule_says(world: Make) -> None:
    here = world(recovery={"after": {"minutes": 10}})
    first = here.hit(0)
    here.hit(MINUTE)
    assert here.tick(11 * MINUTE - 1) == []
    (over,) = here.tick(11 * MINUTE)
    assert first and (over.status, over.alarm) == (Status.RESOLVED, first.alarm)
    assert over.hit.fields == {"alarm_lasted": 660, "alarm_matches": 2, "alarm_alerts": 2}


def test_an_alarm_is_over_once(world: Make) -> None:
    here = world(recovery={"after": {"minutes": 10}})
    here.hit(0)
    assert len(here.tick(HOUR)) == 1
    assert here.tick(2 * HOUR) == []


def test_without_recovery_an_alarm_ends_without_a_word(world: Make) -> None:
    here = world()
    here.hit(0)
    assert here.tick(HOUR) == [] and here.alarms.open() == []
    (ended,) = here.alarms.recent()
    assert (ended.ended, ended.resolved) == (micros(HOUR), False)


def test_a_number_back_on_its_good_side_ends_the_alarm(world: Make) -> None:
    here = world(measured="above", recovery=True)
    here.gauge.number = 5
    here.hit(0)
    assert here.tick(10) == []
    here.gauge.number = 4.9
    assert [each.status for each in here.tick(20)] == [Status.RESOLVED]


def test_a_number_between_the_two_thresholds_keeps_the_alarm_open(world: Make) -> None:
    here = world(measured="above", recovery={"below": 3})
    here.hit(0)
    here.gauge.number = 4
    assert here.tick(10) == []
    here.gauge.number = 2
    assert len(here.tick(20)) == 1


def test_a_number_must_stay_good_for_as_long_as_the_rule_says(world: Make) -> None:
    here = world(measured="above", recovery={"below": 5, "for": {"minutes": 2}})
    here.hit(0)
    here.tick(10)
    here.gauge.number = 6
    here.tick(60)
    here.gauge.number = 1
    assert here.tick(130) == here.tick(249) == []
    assert len(here.tick(250)) == 1


def test_a_match_begins_the_good_time_anew(world: Make) -> None:
    here = world(measured="above", recovery={"below": 5, "for": {"minutes": 2}})
    here.hit(0)
    here.tick(10)
    here.hit(100)
    assert here.tick(130) == here.tick(249) == []
    assert len(here.tick(250)) == 1


def test_an_alarm_below_recovers_above(world: Make) -> None:
    here = world(measured="below", recovery={"above": 8})
    here.hit(0)
    here.gauge.number = 8
    assert here.tick(10) == []
    here.gauge.number = 9
    assert len(here.tick(20)) == 1


def test_nothing_left_to_measure_is_the_end(world: Make) -> None:
    here = world(measured="below", recovery=True)
    here.hit(0)
    here.gauge.number = None
    assert len(here.tick(10)) == 1


def test_a_quiet_rule_with_a_number_keeps_its_alarm_open(world: Make) -> None:
    here = world(measured="above", recovery=True)
    here.gauge.number = 9
    here.hit(0)
    assert here.tick(5 * HOUR) == [] and len(here.alarms.open()) == 1


def test_a_pending_alarm_is_told_when_the_number_was_bad_for_long_enough(world: Make) -> None:
    here = world(measured="above", pending={"minutes": 5})
    here.gauge.number = 7
    assert here.hit(0) is None and here.tick(299) == []
    (verdict,) = here.tick(300)
    assert verdict.status is Status.FIRING and here.tick(310) == []


def test_a_pending_alarm_whose_number_recovers_is_forgotten(world: Make) -> None:
    here = world(measured="above", pending={"minutes": 5})
    here.gauge.number = 7
    here.hit(0)
    here.gauge.number = 1
    here.tick(100)
    here.gauge.number = 7
    assert here.hit(200) is None and here.tick(400) == []
    assert len(here.tick(500)) == 1


def test_a_pending_alarm_has_the_same_id_whether_a_match_or_time_shows_it(world: Make) -> None:
    found = []
    for by_match in (True, False):
        here = world(measured="above", pending={"minutes": 5})
        here.gauge.number = 7
        here.hit(0)
        found.append(here.hit(300) if by_match else here.tick(300)[0])
    assert found[0] and found[1]
    assert (found[0].id, found[0].alarm) == (found[1].id, found[1].alarm)


def test_without_a_number_pending_means_matches_without_a_long_pause(world: Make) -> None:
    here = world(pending={"minutes": 5})
    assert [here.hit(minute * MINUTE) for minute in (0, 4, 10, 13)] == [None] * 4
    assert here.hit(15 * MINUTE) is not None


def test_the_next_alert_says_how_many_matches_were_suppressed(world: Make) -> None:
    here = world(realert={"minutes": 1})
    here.hit(0)
    here.hit(1)
    here.hit(2)
    verdict = here.hit(61)
    assert verdict and verdict.suppressed == 2
    after = here.hit(122)
    assert after and after.suppressed == 0


def test_the_notice_that_it_is_over_says_what_was_suppressed_since(world: Make) -> None:
    here = world(realert={"minutes": 60}, recovery={"after": {"minutes": 1}})
    here.hit(0)
    here.hit(1)
    (over,) = here.tick(61)
    assert over.suppressed == 1


def test_alarms_survive_being_pickled(world: Make) -> None:
    here = world(recovery={"after": {"minutes": 10}}, realert={"minutes": 5})
    here.hit(0)
    here.alarms = pickle.loads(pickle.dumps(here.alarms))
    assert here.hit(1) is None
    assert len(here.tick(HOUR)) == 1


def test_the_longest_idle_alarm_makes_room(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "MAX_TRACKS", 3)
    here = world(query_key="user")
    for number, key in enumerate("abac"):
        here.hit(number, key)
    here.hit(5, "d")
    assert [alarm.key for alarm in here.alarms.open()] == ["d", "c", "a"]
    assert here.alarms.forgotten == 1


def test_the_alarms_of_a_rule_that_is_gone_are_forgotten(world: Make) -> None:
    here = world(recovery={"after": {"days": 3}})
    here.hit(0)
    here.alarms.forget(micros(2 * HOUR))
    assert here.alarms.open() == []


def test_a_message_says_what_was_suppressed_before_it(world: Make) -> None:
    here = world(realert={"minutes": 1})
    here.hit(0)
    here.hit(1)
    verdict = here.hit(61)
    assert verdict
    match = match_of(here.rule, verdict, 3, 2)
    assert match.document["num_suppressed"] == 1
    assert "1 more match was suppressed since the last alert" in body(Notification.of(match))


def test_a_message_with_nothing_before_it_says_nothing_of_it(world: Make) -> None:
    here = world()
    verdict = here.hit(0)
    assert verdict
    match = match_of(here.rule, verdict, 1, 1)
    assert "num_suppressed" not in match.document
    assert "suppressed" not in body(Notification.of(match))
