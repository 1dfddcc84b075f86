"""Events as they happen, for anybody who watches; bounded, so that a slow watcher costs nobody else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from divertor.model.events import Event

#: Events a watcher may be behind before it misses the oldest.
BACKLOG = 1000


class Watcher:
    """One who watches. `dropped` counts what was missed."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0

    def offer(self, events: Iterable[Event]) -> None:
        for event in events:
            if len(self._waiting) >= BACKLOG:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(event)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()


class Live:
    """Hands every event to every watcher."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def tell(self, events: Iterable[Event]) -> None:
        found = list(events)
        for watcher in self._watchers:
            watcher.offer(found)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """A watcher of everything from now on, until the block is left."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
