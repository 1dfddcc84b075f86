"""What was taken lately, so that a batch a sender repeats (because an answer got lost) is not taken twice.

A bounded memory of ids, in order of arrival; it forgets the oldest. One per process that takes events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from divertor.model.events import Event


class RecentIds:
    """Ask `fresh` before publishing, tell `remember` after the broker has acknowledged."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._ids: dict[str, None] = {}

    def fresh(self, events: Sequence[Event]) -> list[Event]:
        """The events not seen lately, each id once."""
        unique: dict[str, Event] = {}
        for event in events:
            unique.setdefault(event.id, event)
        return [event for event in unique.values() if event.id not in self._ids]

    def remember(self, events: Iterable[Event]) -> None:
        """Take note of them."""
        for event in events:
            self._ids.pop(event.id, None)
            self._ids[event.id] = None
        while len(self._ids) > self._capacity:
            del self._ids[next(iter(self._ids))]
