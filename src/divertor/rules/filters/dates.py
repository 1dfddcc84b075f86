"""Dates as queries write them: ISO 8601 as short as one likes, in a zone or a format, with date arithmetic.

`now` is the time of the event that is judged (its `@timestamp`), not a clock's: a rule finds the same in a
backtest as it did live. A date that leaves out its end stands for the whole of it: up to and including
`2026-02-03` means up to the end of that day, after it from the next day on. Elasticsearch reads dates so.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from divertor.model.events import parse_time

_TICK = timedelta(microseconds=1)
_SPANS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "H": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_MONTHS = {"y": 12, "M": 1}
_STEP = re.compile(r"([+-])([0-9]{0,6})([yMwdhHms])|/([yMwdhHms])")
_MAX_STEPS = 16
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2})"
    r"(?:[T ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
#: The unit that an ISO date is precise to, by how many of its parts are given.
_PRECISION = {2: "M", 3: "d", 4: "h", 5: "m", 6: "s"}

#: An integer that counts milliseconds since 1970 has at least this size (1973): smaller ones are numbers.
_FIRST_MILLIS = 10**11

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date in a query: a fixed one or, with None, the event's time; `steps` are added or rounded to.

    `unit` is what the fixed date is precise to (`d`: the whole day); empty: it is a point in time.
    """

    fixed: datetime | None
    unit: str = ""
    steps: tuple[tuple[int, str], ...] = ()
    zone: tzinfo = UTC

    def at(self, now: datetime, *, end: bool) -> datetime:
        """The point in time it stands for: where it begins or, with `end`, its last microsecond.

        :raises OverflowError: it is beyond what dates can say.
        """
        moment = (now if self.fixed is None else self.fixed).astimezone(self.zone)
        if end and self.unit and not self.steps:
            moment = _end_of(moment, self.unit)
        for amount, unit in self.steps:
            if amount:
                moment = _plus(moment, amount, unit)
            else:
                moment = _end_of(moment, unit) if end else _start_of(moment, unit)
        return moment.astimezone(UTC)

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for every event."""
        return self.fixed is not None


def _plus(moment: datetime, amount: int, unit: str) -> datetime:
    if unit in _SPANS:
        return moment + amount * _SPANS[unit]
    months = moment.year * 12 + moment.month - 1 + amount * _MONTHS[unit]
    year, month = months // 12, months % 12 + 1
    if not 1 <= year <= 9999:
        raise OverflowError("a year beyond 1 to 9999")
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def _start_of(moment: datetime, unit: str) -> datetime:
    if unit == "s":
        return moment.replace(microsecond=0)
    if unit == "m":
        return moment.replace(second=0, microsecond=0)
    moment = moment.replace(minute=0, second=0, microsecond=0)
    if unit in "hH":
        return moment
    moment = moment.replace(hour=0)
    if unit == "w":
        return moment - timedelta(days=moment.weekday())
    if unit == "d":
        return moment
    return moment.replace(day=1) if unit == "M" else moment.replace(month=1, day=1)


def _end_of(moment: datetime, unit: str) -> datetime:
    return _plus(_start_of(moment, unit), 1, unit) - _TICK


def is_date_math(text: str) -> bool:
    """Whether a bound is computed: `now-1h`, `2026-01-01||+1d`."""
    return "||" in text or text == "now" or (text.startswith("now") and text[3] in "+-/")


@dataclass(frozen=True, slots=True)
class DateReading:
    """How the dates of a range are written: in which zone those without one are, and in which formats."""

    zone: tzinfo = UTC
    formats: tuple[Callable[[str], datetime], ...] = ()

    def moment(self, text: str) -> Moment | None:
        """The date a text stands for; None when it is none.

        :raises ValueError: it is date arithmetic that makes no sense.
        """
        if text.startswith("now") and is_date_math(text):
            return Moment(None, "", _steps(text[3:]), self.zone)
        head, bar, tail = text.partition("||")
        found = self._fixed(head)
        if bar and found is None:
            raise ValueError(f"{head[:40]!r} before || is no date")
        if found is None:
            return None
        moment = Moment(found[0], found[1], _steps(tail), self.zone)
        _check(moment)
        return moment

    def _fixed(self, text: str) -> tuple[datetime, str] | None:
        if self.formats:
            return self._formatted(text)
        parts = _ISO.fullmatch(text)
        try:
            return self._iso(parts) if parts else _whole(text)
        except (ValueError, OverflowError):
            return None

    def _formatted(self, text: str) -> tuple[datetime, str] | None:
        for read in self.formats:
            try:
                moment = read(text)
            except (ValueError, OverflowError):
                continue
            return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)), ""
        return None

    def _iso(self, parts: re.Match[str]) -> tuple[datetime, str]:
        numbers = [int(part) for part in parts.groups()[:6] if part is not None]
        fraction = parts[7]
        unit = "" if fraction else _PRECISION[len(numbers)]
        year, month, day, *clock = [*numbers, 1][:3] + numbers[3:]
        micros = int((fraction or "0").ljust(6, "0")[:6])
        hour, minute, second = [*clock, 0, 0, 0][:3]
        moment = datetime(year, month, day, hour, minute, second, micros)
        return moment.replace(tzinfo=_offset(parts[8]) if parts[8] else self.zone), unit


#: Dates as they are written where nothing else is said.
ISO_8601 = DateReading()


def _whole(text: str) -> tuple[datetime, str] | None:
    if len(text) < 8 or text.isdigit():
        return None
    return parse_time(text), ""


def _check(moment: Moment) -> None:
    try:
        moment.at(_EPOCH, end=True)
    except OverflowError:
        raise ValueError("date arithmetic beyond the year 9999") from None


def _steps(text: str) -> tuple[tuple[int, str], ...]:
    """`+1M-2h/d` as amounts and units; an amount of 0 rounds."""
    steps: list[tuple[int, str]] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or len(steps) == _MAX_STEPS:
            raise ValueError(f"date arithmetic {text[at : at + 20]!r}")
        if found[4]:
            steps.append((0, found[4]))
        elif (amount := int(found[2] or "1")) != 0:
            steps.append((-amount if found[1] == "-" else amount, found[3]))
        at = found.end()
    return tuple(steps)


def parse_zone(text: str) -> tzinfo:
    """`+01:00`, `Z` or a name such as `Europe/Amsterdam`.

    :raises ValueError: there is no such zone.
    """
    if re.fullmatch(r"Z|[+-][0-9]{2}:?[0-9]{2}", text):
        return _offset(text)
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", text):
        raise ValueError("an offset such as +01:00 or a name such as Europe/Amsterdam")
    try:
        return ZoneInfo(text)
    except (OSError, LookupError, ValueError):
        raise ValueError("an offset such as +01:00 or a name such as Europe/Amsterdam") from None


def _offset(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 18 or minutes > 59:
        raise ValueError("an offset within 18 hours")
    span = timedelta(hours=hours, minutes=minutes)
    return timezone(-span if text[0] == "-" else span)


_LETTERS = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "yy": "%y",
    "MMM": "%b",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
    "SSS": "%f",
    "SSSSSS": "%f",
    "Z": "%z",
    "XXX": "%z",
    "XX": "%z",
    "X": "%z",
}
_FORMAT_PART = re.compile(r"'(?P<quoted>[^']*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>[^A-Za-z])")
_NAMED: dict[str, Callable[[str], datetime]] = {
    "epoch_millis": lambda text: _EPOCH + timedelta(milliseconds=_integer(text)),
    "epoch_second": lambda text: _EPOCH + timedelta(seconds=_integer(text)),
    "basic_date": lambda text: datetime.strptime(text, "%Y%m%d"),
}
_ISO_NAMES = frozenset(
    """date_optional_time strict_date_optional_time strict_date_optional_time_nanos date_time strict_date_time
    date_time_no_millis strict_date_time_no_millis date strict_date year_month_day strict_year_month_day
    iso8601""".split()
)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,17}", text):
        raise ValueError("not a whole number")
    return int(text)


def parse_formats(text: str) -> tuple[Callable[[str], datetime], ...]:
    """`dd/MM/yyyy||epoch_millis` as readers, tried in turn; nothing for what ISO 8601 covers.

    :raises ValueError: a format is unknown.
    """
    names = text.split("||")[:8]
    if all(name in _ISO_NAMES for name in names):
        return ()
    return tuple(_format(name) for name in names)


def _format(name: str) -> Callable[[str], datetime]:
    if name in _NAMED:
        return _NAMED[name]
    if name in _ISO_NAMES:
        return parse_time
    pattern = _strptime(name)
    return lambda text: datetime.strptime(text, pattern)


def _strptime(pattern: str) -> str:
    """A format of Java's letters as one of Python's."""
    out: list[str] = []
    for found in _FORMAT_PART.finditer(pattern[:64]):
        letters = found["letters"]
        if letters is None:
            out.append((found["quoted"] or found["other"] or "").replace("%", "%%"))
        elif letters not in _LETTERS:
            raise ValueError(f"{letters!r} in a date format")
        elif _LETTERS[letters] in out:
            raise ValueError(f"{letters!r} twice in a date format")
        else:
            out.append(_LETTERS[letters])
    return "".join(out)


def time_of_number(value: float) -> datetime | None:
    """A number as milliseconds since 1970, if it is large enough to be meant so."""
    if abs(value) < _FIRST_MILLIS:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=value)
    except (OverflowError, ValueError):
        return None
