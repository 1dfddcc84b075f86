"""Events in Vamp's form (`POST /api/v1/events`) → events. Pure: time and id are arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from divertor.errors import InputError, Position
from divertor.model.events import JSON, Event, parse_time

_WHERE = Position("event")
_KNOWN = frozenset({"tags", "value", "timestamp", "type", "version", "id", "digest"})
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MAX_TAGS = 64
_MAX_TAG = 256
_MAX_DEPTH = 32
_MAX_VALUES = 10_000
_MAX_TEXT = 64 * 1024
_FUTURE = timedelta(minutes=5)
_OLDEST_YEAR = 1970


def vamp_event(data: Mapping[str, JSON], now: datetime, new_id: str) -> Event:
    """The event a client describes by `tags` (at least one), `value`, `timestamp` and `type`.

    The timestamp is `now` if absent, the type `event`. `version`, `id` and `digest` are accepted, since
    Vamp's clients send back what they got, and mean nothing here: the id is `new_id`. A timestamp more than
    five minutes ahead is replaced by `now` and kept in the body.

    :raises InputError: a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(data, Mapping):
        raise InputError("not an object", _WHERE, "an object with tags")
    unknown = sorted(str(name) for name in set(data) - _KNOWN)
    if unknown:
        raise InputError(f"unknown field {unknown[0][:80]!r}", _WHERE, ", ".join(sorted(_KNOWN)))
    happened = _timestamp(data.get("timestamp"), now)
    late = happened > now + _FUTURE
    return Event(
        id=new_id,
        type=_type(data.get("type")),
        timestamp=now if late else happened,
        received=now,
        indices=("divertor-event",),
        tags=_tags(data.get("tags")),
        value=_value(data.get("value")),
        body={"divertor": {"ingest": {"original_time": data["timestamp"]}}} if late else {},
    )


def _tags(tags: JSON) -> tuple[str, ...]:
    expected = f"1 to {_MAX_TAGS} texts of at most {_MAX_TAG} characters"
    if not isinstance(tags, list) or not 1 <= len(tags) <= _MAX_TAGS:
        raise InputError("tags are missing or too many", _WHERE, expected)
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip() or len(tag) > _MAX_TAG:
            raise InputError(f"a tag is {str(tag)[:80]!r}", _WHERE, expected)
    return tuple(dict.fromkeys(_clean(tag) for tag in tags))


def _type(kind: JSON) -> str:
    if kind is None:
        return "event"
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise InputError(
            f"the type is {str(kind)[:80]!r}", _WHERE, "a word of at most 64 letters, digits, . _ -"
        )
    return kind


def _timestamp(timestamp: JSON, now: datetime) -> datetime:
    if timestamp is None:
        return now
    expected = "an ISO 8601 time such as 2026-01-31T12:00:00Z"
    if not isinstance(timestamp, str):
        raise InputError("the timestamp is no text", _WHERE, expected)
    try:
        moment = parse_time(timestamp)
    except (ValueError, OverflowError):
        raise InputError(f"the timestamp is {timestamp[:80]!r}", _WHERE, expected) from None
    if moment.year < _OLDEST_YEAR:
        raise InputError(f"the timestamp is {timestamp[:80]!r}", _WHERE, f"a time after {_OLDEST_YEAR}")
    return moment


def _value(value: JSON) -> JSON:
    return _bounded(value, _MAX_DEPTH, [_MAX_VALUES, _MAX_TEXT])


def _bounded(value: JSON, depth: int, left: list[int]) -> JSON:
    """The value, as long as it stays within the depth, the number of values and of characters `left`.

    :raises InputError: it does not.
    """
    left[0] -= 1
    if depth < 0 or left[0] < 0 or left[1] < 0:
        expected = f"{_MAX_DEPTH} levels, {_MAX_VALUES} values, {_MAX_TEXT} characters at most"
        raise InputError("the value is too large", _WHERE, expected)
    if isinstance(value, str):
        left[1] -= len(value)
        return _clean(_within(value))
    if isinstance(value, Mapping):
        return {_clean(str(key)): _bounded(inner, depth - 1, left) for key, inner in value.items()}
    if isinstance(value, list):
        return [_bounded(inner, depth - 1, left) for inner in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and value - value == 0):
        return value
    raise InputError("the value is no JSON", _WHERE)


def _within(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise InputError("the value is too large", _WHERE, f"{_MAX_TEXT} characters at most")
    return text


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
