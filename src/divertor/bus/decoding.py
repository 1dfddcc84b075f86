"""A message of the event stream as events: the way every event takes, so it is short.

A message is lines of JSON, an event each, read at once and straight into events. Whatever is not as our own
bus writes it (another zone, a number for a text, a lone surrogate) is read again line by line with more
patience, and one bad line falls out without the others.

Rules look at few names of an event's body, and making objects of the others was more than half of what an
event cost. A `Reader` passes them by: its events have at hand what was looked for in events before, and read
their line once more when somebody wants anything else. What is seen is the same in either case, and so is
what is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any, ClassVar, TypedDict, cast

from msgspec import defstruct, field
from msgspec.json import Decoder

from divertor.model.events import JSON, Event

#: Names of a body that are read beforehand; where more are asked for, events are read whole.
MAX_ROOTS = 128

#: A line with more bytes is read whole. Passed by, an integer of more digits than Python reads (4300) would
#: not be refused.
MAX_PART = 4096

#: After how many events it is asked whether reading them in part was worth it, and how many are read whole
#: when it was not.
_TRIED = 1000
_WHOLE = 50_000

_EVENTS = Decoder(list[Event])
_EVENT = Decoder(Event)

#: What reading one line may raise when it is no event.
_NO_EVENT = (ValueError, TypeError, AttributeError, RecursionError)


def decode(data: bytes) -> tuple[list[Event], int]:
    """The events of a message, in order, and how many of its lines are none."""
    try:
        found = _EVENTS.decode(b"[%b]" % data.replace(b"\n", b","))
        if len(found) == data.count(b"\n") + 1 and _are_in_utc(found):
            return found, 0
    except _NO_EVENT:
        pass
    return _by_line(data)


def _are_in_utc(events: Sequence[Event]) -> bool:
    for event in events:
        if event.timestamp.tzinfo is not UTC or event.received.tzinfo is not UTC:
            return False
    return True


def _by_line(data: bytes) -> tuple[list[Event], int]:
    events: list[Event] = []
    bad = 0
    for line in data.splitlines():
        try:
            events.append(Event.from_json(json.loads(line)))
        except _NO_EVENT:
            bad += 1
    return events, bad


class Reader:
    """Reads messages for one who looks at few names of the events, always the same: at first none; a name
    that was missed is read in all messages from then on. Events keep their line until they are whole.
    """

    def __init__(self) -> None:
        self._wished: set[str] = set()
        self._missed = False
        self._decoder: Decoder[PartOfEvent] | None = _part_decoder(self, frozenset())
        self._given = 0
        self._completed = 0
        self._whole = 0

    def forget(self) -> None:
        """What was looked for will no longer be: the rules are others."""
        self._wished.clear()
        self._missed, self._whole = True, 0

    def decode(self, data: bytes) -> tuple[list[Event], int]:
        """As `decode`."""
        self._learn()
        found = self._parts(data) if self._decoder is not None and not self._whole else None
        if found is not None:
            self._given += len(found)
            return found, 0
        events, bad = decode(data)
        self._whole = max(0, self._whole - len(events))
        return events, bad

    def wish(self, roots: frozenset[str] | None) -> None:
        """An event was looked into for these names (None: all), and did not have them at hand."""
        if roots is not None and not roots <= self._wished:
            self._wished |= roots
            self._missed = True

    def completed(self) -> None:
        """An event was read whole after all."""
        self._completed += 1

    def _learn(self) -> None:
        if self._missed:
            roots = frozenset(self._wished)
            self._decoder = _part_decoder(self, roots) if len(roots) <= MAX_ROOTS else None
            self._missed = False
        elif self._given < _TRIED:
            return
        elif self._completed * 2 > self._given:
            self._whole = _WHOLE
        self._given = self._completed = 0

    def _parts(self, data: bytes) -> list[Event] | None:
        """None: the message, or something in it, is not of the kind that can be read in part."""
        lines = data.split(b"\n")
        # The texts that are passed by are not looked at, so their encoding is.
        if self._decoder is None or len(max(lines, key=len)) > MAX_PART or not _is_utf8(data):
            return None
        try:
            found: list[Event] = list(map(self._decoder.decode, lines))
        except _NO_EVENT:
            return None
        for event, line in zip(found, lines, strict=True):
            if event.timestamp.tzinfo is not UTC or event.received.tzinfo is not UTC:
                return None
            _SET_LINE(event, line)
        return found


class _Nothing:
    """The type of a field that no JSON value fills: a line that names one is read with more patience."""


_EMPTY = cast("_Nothing", None)


class PartOfEvent(Event, frozen=True, gc=False):
    """An event of which some names of the body were read: `read` has those of `roots`, `body` reads the rest
    when it is first asked for. Each reading has a class of its own, made by `_part_decoder`.

    :raises ValueError: (`body`) the line is no event after all; `Reader` lets no such line pass.
    """

    body: _Nothing = field(name="(body)", default=_EMPTY)  # type: ignore[assignment]
    line: _Nothing = field(name="(line)", default=_EMPTY)

    reader: ClassVar[Reader]

    def wish(self, roots: frozenset[str] | None) -> None:
        self.reader.wish(roots)

    def __repr__(self) -> str:
        kind, values = self.__reduce__()
        return repr(kind(*values))


_BODY_OF, _SET_BODY = Event.body.__get__, Event.body.__set__  # type: ignore[attr-defined]
_LINE_OF, _SET_LINE = PartOfEvent.line.__get__, PartOfEvent.line.__set__  # type: ignore[attr-defined]


def _completed(event: PartOfEvent) -> Mapping[str, JSON]:
    body: Mapping[str, JSON] | None = _BODY_OF(event)
    if body is None:
        event.reader.completed()
        body = _body(_LINE_OF(event))
        _SET_BODY(event, body)
    return body


PartOfEvent.body = property(_completed)  # type: ignore[assignment]


def _body(line: bytes) -> Mapping[str, JSON]:
    try:
        return _whole(line).body
    except RecursionError:
        # It was not nested too deep where it was passed by; here the stack may be higher.
        with ThreadPoolExecutor(1) as fresh:
            return fresh.submit(_whole, line).result().body


def _whole(line: bytes) -> Event:
    """The event of a line, in the same two ways as those of a message."""
    try:
        return _EVENT.decode(line)
    except _NO_EVENT:
        return Event.from_json(json.loads(line))


def _part_decoder(reader: Reader, roots: frozenset[str]) -> Decoder[Any]:
    # msgspec does not find names that are not ASCII in a typed dict.
    names = frozenset(filter(str.isascii, roots))
    typed = TypedDict("Body", dict.fromkeys(sorted(names), Any), total=False)  # type: ignore[misc]
    kind = defstruct(
        "PartOfEvent",
        [("read", typed, field(name="body", default_factory=dict))],
        bases=(PartOfEvent,),
        namespace={"roots": names, "reader": reader},
        frozen=True,
        gc=False,
    )
    return Decoder(kind)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
