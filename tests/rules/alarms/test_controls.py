"""What holds alerts back: silences, acknowledgements, hours, cron. And what goes on all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.rules.alarms.conftest import World, micros

from divertor.rules.alarms import Ack, Controls, Silence
from divertor.rules.rule import Audience, Severity, Status
from divertor.rules.schedule import Cron

Make = Callable[..., World]
MINUTE = 60
HOUR = 3600
#: The days of the tests begin at midnight UTC.
OFFICE = {"from": "09:00", "to": "17:00"}


def test_realert_silences_each_key_for_itself(world: Make) -> None:
    here = world(query_key="user", realert={"minutes": 1})
    told = [here.hit(0, "a"), here.hit(1, "a"), here.hit(1, "b"), here.hit(59.999, "a"), here.hit(60, "a")]
    assert [each is not None for each in told] == [True, False, True, False, True]


def test_exponential_realert_doubles(world: Make) -> None:
    here = world(realert={"minutes": 10}, exponential_realert={"hours": 1})
    told = [minute for minute in range(0, 141) if here.hit(minute * MINUTE)]
    assert told == [0, 10, 30, 70, 130]


def test_a_silence_holds_back_what_fits_it(world: Make) -> None:
    here = world(query_key="user")
    here.silence(rule="r*", key="a*", fields=(("where", "eu"),))
    assert here.hit(0, "alice", where="eu") is None
    assert here.hit(1, "bob", where="eu") is not None
    assert here.hit(2, "alice", where="us") is not None
    assert here.alarms.suppressed == {"s": 1}


@pytest.mark.parametrize(
    "given, held",
    [
        ({"rule": "other"}, False),
        ({"rule": "[r]"}, False),
        ({"rule": "?"}, False),
        ({"rule": "*", "mute": True}, False),
        ({"rule": "r", "mute": True}, True),
        ({"start": micros(10)}, False),
        ({"end": micros(0)}, False),
        ({"end": micros(1)}, True),
        ({"fields": (("tags.name", "b"),)}, True),
        ({"fields": (("tags.name", "c"),)}, False),
        ({"fields": (("n", "5"),)}, True),
        ({"fields": (("missing", "None"),)}, False),
    ],
)
def test_a_silence_is_about_its_rules_times_and_fields(
    world: Make, given: dict[str, object], held: bool
) -> None:
    here = world()
    here.silence(**given)
    assert (here.hit(0, tags=[{"name": "a"}, {"name": "b"}], n=5) is None) is held


def test_a_silence_with_a_cron_comes_back(world: Make) -> None:
    here = world()
    here.silence(cron=Cron.parse("0 2 * * *"), lasting=HOUR * 1_000_000)
    told = [hour for hour in (1.99, 2, 2.99, 3, 26.5) if here.hit(hour * HOUR)]
    assert told == [1.99, 3]


def test_the_alert_after_a_silence_says_how_much_it_held_back(world: Make) -> None:
    here = world()
    here.silence(end=micros(10))
    here.hit(0)
    here.hit(9)
    verdict = here.hit(10)
    assert verdict and verdict.suppressed == 2


def test_an_acknowledged_alarm_is_quiet_until_it_is_over(world: Make) -> None:
    here = world(recovery={"after": {"minutes": 10}})
    first = here.hit(0)
    assert first
    here.alarms.control(Controls.of([], [Ack(first.alarm)]))
    assert here.hit(1) is None
    (over,) = here.tick(11 * MINUTE)
    assert over.status is Status.RESOLVED and over.suppressed == 1
    assert here.hit(12 * MINUTE) is not None


def test_an_acknowledgement_may_end_before(world: Make) -> None:
    here = world()
    first = here.hit(0)
    assert first
    here.alarms.control(Controls.of([], [Ack(first.alarm, until=micros(60))]))
    assert here.hit(59) is None and here.hit(60) is not None


def test_another_key_of_the_rule_is_not_acknowledged(world: Make) -> None:
    here = world(query_key="user")
    first = here.hit(0, "a")
    assert first
    here.alarms.control(Controls.of([], [Ack(first.alarm)]))
    assert here.hit(1, "b") is not None


def test_a_silence_does_not_hold_back_isolations(world: Make) -> None:
    here = world(alert=["debug", "isolate"])
    here.silence()
    verdict = here.hit(0)
    assert verdict and verdict.audience is Audience.ACTIONS


def test_isolations_in_a_silence_are_as_rare_as_realert_says(world: Make) -> None:
    here = world(alert=["debug", "isolate"], realert={"minutes": 1})
    here.silence(end=micros(30))
    first, second, third = here.hit(0), here.hit(1), here.hit(30)
    assert first and second is None
    assert third and third.audience is Audience.ALL and third.id != first.id


def test_what_happens_out_of_hours_waits_for_them(world: Make) -> None:
    here = world(hours=OFFICE)
    assert here.hit(2 * HOUR, cause="first") is None and here.hit(3 * HOUR) is None
    assert here.tick(9 * HOUR - 1) == []
    (verdict,) = here.tick(9 * HOUR)
    assert (verdict.hit.cause, verdict.suppressed) == ("first", 1)
    assert here.tick(9 * HOUR + 10) == []


def test_what_happens_out_of_hours_may_be_dropped(world: Make) -> None:
    here = world(hours={**OFFICE, "outside": "drop"})
    assert here.hit(2 * HOUR) is None and here.tick(9 * HOUR) == []
    verdict = here.hit(10 * HOUR)
    assert verdict and verdict.suppressed == 0  # an hour without matches: what was dropped is forgotten


def test_out_of_hours_severity_may_be_lower(world: Make) -> None:
    here = world(hours={**OFFICE, "outside": "lower"}, severity="critical")
    night, day = here.hit(2 * HOUR), here.hit(10 * HOUR)
    assert night and day
    assert (night.severity, day.severity) == (Severity.LOW, Severity.CRITICAL)


def test_isolations_do_not_wait_for_the_hours(world: Make) -> None:
    here = world(hours=OFFICE, alert=["debug", "isolate"])
    now = here.hit(2 * HOUR)
    (later,) = here.tick(9 * HOUR)
    assert now and (now.audience, later.audience) == (Audience.ACTIONS, Audience.PEOPLE)


def test_hours_that_never_begin_hold_nothing(world: Make) -> None:
    here = world(hours={"not": {"from": "00:00", "to": "24:00"}})
    assert here.hit(0) is None and here.tick(400 * 24 * HOUR) == []


def test_limit_execution_lets_alerts_wait_for_the_next_of_its_minutes(world: Make) -> None:
    here = world(limit_execution="0 7 * * *", realert={"minutes": 5})
    assert here.hit(HOUR, cause="first") is None
    (verdict,) = here.tick(7 * HOUR + 90)  # the minute itself was missed
    assert verdict.hit.cause == "first"


def test_limit_execution_goes_by_a_zone(world: Make) -> None:
    here = world(limit_execution="* 7 * * *", limit_execution_zone="Europe/Zurich")
    assert here.hit(6 * HOUR + 60) is not None
    assert here.hit(7 * HOUR + 60) is None


def test_the_first_silence_that_fits_counts(world: Make) -> None:
    here = world()
    here.alarms.control(Controls.of([Silence(id="one", rule="x"), Silence(id="two"), Silence(id="three")]))
    here.hit(0)
    assert here.alarms.suppressed == {"two": 1}
    here.alarms.control(Controls.of([Silence(id="three")]))
    assert here.alarms.suppressed == {}
