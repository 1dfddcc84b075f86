"""Which of several workers speaks, and up to where in the stream everything was said.

Every worker judges the whole stream, so that any of them can take over at once. One leads: what it finds goes
into the outbox. Its document in the broker says until when it leads and up to which message of the stream
nothing is left to be said (the frontier). Who leads next begins there. The document is renewed long before it
runs out; a worker that was killed and is started again leads at once, because it is known by its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from divertor.bus import State
from divertor.errors import ConflictError, UnavailableError

log = logging.getLogger("divertor.rules")

KIND = "rules-lead"
NAME = "rules"
#: Seconds for which a worker leads, and between two renewals.
LEASE = 5.0
RENEWAL = 1.0


class Lead:
    """The document, as seen by the worker `me`."""

    def __init__(
        self,
        state: State,
        me: str,
        wall: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.me = me
        self._state = state
        self._wall = wall
        self._sleep = sleep
        self._revision = 0
        self._until = 0.0
        self._said = 0
        self._epoch = ""
        self._lock = asyncio.Lock()
        #: The frontier that is recorded, and the stream it is of.
        self.frontier = 0
        self.epoch = ""
        #: Who leads, as far as is known.
        self.holder = ""

    @property
    def leads(self) -> bool:
        """Whether this worker leads."""
        return self.holder == self.me and self._wall().timestamp() < self._until

    async def begin(self) -> None:
        """Read where things stand, and lead if nobody does.

        :raises UnavailableError: the broker does not answer.
        """
        await self._read()
        await self._renew()

    def said(self, epoch: str, seq: int) -> None:
        """Everything up to there is in the outbox; to be recorded with the next renewal."""
        if epoch != self._epoch:
            self._epoch, self._said = epoch, 0
        self._said = max(self._said, seq)

    async def record(self) -> None:
        """Record what was said now, if this worker leads; otherwise learn what the leader recorded.

        :raises UnavailableError: the broker does not answer.
        """
        await self._renew()

    async def run(self, gained: Callable[[], Awaitable[None]]) -> None:
        """Leads, or waits until it may, for ever; `gained` is called again and again while it leads."""
        led = False
        while True:
            try:
                await self._renew()
            except UnavailableError as problem:
                log.warning("who leads is not known: %s", problem)
            if self.leads != led:
                led = self.leads
                log.info("%s %s the rules", self.me, "leads" if led else "no longer leads")
            if led:
                await gained()
            await self._sleep(RENEWAL)

    async def resign(self) -> None:
        """Let another worker lead at once."""
        if self.leads:
            with contextlib.suppress(UnavailableError, ConflictError):
                async with self._lock:
                    await self._write(0.0)

    async def _renew(self) -> None:
        async with self._lock:
            now = self._wall().timestamp()
            if self.holder != self.me:
                await self._read()
            if self.holder not in ("", self.me) and now < self._until:
                return
            try:
                await self._write(now + LEASE)
            except ConflictError:
                await self._read()

    async def _read(self) -> None:
        entry = await self._state.get(KIND, NAME)
        if entry is None:
            self._revision, self.holder, self._until, self.frontier, self.epoch = 0, "", 0.0, 0, ""
            return
        value = entry.value
        self._revision = entry.revision
        self.holder, self._until = str(value.get("holder", "")), float(value.get("until", 0.0))
        self.epoch, self.frontier = str(value.get("epoch", "")), int(value.get("seq", 0))

    async def _write(self, until: float) -> None:
        epoch, seq = self.epoch, self.frontier
        if self._epoch and (self._epoch != epoch or self._said > seq):
            epoch, seq = self._epoch, self._said
        value = {"holder": self.me, "until": until, "epoch": epoch, "seq": seq}
        self._revision = await self._state.put(KIND, NAME, value, expect=self._revision)
        self.holder, self._until, self.epoch, self.frontier = self.me, until, epoch, seq
