"""Times that come back: hours of the week in a time zone, and cron expressions.

Pure: every moment is an argument, in microseconds since the epoch. What happens inside and outside of them is
not decided here (`alarms`, `controls`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE = 60_000_000
_DAY = 24 * 60
#: Days that are looked ahead for the next beginning; hours that do not begin within them never do.
_HORIZON = 400
#: Where the test whether a cron expression ever comes starts: four years from here hold every date there is.
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def zone_of(name: str) -> ZoneInfo:
    """:raises ValueError: there is no such time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("a time zone such as Europe/Zurich or UTC") from None


@dataclass(frozen=True, slots=True)
class Period:
    """The same hours on some days of the week (0: Monday). `start` and `end` are minutes of the day; an end
    that is not after the start belongs to the next day. On a holiday the hours do not begin.
    """

    days: frozenset[int] = frozenset(range(7))
    start: int = 0
    end: int = _DAY
    zone: str = "UTC"
    holidays: frozenset[date] = frozenset()

    def contains(self, micros: int) -> bool:
        moment = _local(micros, self.zone)
        minute = moment.hour * 60 + moment.minute
        today = moment.date()
        if self.start < self.end:
            return self.start <= minute < self.end and self._begins_on(today)
        if minute >= self.start:
            return self._begins_on(today)
        return minute < self.end and self._begins_on(today - timedelta(days=1))

    def _begins_on(self, day: date) -> bool:
        return day.weekday() in self.days and day not in self.holidays

    def edges(self, micros: int, days: int) -> list[int]:
        """The moments, `days` after that of `micros`, at which this may begin or end."""
        day = _local(micros, self.zone).date() + timedelta(days=days)
        return [_micros(day, minute, self.zone) for minute in (self.start, self.end)]


@dataclass(frozen=True, slots=True)
class Hours:
    """Periods together; `inverted`: the time outside of them."""

    periods: tuple[Period, ...]
    inverted: bool = False

    def contains(self, micros: int) -> bool:
        return any(period.contains(micros) for period in self.periods) is not self.inverted

    def next(self, micros: int) -> int | None:
        """When they begin next, from a moment outside of them; None: not within a year."""
        return _next_beginning(self, micros // _MINUTE * _MINUTE)


@lru_cache(maxsize=1024)
def _next_beginning(hours: Hours, micros: int) -> int | None:
    for days in range(_HORIZON):
        edges = sorted(edge for period in hours.periods for edge in period.edges(micros, days))
        for edge in edges:
            if edge > micros and hours.contains(edge):
                return edge
    return None


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields (minute, hour, day, month, weekday) in a time zone."""

    text: str
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Cron:
        """:raises ValueError: it is none, or names no moment that ever comes; says what was expected."""
        if len(text) > 200 or len(text.split()) != 5:
            raise ValueError("five fields: minute, hour, day, month, weekday")
        zone_of(zone)
        try:
            next(CronSim(text, _FIRST))
        except CronSimError as problem:
            raise ValueError(f"a cron expression ({problem})") from None
        except StopIteration:
            raise ValueError("a date that there is") from None
        return cls(text, zone)

    def contains(self, micros: int) -> bool:
        """Whether the minute is one of those."""
        return _in_minute(self.text, self.zone, micros // _MINUTE)

    def next(self, micros: int) -> int:
        """The first minute of them that begins after that moment."""
        return _neighbour(self.text, self.zone, micros // _MINUTE, False)

    def before(self, micros: int) -> int:
        """The last minute of them that began at or before that moment."""
        return _neighbour(self.text, self.zone, micros // _MINUTE, True)


@lru_cache(maxsize=1024)
def _in_minute(text: str, zone: str, minute: int) -> bool:
    return _neighbour(text, zone, minute, True) == minute * _MINUTE


@lru_cache(maxsize=1024)
def _neighbour(text: str, zone: str, minute: int, before: bool) -> int:
    """The nearest minute after `minute`, or, `before`, the nearest up to it."""
    # A second later, as the simulation starts with a step: the minute itself counts looking back.
    moment = _local(minute * _MINUTE, zone) + timedelta(seconds=1 if before else 0)
    found = next(CronSim(text, moment, reverse=before))
    return (found.astimezone(UTC) - _EPOCH) // _MICROSECOND


def _local(micros: int, zone: str) -> datetime:
    return (_EPOCH + micros * _MICROSECOND).astimezone(zone_of(zone))


def _micros(day: date, minute: int, zone: str) -> int:
    midnight = datetime.combine(day + timedelta(days=minute // _DAY), time(), zone_of(zone))
    moment = midnight.replace(hour=minute % _DAY // 60, minute=minute % 60)
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
