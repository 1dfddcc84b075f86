"""The events of one window that its match is to show, within a number of bytes.

Every event counts; what there is no room for is left out of what is shown, and how many that are is told. So
whoever sends large events neither fills the memory nor hides behind them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.json import Encoder

from divertor.model.events import Event
from divertor.rules.types.contract import Observation
from divertor.rules.types.remembered import longest_idle

#: Bytes that the events kept for one key may have, as JSON, and those of one rule.
MAX_SIZE_OF_KEY = 1_500_000
MAX_SIZE = 64_000_000
#: What a match says of events that are not among its `related_events`.
LEFT_OUT = "num_related_left_out"
#: Bytes of an event beside its body: its id, times, type and names.
_OUTSIDE = 200

_encoded = Encoder().encode


@dataclass(slots=True)
class Kept:
    """The events of one key in order of their times. The first `slim` of `events` were left out and are None;
    `sizes` are the bytes of the others, `size` all of them together.
    """

    times: list[int] = field(default_factory=list)
    events: list[Event | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    size: int = 0
    slim: int = 0

    def add(self, seen: Observation, timeframe: int) -> None:
        """By time; among equals the one that arrived last counts as the newest."""
        place = bisect_right(self.times, seen.micros)
        fits = place >= self.slim  # what is older than one that was left out is left out
        size = size_of(seen.event) if fits else 0
        self.times.insert(place, seen.micros)
        self.events.insert(place, seen.event if fits else None)
        self.sizes.insert(place, size)
        self.size += size
        self.slim += not fits
        old = bisect_right(self.times, self.times[-1] - timeframe)
        self.size -= sum(self.sizes[:old])
        self.slim = max(0, self.slim - old)
        del self.times[:old], self.events[:old], self.sizes[:old]

    def slim_to(self, most: int, spared: int) -> None:
        """Leave out the oldest until the others have at most so many bytes; the newest `spared` stay."""
        while self.size > most and self.slim < len(self.events) - spared:
            self.size -= self.sizes[self.slim]
            self.events[self.slim], self.sizes[self.slim] = None, 0
            self.slim += 1

    def but(self, event: Event | None) -> tuple[tuple[Event, ...], dict[str, Any]]:
        """The others, the oldest first, and what the match says when some of them were left out."""
        others = tuple(one for one in self.events if one is not None and one is not event)
        left_out = len(self.events) - len(others) - 1
        return others, {LEFT_OUT: left_out} if left_out else {}


@dataclass(slots=True)
class Latest:
    """The last event of each value, the one that was put longest ago first; None: it was left out. `sizes`
    are the bytes of the others, `size` all of them together; an event counts once for each of its values.
    """

    events: dict[str, Event | None] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def __len__(self) -> int:
        """How many values are known."""
        return len(self.events)

    def put(self, values: Iterable[str], event: Event, most: int) -> None:
        """The event is the last one of these; then the oldest are left out until `most` bytes are enough."""
        bytes_ = size_of(event)
        for value in values:
            self.size += bytes_ - self.sizes.pop(value, 0)
            self.events.pop(value, None)
            self.events[value], self.sizes[value] = event, bytes_
        while self.size > most and self.sizes:
            for value in longest_idle(self.sizes):
                self.size -= self.sizes.pop(value)
                self.events[value] = None

    def keep(self, values: Container[str]) -> None:
        """Forget all others."""
        self.events = {value: event for value, event in self.events.items() if value in values}
        self.sizes = {value: bytes_ for value, bytes_ in self.sizes.items() if value in values}
        self.size = sum(self.sizes.values())

    def of(self, values: Iterable[str]) -> tuple[tuple[Event, ...], dict[str, Any]]:
        """The events of these values, each once, in their order; and what the match says when there are
        values whose event was left out.
        """
        found = [self.events[value] for value in values if value in self.events]
        events = {event.id: event for event in found if event is not None}
        left_out = sum(event is None for event in found)
        return tuple(events.values()), {LEFT_OUT: left_out} if left_out else {}


def size_of(event: Event) -> int:
    """About how many bytes an event has, as JSON."""
    try:
        return _OUTSIDE + len(_encoded(event.body))
    except (ValueError, TypeError, OverflowError):  # what JSON has no word for: half a surrogate pair
        return _OUTSIDE + len(repr(event.body))
