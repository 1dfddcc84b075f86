"""The spool's format: bytes → exchanges. Pure, bounded, and never surprised.

A record is the magic number, the length of what follows, and fields of a tag, a length and bytes, all little
endian. The filter writes each record at once, but a full disk may cut one short; its length then leads into
the next one, so a record counts only if another follows it, or nothing. What is no record is skipped up to
the next magic number, and counted. Fields nobody knows are skipped, missing ones are normal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.exchange import Body, Exchange, Headers, Key, Kind

MAGIC = b"DVR1"
_HEAD = struct.Struct("<4sI")
_FIELD = struct.Struct("<BI")
#: Bytes of the longest record.
MAX_RECORD = 16 << 20
#: How often, on average, a damaged stretch is looked at again: what is in it was written by an attacker.
_TRIES = 16
#: Headers of one message, and keys of one exchange: more than the gateway lets through.
MAX_HEADERS = 1000
MAX_KEYS = 64
_MAX_TEXT = 64 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Microseconds since 1970 that are still a date (the year 9999), and those of a year.
_MAX_TIME = 253_370_764_800_000_000
_YEAR = 366 * 86400 * 1_000_000


class Tag(IntEnum):
    """What a field is."""

    START = 1
    DURATION = 2
    KIND = 3
    SCOPE = 4
    BY = 5
    ADDED = 6
    METHOD = 7
    AUTHORITY = 8
    PATH = 9
    SCHEME = 10
    REQUEST_HEADER = 11
    REQUEST_BODY = 12
    REQUEST_SIZE = 13
    STATUS = 14
    RESPONSE_HEADER = 15
    RESPONSE_BODY = 16
    RESPONSE_SIZE = 17
    REQUEST_ID = 18
    ADDRESS = 19
    LOST = 20


@dataclass(frozen=True, slots=True)
class Split:
    """What was found in a stretch of the spool: `used` bytes of it need not be read again, `skipped` of those
    were no records; `lost` is the number of records the filter had no room for, as last told."""

    exchanges: tuple[Exchange, ...]
    used: int
    skipped: int
    lost: int


def split(data: bytes, *, final: bool = False, now: datetime = _EPOCH) -> Split:
    """The records in `data`. A record that goes on beyond its end is left for later, or, with `final`,
    skipped as damaged. `now` stands for a time of start that is missing.
    """
    exchanges: list[Exchange] = []
    at = skipped = lost = work = 0
    while at < len(data):
        start = data.find(MAGIC, at)
        if start != at:
            # The end may hold the first bytes of a magic number.
            start = start if start >= 0 else len(data) if final else max(at, len(data) - len(MAGIC) + 1)
            skipped += start - at
            if start == at:
                break
            at = start
            continue
        end = _end(data, at)
        if end is not None and end > len(data) and not final:
            break
        whole = end is not None and end <= len(data) and MAGIC.startswith(data[end : end + len(MAGIC)])
        fields = None if not whole else _fields(memoryview(data)[at + _HEAD.size : end])
        if fields is None or end is None:
            work += min(end or at, len(data)) - at
            step = 1 if work <= _TRIES * len(data) else len(data) - at
            skipped += step
            at += step
            continue
        exchange = _exchange(fields, now)
        if exchange is not None:
            exchanges.append(exchange)
        lost = max(lost, fields.lost)
        at = end
    return Split(tuple(exchanges), at, skipped, lost)


def _end(data: bytes, at: int) -> int | None:
    """Where the record at `at` ends; None for one that is longer than any."""
    if at + _HEAD.size > len(data):
        return at + _HEAD.size
    _, length = _HEAD.unpack_from(data, at)
    return at + _HEAD.size + length if length <= MAX_RECORD else None


@dataclass(slots=True)
class _Fields:
    """A record, taken apart."""

    single: dict[int, bytes] = field(default_factory=dict)
    added: list[Key] = field(default_factory=list)
    request: list[tuple[str, str]] = field(default_factory=list)
    response: list[tuple[str, str]] = field(default_factory=list)
    identity: str = ""

    @property
    def lost(self) -> int:
        return self.number(Tag.LOST) or 0

    def text(self, tag: Tag) -> str:
        return _text(self.single.get(tag, b""))

    def number(self, tag: Tag) -> int | None:
        data = self.single.get(tag)
        return int.from_bytes(data, "little") if data is not None and len(data) == 8 else None

    def body(self, data: Tag, size: Tag) -> Body:
        kept = self.single.get(data, b"")
        whole = self.number(size) or 0
        return Body(kept, max(whole, len(kept)), cut=len(kept) < whole)


def _fields(data: memoryview) -> _Fields | None:
    """The fields of a record; None when they do not fill it exactly."""
    found = _Fields()
    # A record that is read twice (after a restart) has one identity; how much was lost is no part of it.
    digest = blake2b(digest_size=16)
    at = 0
    while at < len(data):
        if at + _FIELD.size > len(data):
            return None
        tag, length = _FIELD.unpack_from(data, at)
        end = at + _FIELD.size + length
        if end > len(data):
            return None
        value = bytes(data[at + _FIELD.size : end])
        if tag != Tag.LOST:
            digest.update(data[at:end])
        _take(found, tag, value)
        at = end
    found.identity = digest.hexdigest()
    return found


def _take(found: _Fields, tag: int, value: bytes) -> None:
    if tag == Tag.REQUEST_HEADER or tag == Tag.RESPONSE_HEADER:
        headers = found.request if tag == Tag.REQUEST_HEADER else found.response
        name, _, rest = value.partition(b"\0")
        if name and len(headers) < MAX_HEADERS:
            headers.append((_text(name), _text(rest)))
    elif tag == Tag.ADDED:
        found.added.extend(list(_keys(value))[: MAX_KEYS - len(found.added)])
    else:
        found.single.setdefault(tag, value)


def _exchange(fields: _Fields, now: datetime) -> Exchange | None:
    """None for a record of a kind that nobody knows, or of no application."""
    kind, scope = fields.text(Tag.KIND), fields.text(Tag.SCOPE)
    if kind not in set(Kind) or not scope:
        return None
    status = fields.text(Tag.STATUS)
    return Exchange(
        id=fields.identity,
        kind=Kind(kind),
        time=_moment(fields.number(Tag.START)) or now,
        microseconds=min(fields.number(Tag.DURATION) or 0, _YEAR) if Tag.DURATION in fields.single else None,
        scope=scope,
        method=fields.text(Tag.METHOD),
        authority=fields.text(Tag.AUTHORITY),
        path=fields.text(Tag.PATH),
        scheme="https" if fields.text(Tag.SCHEME) == "https" else "http",
        by=next(_keys(fields.single.get(Tag.BY, b"")), None),
        added=tuple(fields.added),
        request_headers=_ordinary(fields.request),
        request_body=fields.body(Tag.REQUEST_BODY, Tag.REQUEST_SIZE),
        status=int(status) if len(status) == 3 and status.isascii() and status.isdigit() else None,
        response_headers=_ordinary(fields.response),
        response_body=fields.body(Tag.RESPONSE_BODY, Tag.RESPONSE_SIZE),
        request_id=fields.text(Tag.REQUEST_ID)[:200],
        address=fields.text(Tag.ADDRESS)[:200],
    )


def _ordinary(headers: list[tuple[str, str]]) -> Headers:
    return tuple(pair for pair in headers if not pair[0].startswith(":"))


def _moment(microseconds: int | None) -> datetime | None:
    if microseconds is None or not 0 < microseconds < _MAX_TIME:
        return None
    return _EPOCH + timedelta(microseconds=microseconds)


def _keys(data: bytes) -> Iterator[Key]:
    """`kind|name|value`, percent-encoded, separated by blanks; one that is cut short is left out."""
    for item in data[:_MAX_TEXT].split():
        parts = [_text(unquote_to_bytes(part)) for part in item.split(b"|")]
        if len(parts) == 3 and parts[0] in set(KeyKind) and parts[2]:
            kind = KeyKind(parts[0])
            yield Key(KeySelector(kind, "" if kind is KeyKind.ADDRESS else parts[1]), parts[2])


def _text(data: bytes) -> str:
    return data[:_MAX_TEXT].decode("utf-8", "surrogateescape")
