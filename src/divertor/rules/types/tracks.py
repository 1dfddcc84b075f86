"""The events of one key as two windows see them: `spike`'s counts over time that moves on.

A track holds times in order; a cursor is a moment with the places where its two windows begin and end, moved
on with it, so that an event is passed by each once. A key with too few events for a rise has no track, only
its times and what little else is known: attackers make up keys by the million. What is compared, and when, is
`spike.py`'s.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from divertor.rules.types.contract import Key
from divertor.rules.types.deadlines import Deadlines

#: How many events an entry stands for, and the sum of their values in millionths.
Load: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Cursor:
    """The two windows as of `moment`: entries before `old` are past, before `mid` in the reference, before
    `end` in the current window. The loads are kept only if entries have any.
    """

    moment: int
    old: int = 0
    mid: int = 0
    end: int = 0
    reference: Load = (0, 0)
    current: Load = (0, 0)


@dataclass(slots=True)
class Track:
    """One key: its events' times in order, with loads unless each is just one event. `since`: its first
    event; `touched`: when one arrived last; `quiet`: until when nothing is judged.
    """

    since: int
    touched: int
    quiet: int
    slot: int = -1
    times: array[int] = field(default_factory=lambda: array("q"))
    loads: list[Load] | None = None
    #: Where rises are judged, and falls; None when they are not.
    rise: Cursor | None = None
    fall: Cursor | None = None


#: The numbers of a key with few events: its first event, when one arrived last, the slot of its deadline, and
#: from `TIMES` on its events' times in order.
Few: TypeAlias = "array[int]"
SINCE, TOUCHED, SLOT, TIMES = range(4)


def few_of(since: int, now: int, slot: int, moment: int) -> Few:
    """A key with one event."""
    return array("q", (since, now, slot, moment))


def track_of(few: Few) -> Track:
    """The track of a key whose events are no longer few, without a cursor."""
    return Track(few[SINCE], few[TOUCHED], 0, few[SLOT], few[TIMES:])


@dataclass(slots=True)
class Tracks:
    """The state: tracks by key, the longest idle first; first events of keys that are idle; who is due."""

    deadlines: Deadlines
    by_key: dict[Key, Track | Few] = field(default_factory=dict)
    idle: dict[Key, int] = field(default_factory=dict)
    since: int | None = None
    forgotten: int = 0


def cut(track: Track) -> None:
    """Let go of entries that no cursor has in a window."""
    cursors = [cursor for cursor in (track.rise, track.fall) if cursor is not None]
    first = min(cursor.old for cursor in cursors)
    del track.times[:first]
    if track.loads is not None:
        del track.loads[:first]
    for cursor in cursors:
        cursor.old -= first
        cursor.mid -= first
        cursor.end -= first


def plus(one: Load, other: Load) -> Load:
    return (one[0] + other[0], one[1] + other[1])


def moved(load: Load, loads: list[Load], lost: int, first: int, gained: int, end: int) -> Load:
    """A window's load after it let go of entries lost:first and took gained:end in."""
    count, value = load
    for one, worth in islice(loads, gained, end):
        count += one
        value += worth
    for one, worth in islice(loads, lost, first):
        count -= one
        value -= worth
    return count, value


def join(track: Track, most: int, grain: int) -> None:
    """Let entries that are near each other be one, at the last one's time, until they are at most `most`;
    `grain`, in microseconds, is what counts as near at first. Cursors are to be set anew.
    """
    while len(track.times) > most:
        loads = track.loads or [(1, 0)] * len(track.times)
        joined: dict[int, tuple[int, Load]] = {}
        for time, load in zip(track.times, loads, strict=True):
            _before, sum_ = joined.get(time // grain, (0, (0, 0)))
            joined[time // grain] = (time, plus(sum_, load))
        track.times = array("q", [time for time, _load in joined.values()])
        track.loads = [load for _time, load in joined.values()]
        grain *= 2
