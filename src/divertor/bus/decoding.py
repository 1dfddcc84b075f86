"""A message of the event stream as events: the way every event takes, so it is short.

A message is lines of JSON, an event each, read at once. Whatever is not as it should be is read again line by
line with the standard library, which takes what the fast reader refuses (lone surrogates) and lets one bad
line fall out without the others.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from divertor.model.events import Event

#: What reading one line may raise when it is no event.
_NO_EVENT = (ValueError, TypeError, AttributeError, RecursionError)


def decode(data: bytes) -> tuple[list[Event], int]:
    """The events of a message, in order, and how many of its lines are none.

    Integers of more than 64 bits become floats, as in every reader of JSON that is not Python's.
    """
    from_json = Event.from_json
    try:
        found = orjson.loads(b"[%b]" % data.replace(b"\n", b","))
        if len(found) == data.count(b"\n") + 1:
            return [from_json(record) for record in found], 0
    except _NO_EVENT:
        pass
    return _by_line(data)


def _by_line(data: bytes) -> tuple[list[Event], int]:
    events: list[Event] = []
    bad = 0
    for line in data.splitlines():
        try:
            events.append(Event.from_json(_loads(line)))
        except _NO_EVENT:
            bad += 1
    return events, bad


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        return json.loads(line)
