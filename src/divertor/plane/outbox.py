"""Events of the control plane's own on their way to the broker: kept while it is away, so that nobody waits.

Nothing here is on disk: what is put has not been acknowledged to anybody.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from divertor.bus import Bus
from divertor.errors import InputError, UnavailableError
from divertor.model.events import Event

log = logging.getLogger("divertor")

#: Events that wait for the broker at most; the oldest go first, with a count.
BUFFER = 10000
#: Events sent at once, and seconds between two attempts at a broker that refuses.
BATCH = 500
AGAIN = 0.1


class Outbox:
    """The way to the broker."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: list[Event] = []
        self._wake = asyncio.Event()
        self.dropped = 0

    async def publish(self, events: list[Event]) -> None:
        self.put(events)

    def put(self, events: list[Event]) -> None:
        """Takes events on their way; answers at once."""
        self._waiting.extend(events)
        if len(self._waiting) > BUFFER:
            self.dropped += len(self._waiting) - BUFFER
            del self._waiting[:-BUFFER]
        self._wake.set()

    async def run(self) -> None:
        """Sends for ever.

        :raises UnavailableError: the bus was closed.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._bus.ready()
                try:
                    await self._send()
                except UnavailableError:
                    await asyncio.sleep(AGAIN)

    async def flush(self, seconds: float) -> None:
        """Send what waits, in `seconds` at most; what is left then is told of and lost."""
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting and self._bus.connected:
                    await self._send()
        if self._waiting:
            log.error("%d events of our own did not reach the broker", len(self._waiting))

    async def _send(self) -> None:
        batch = self._waiting[:BATCH]
        try:
            await self._bus.publish(batch)
        except InputError as problem:
            log.error("an event of our own is not publishable: %s", problem)
        sent = set(map(id, batch))
        self._waiting = [event for event in self._waiting if id(event) not in sent]
