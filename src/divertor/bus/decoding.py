"""A message of the event stream as events: the way every event takes, so it is short.

A message is lines of JSON, an event each, read at once and straight into events. Whatever is not as our own
bus writes it (another zone, a number for a text, a lone surrogate) is read again line by line with more
patience, and one bad line falls out without the others.
"""

from __future__ import annotations

import json
from datetime import UTC

from msgspec.json import Decoder

from divertor.model.events import Event

_EVENTS = Decoder(list[Event])

#: What reading one line may raise when it is no event.
_NO_EVENT = (ValueError, TypeError, AttributeError, RecursionError)


def decode(data: bytes) -> tuple[list[Event], int]:
    """The events of a message, in order, and how many of its lines are none."""
    try:
        found = _EVENTS.decode(b"[%b]" % data.replace(b"\n", b","))
        elsewhere = [
            event for event in found if event.timestamp.tzinfo is not UTC or event.received.tzinfo is not UTC
        ]
        if len(found) == data.count(b"\n") + 1 and not elsewhere:
            return found, 0
    except _NO_EVENT:
        pass
    return _by_line(data)


def _by_line(data: bytes) -> tuple[list[Event], int]:
    events: list[Event] = []
    bad = 0
    for line in data.splitlines():
        try:
            events.append(Event.from_json(json.loads(line)))
        except _NO_EVENT:
            bad += 1
    return events, bad
