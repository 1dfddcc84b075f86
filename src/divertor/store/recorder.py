"""The recorder: follows the bus into the event store, from where it last stopped.

It keeps up by writing what has gathered in one transaction, and goes on after anything: a broker restart
(the bus sees to it), a full disk (it tries again until there is room).
"""

from __future__ import annotations

import asyncio
import contextlib
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
    """Run it as one task: `await Recorder(bus, store).run()`.

    A transaction costs the same for one event as for a hundred, so what arrives within `linger` seconds is
    written together. `sleep` is how it waits between two attempts to write.
    """

    def __init__(
        self,
        bus: Bus,
        store: EventStore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        linger: float = 0.2,
    ) -> None:
        self._bus = bus
        self._store = store
        self._sleep = sleep
        self._linger = linger
        self._gathered: list[Event] = []
        self._reached = ("", 0)  # epoch and sequence up to which events were gathered
        self._recorded = 0
        self._progress = asyncio.Condition()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._writing = asyncio.Lock()
        #: Why nothing is being recorded at the moment; empty when all is well.
        self.trouble = ""

    async def run(self) -> None:
        """Follow the bus for ever.

        :raises UnavailableError: the bus was closed.
        """
        epoch = (await self._bus.position()).epoch
        batches = self._bus.events(await self._store.last_seq(epoch) + 1)
        writer = asyncio.create_task(self._write_what_gathers())
        try:
            async for batch in batches:
                await self._take(batch)
        finally:
            writer.cancel()
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
        self._arrived.set()
        if len(self._gathered) >= _TRANSACTION:
            self._full.set()
            await self._write()

    async def _write_what_gathers(self) -> None:
        while True:
            await self._arrived.wait()
            self._full.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger):
                    await self._full.wait()
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            if not self._arrived.is_set():
                return  # somebody has just written it
            self._arrived.clear()
            epoch, seq = self._reached
            events, self._gathered = self._gathered, []
            await self._store_all(seq, events, epoch)

    async def _store_all(self, seq: int, events: list[Event], epoch: str) -> None:
        while True:
            try:
                await self._store.append(seq, events, epoch)
                break
            except UnavailableError as problem:
                if self.trouble != str(problem):
                    log.error("events are not being recorded: %s", problem)
                self.trouble = str(problem)
                await self._sleep(_RETRY)
        self.trouble = ""
        async with self._progress:
            self._recorded = seq
            self._progress.notify_all()
