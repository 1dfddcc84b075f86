"""The recorder: follows the bus into the event store, from where it last stopped.

It keeps up by writing what has gathered in one transaction, and goes on after anything: a broker restart
(the bus sees to it), a full disk (it tries again until there is room).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from divertor.bus import Batch, Bus
from divertor.errors import UnavailableError
from divertor.model.events import Event
from divertor.store.events import EventStore

log = logging.getLogger("divertor.store")

#: Most events in one transaction; more would only cost memory.
_TRANSACTION = 2000
#: Seconds between two attempts to write to a store that cannot.
_RETRY = 1.0


class Recorder:
    """Run it as one task: `await Recorder(bus, store).run()`."""

    def __init__(
        self, bus: Bus, store: EventStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._bus = bus
        self._store = store
        self._sleep = sleep
        self._gathered: list[Event] = []
        self._reached = ("", 0)  # epoch and sequence up to which events were gathered
        self._recorded = 0
        self._progress = asyncio.Condition()
        #: Why nothing is being recorded at the moment; empty when all is well.
        self.trouble = ""

    async def run(self) -> None:
        """Follow the bus for ever.

        :raises UnavailableError: the bus was closed.
        """
        epoch = (await self._bus.position()).epoch
        batches = self._bus.events(await self._store.last_seq(epoch) + 1)
        try:
            async for batch in batches:
                await self._take(batch)
        finally:
            await batches.aclose()

    async def recorded(self, seq: int) -> None:
        """Return once stream sequence `seq` is in the store (for tests and for "read your own write")."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._recorded >= seq)

    async def _take(self, batch: Batch) -> None:
        if self._gathered and batch.epoch != self._reached[0]:
            await self._write()  # sequences of two streams do not mix in one transaction
        self._gathered.extend(batch.events)
        self._reached = (batch.epoch, batch.seq)
        if not batch.pending or len(self._gathered) >= _TRANSACTION:
            await self._write()

    async def _write(self) -> None:
        epoch, seq = self._reached
        while True:
            try:
                await self._store.append(seq, self._gathered, epoch)
                break
            except UnavailableError as problem:
                if self.trouble != str(problem):
                    log.error("events are not being recorded: %s", problem)
                self.trouble = str(problem)
                await self._sleep(_RETRY)
        self.trouble = ""
        self._gathered = []
        async with self._progress:
            self._recorded = seq
            self._progress.notify_all()
