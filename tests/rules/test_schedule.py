"""Hours of the week and cron expressions, in time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.schedule import Cron, Hours, Period

WEEKDAYS = frozenset(range(5))
OFFICE = Period(WEEKDAYS, 9 * 60, 17 * 60 + 30, "Europe/Zurich", frozenset({date(2026, 1, 6)}))
NIGHT = Period(WEEKDAYS, 22 * 60, 6 * 60)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def shown(micros: int | None) -> str:
    assert micros is not None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()[:16]


@pytest.mark.parametrize(
    "moment, inside",
    [
        ("2026-01-05T08:00Z", True),
        ("2026-01-05T07:59:59Z", False),
        ("2026-01-05T16:29:59Z", True),
        ("2026-01-05T16:30Z", False),
        ("2026-01-06T08:00Z", False),  # a holiday
        ("2026-01-10T08:00Z", False),  # a Saturday
        ("2026-07-06T07:00Z", True),  # summer time
    ],
)
def test_office_hours_are_those_of_their_zone(moment: str, inside: bool) -> None:
    assert OFFICE.contains(at(moment)) is inside


@pytest.mark.parametrize(
    "moment, inside",
    [
        ("2026-01-09T23:00Z", True),
        ("2026-01-10T05:59Z", True),  # Friday's night, on Saturday
        ("2026-01-10T06:00Z", False),
        ("2026-01-10T22:00Z", False),  # no night begins on a Saturday
        ("2026-01-12T05:00Z", False),  # nor on a Sunday
    ],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_begin(moment: str, inside: bool) -> None:
    assert NIGHT.contains(at(moment)) is inside


def test_the_next_beginning_leaves_out_holidays_and_weekends() -> None:
    assert shown(Hours((OFFICE,)).next(at("2026-01-05T20:00Z"))) == "2026-01-07T08:00"
    assert shown(Hours((OFFICE,)).next(at("2026-01-09T20:00Z"))) == "2026-01-12T08:00"


def test_the_time_outside_begins_when_the_hours_end() -> None:
    outside = Hours((OFFICE,), inverted=True)
    assert not outside.contains(at("2026-01-05T10:00Z"))
    assert shown(outside.next(at("2026-01-05T10:00Z"))) == "2026-01-05T16:30"


def test_hours_that_never_begin_have_no_next_time() -> None:
    assert Hours((Period(),), inverted=True).next(at("2026-01-05T10:00Z")) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 7 * 24 * 60), st.integers(0, 1439), st.integers(0, 1439), st.booleans())
def test_the_next_beginning_is_the_first_minute_inside(
    minute: int, start: int, end: int, inverted: bool
) -> None:
    hours = Hours((Period(WEEKDAYS, start, end, "America/New_York"),), inverted)
    now = at("2026-03-05T00:00Z") + minute * 60_000_000
    if hours.contains(now):
        return
    naive = next(each for each in range(now, now + 10 * 86_400_000_000, 60_000_000) if hours.contains(each))
    assert hours.next(now) == naive


def test_a_cron_expression_contains_its_minutes() -> None:
    cron = Cron.parse("*/15 7-22 * * mon-fri", "Europe/Zurich")
    assert cron.contains(at("2026-01-05T06:15:59Z"))
    assert not cron.contains(at("2026-01-05T06:16Z")) and not cron.contains(at("2026-01-05T05:45Z"))


def test_a_cron_expression_knows_its_neighbours() -> None:
    cron = Cron.parse("0 22 * * sat")
    assert shown(cron.before(at("2026-01-10T22:00Z"))) == "2026-01-10T22:00"
    assert shown(cron.before(at("2026-01-10T21:59Z"))) == "2026-01-03T22:00"
    assert shown(cron.next(at("2026-01-10T22:00Z"))) == "2026-01-17T22:00"


@pytest.mark.parametrize(
    "text, zone, expected",
    [
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("61 * * * *", "UTC", "minute"),
        ("0 0 31 2 *", "UTC", "cron expression"),
        ("* * * * *", "Mars/Olympus", "time zone"),
        ("* * * * *", "../../etc/passwd", "time zone"),
        ("* " * 200, "UTC", "five fields"),
    ],
)
def test_what_is_no_cron_expression_is_refused(text: str, zone: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Cron.parse(text, zone)
