"""Looks at Envoy's counters every ten seconds, and remembers the last five minutes.

Only names that matter are asked for (`metrics.PATTERN`), and of them only those that were ever used; Envoy's
main thread answers, not the workers that serve requests. Times are of an injected clock. While Envoy is away
there is nothing to remember, and what it counted anew is what happened since.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from divertor.errors import UnavailableError
from divertor.gateway.admin import Admin, EnvoyDown
from divertor.gateway.metrics import (
    PATTERN,
    Interval,
    Measured,
    Names,
    Sample,
    added,
    gauge,
    measured,
    parse_stats,
)

log = logging.getLogger("divertor.gateway")

#: Seconds between two looks.
PERIOD = 10.0
#: Intervals that are remembered.
HISTORY = 30


class Stats:
    """What Envoy counted. `looked` is awaited after each look that found something to compare with."""

    def __init__(
        self,
        socket: str,
        clock: Callable[[], float],
        looked: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._socket = socket
        self._admin = Admin(socket)
        self._clock = clock
        self._looked = looked
        self._sleep = sleep
        self._last: Sample | None = None
        self._intervals: deque[Interval] = deque(maxlen=HISTORY)
        #: Whether the last look found Envoy.
        self.connected = False

    async def run(self) -> None:
        """Looks, for ever; ends with cancellation."""
        try:
            while True:
                if await self.look():
                    await self._looked()
                await self._sleep(PERIOD)
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends the connection; the next look makes a new one."""
        await self._admin.close()
        self._admin = Admin(self._socket)

    async def look(self) -> bool:
        """One look; answers whether something new is known by it."""
        try:
            uptime = await self._admin.uptime()
            data = await self._admin.stats(PATTERN)
        except EnvoyDown:
            self.connected = False
            return False
        now = self._clock()
        sample = await asyncio.to_thread(parse_stats, data, now, now - uptime)
        before, self._last, self.connected = self._last, sample, True
        if before is None:
            return False
        self._intervals.append(await asyncio.to_thread(added, before, sample))
        return True

    @property
    def interval(self) -> Interval | None:
        """What the last look found to have happened."""
        return self._intervals[-1] if self._intervals else None

    def over(self, names: Names, seconds: float) -> Measured:
        """What happened in the last so many seconds: whole intervals, one at least."""
        return measured(self._recent(seconds), self._last, names)

    def health(self, names: Sequence[Names]) -> float | None:
        """The share (0 to 1) of the instances that are well; None when Envoy knows of no instance at all.

        :raises UnavailableError: Envoy is not there to say.
        """
        if not self.connected:
            raise UnavailableError("Envoy does not answer: what is well is not known")
        instances = sum(gauge(self._last, each.instances) for each in names)
        healthy = sum(gauge(self._last, each.healthy) for each in names)
        return healthy / instances if instances else None

    def count(self, name: str) -> int:
        """One of Envoy's counters, since its start."""
        return gauge(self._last, name)

    def _recent(self, seconds: float) -> list[Interval]:
        found: list[Interval] = []
        for each in reversed(self._intervals):
            found.append(each)
            seconds -= each.seconds
            # Looks are never quite on time.
            if seconds < PERIOD / 2:
                break
        return found
