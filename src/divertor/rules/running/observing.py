"""How a rule sees an event: the key that keeps it apart from others, and the time it happened at.

Rules that go by the same fields share what was found (`View`). Pure; a value that makes no sense yields to
the event's own time, because the values are an attacker's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, TypeAlias

from divertor.model.events import Event, moment_of, parse_time
from divertor.rules.document import Document, is_plain, lookup, scalar_text
from divertor.rules.rule import Clock
from divertor.rules.running.projection import plain
from divertor.rules.types.contract import Key, Observation

#: A query_key value is cut here: keys come from attackers.
MAX_KEY_LENGTH = 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A field's value as a moment, or None.
_Reader: TypeAlias = Callable[[Any], datetime | None]


class View:
    """The key and the time that some rules go by."""

    __slots__ = ("_field", "_names", "_only", "_plain", "_read")

    def __init__(self, query_key: tuple[str, ...], clock: Clock) -> None:
        self._names = query_key
        self._only = query_key[0] if len(query_key) == 1 else None
        #: The only field, when it is simply a key of the body: the usual case.
        self._plain = self._only if self._only is not None and is_plain(self._only) else None
        self._field = clock.field
        self._read = _READERS[clock.kind](clock) if clock.field != "@timestamp" else None

    def key(self, document: Document) -> Key:
        """The value that keeps an event apart from others; None without a query_key or a value for it.

        Several fields are joined by `, `, a missing one spelled `None`, so that a compound key always has a
        value.
        """
        only = self._only
        if only is not None:
            value = document.get(only)
            return None if value is None else _key_text(value)
        return ", ".join([_part(document.get(name)) for name in self._names]) if self._names else None

    def observe(self, event: Event, document: Document) -> Observation:
        """The event, as these rules see it."""
        only, plain_key = self._only, self._plain
        if only is None:
            key = self.key(document) if self._names else None
        else:
            value = None if plain_key is None else document.body.get(plain_key)
            if value is None:
                value = document.get(only)
            usual = value.__class__ is str and len(value) <= MAX_KEY_LENGTH
            key = value if usual or value is None else _key_text(value)
        moment, received = event.timestamp, event.received
        if self._read is not None:
            moment = self._read(document.get(self._field)) or moment
        if moment > received:
            moment = received
        since = moment - _EPOCH  # as micros_of, without a call
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return Observation(event, key, micros, document)


def event_time(event: Event, clock: Clock) -> datetime:
    """When an event happened, by the rule's clock; never after it was received.

    A field that is missing or holds no time yields to the event's own timestamp. A time after receipt is
    taken as the receipt: one event dated into next year would otherwise make every other one too old to
    count.
    """
    return moment_of(View((), clock).observe(event, Document.of(event)).micros)


def query_key_value(fields: Mapping[str, Any], query_key: tuple[str, ...]) -> Key:
    """`View.key` of a plain document."""
    return View(query_key, Clock()).key(Document(fields))


def _part(value: Any) -> str:
    return "None" if value is None else _key_text(value)


def _key_text(value: Any) -> str:
    if isinstance(value, str):
        return value[:MAX_KEY_LENGTH]
    if isinstance(value, list | dict):
        return json.dumps(plain(value), sort_keys=True)[:MAX_KEY_LENGTH]
    return scalar_text(value)[:MAX_KEY_LENGTH]


def read_time(document: Mapping[str, Any], clock: Clock) -> datetime | None:
    """The time in the clock's field of a document, as UTC; None when there is none."""
    return _READERS[clock.kind](clock)(lookup(document, clock.field))


def _iso(_clock: Clock) -> _Reader:
    return _iso_time


def _iso_time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError):
        return None


def _unix(scale: int) -> Callable[[Clock], _Reader]:
    """Seconds, or their `scale`th parts, since the epoch, as a number or its text."""

    def read(value: Any) -> datetime | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
            return _EPOCH + timedelta(seconds=number / scale) if isfinite(number) else None
        except (ValueError, OverflowError):
            return None

    return lambda _clock: read


def _custom(clock: Clock) -> _Reader:
    """As `strptime` reads it; without a zone it is UTC."""

    def read(value: Any) -> datetime | None:
        try:
            moment = datetime.strptime(scalar_text(value)[:MAX_KEY_LENGTH], clock.format)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    return read


_READERS: dict[str, Callable[[Clock], _Reader]] = {
    "iso": _iso,
    "unix": _unix(1),
    "unix_ms": _unix(1000),
    "custom": _custom,
}
