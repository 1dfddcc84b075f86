"""What is learnt of everybody's requests: numbers every ten seconds, and some requests as events.

Apart from what concerns attackers, on purpose: another log, and another queue to the broker, so that a flood
of failures costs failures and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from divertor.control.metrics import Metrics, Running
from divertor.envoy.logging import UNLOGGED
from divertor.envoy.plan import Snapshot
from divertor.gateway.requests import Budget, RequestLog
from divertor.gateway.stats import Stats
from divertor.layout import Layout
from divertor.model.events import Event

log = logging.getLogger("divertor")


class Queue(Protocol):
    """The way to the broker."""

    dropped: int

    async def publish(self, events: list[Event]) -> None: ...

    async def run(self) -> None: ...


class Observing:
    """The request log followed, the counters read. `reopen` makes Envoy begin its logs anew."""

    def __init__(
        self,
        layout: Layout,
        running: Running,
        queue: Queue,
        reopen: Callable[[], Awaitable[None]],
        wall: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._reopen = reopen
        self._wall = wall
        self._log = RequestLog(layout.request_log)
        self._budget = Budget()
        self._full = False
        self._stats = Stats(str(layout.envoy_admin), time.monotonic, self._looked)
        self.metrics = Metrics(running, self._stats, queue.publish, wall)

    def serving(self, snapshot: Snapshot) -> None:
        """Envoy serves `snapshot`."""
        self.metrics.serving(snapshot)

    def status(self) -> dict[str, Any]:
        """What did not become an event: failures that came too fast for the log, samples beyond
        their budget, bytes of log that nobody caught up with, events that waited too long for the broker."""
        return {
            "failures_not_logged": self._stats.count(UNLOGGED),
            "sampled_not_told": self._budget.refused,
            "log_bytes_skipped": self._log.skipped,
            "events_dropped": self._queue.dropped,
        }

    async def run(self) -> None:
        """All of it, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for work in (self._queue.run(), self._stats.run(), self._follow()):
                tasks.create_task(work)

    async def _looked(self) -> None:
        await self.metrics.tell()

    async def _follow(self) -> None:
        async for batch in self._log.follow():
            kept = self._budget.within(batch, time.monotonic())
            await self._queue.publish([request.event(self._wall()) for request in kept])
            self._confirm()
            if self._log.is_large():
                self._log.put_aside()
                await self._reopen()

    def _confirm(self) -> None:
        """A full disk costs the position in the log, not the control plane; it is told once."""
        try:
            self._log.confirm()
            self._full = False
        except OSError as problem:
            if not self._full:
                self._full = True
                log.error("cannot write: %s", problem)
