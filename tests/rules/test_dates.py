"""Dates of queries: their precision, arithmetic, rounding, zones and formats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.filters.dates import DateReading, parse_formats, parse_zone

NOW = datetime(2026, 3, 31, 14, 30, 15, 500_000, tzinfo=UTC)

# What is written, where it begins, its last microsecond.
CASES = [
    ("now", "2026-03-31T14:30:15.500000", "2026-03-31T14:30:15.500000"),
    ("now-1h", "2026-03-31T13:30:15.500000", "2026-03-31T13:30:15.500000"),
    ("now-1M", "2026-02-28T14:30:15.500000", "2026-02-28T14:30:15.500000"),
    ("now+1y-1d", "2027-03-30T14:30:15.500000", "2027-03-30T14:30:15.500000"),
    ("now/d", "2026-03-31T00:00:00", "2026-03-31T23:59:59.999999"),
    ("now/w", "2026-03-30T00:00:00", "2026-04-05T23:59:59.999999"),
    ("now/M", "2026-03-01T00:00:00", "2026-03-31T23:59:59.999999"),
    ("now/y", "2026-01-01T00:00:00", "2026-12-31T23:59:59.999999"),
    ("now-d/d", "2026-03-30T00:00:00", "2026-03-30T23:59:59.999999"),
    ("now/h+30m", "2026-03-31T14:30:00", "2026-03-31T15:29:59.999999"),
    ("2026-02", "2026-02-01T00:00:00", "2026-02-28T23:59:59.999999"),
    ("2026-02-03", "2026-02-03T00:00:00", "2026-02-03T23:59:59.999999"),
    ("2026-02-03T04", "2026-02-03T04:00:00", "2026-02-03T04:59:59.999999"),
    ("2026-02-03T04:05", "2026-02-03T04:05:00", "2026-02-03T04:05:59.999999"),
    ("2026-02-03T04:05:06", "2026-02-03T04:05:06", "2026-02-03T04:05:06.999999"),
    ("2026-02-03T04:05:06.7", "2026-02-03T04:05:06.700000", "2026-02-03T04:05:06.700000"),
    ("2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06", "2026-02-03T02:05:06.999999"),
    ("2026-02-03||", "2026-02-03T00:00:00", "2026-02-03T23:59:59.999999"),
    ("2026-02-03||+1d", "2026-02-04T00:00:00", "2026-02-04T00:00:00"),
    ("2026-02-03||/M", "2026-02-01T00:00:00", "2026-02-28T23:59:59.999999"),
    ("2024-02-29||+1y", "2025-02-28T00:00:00", "2025-02-28T00:00:00"),
]


@pytest.mark.parametrize(("text", "start", "end"), CASES)
def test_a_date_has_a_beginning_and_an_end(text: str, start: str, end: str) -> None:
    moment = DateReading().moment(text)
    assert moment is not None
    assert moment.at(NOW, end=False) == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert moment.at(NOW, end=True) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_a_day_is_the_zones_day() -> None:
    reading = DateReading(parse_zone("Europe/Amsterdam"))
    moment = reading.moment("now/d")
    assert moment is not None
    assert moment.at(NOW, end=False) == datetime(2026, 3, 30, 22, tzinfo=UTC)


FORMATS = [
    ("dd/MM/yyyy", "03/02/2026", "2026-02-03T00:00:00"),
    ("yyyy-MM-dd'T'HH.mm", "2026-02-03T04.05", "2026-02-03T04:05:00"),
    ("epoch_second", "1770091506", "2026-02-03T04:05:06"),
    ("dd/MM/yyyy||epoch_millis", "1770091506000", "2026-02-03T04:05:06"),
    ("date_optional_time", "2026-02-03", "2026-02-03T00:00:00"),
]


@pytest.mark.parametrize(("format_", "text", "start"), FORMATS)
def test_a_format_reads_dates(format_: str, text: str, start: str) -> None:
    moment = DateReading(formats=parse_formats(format_)).moment(text)
    assert moment is not None
    assert moment.at(NOW, end=False) == datetime.fromisoformat(start).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["now-", "now-1", "now-1x", "now/q", "x||+1d", "9999-12-31||+1y", "now+1d*2"]
)
def test_arithmetic_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        moment = DateReading().moment(text)
        assert moment is None, "not taken for text either"
        raise ValueError


def test_cases_are_all_there() -> None:
    assert (len(CASES), len(FORMATS)) == (21, 5)


@settings(max_examples=500, deadline=None)
@given(st.text("now+-/|0129dMyTZ:. ", max_size=20), st.booleans())
def test_any_text_is_a_date_or_none_or_refused(text: str, end: bool) -> None:
    try:
        moment = DateReading().moment(text)
        if moment is not None:
            assert moment.at(NOW, end=end).tzinfo is UTC
    except (ValueError, OverflowError):
        pass
