"""After a full disk: the broker is started anew.

A stream that once met a full disk takes nothing more, not even when there is room again, and the broker
does not say so: it leaves publishers without an answer. Only a restart mends it (it takes milliseconds, and
loses nothing that was acknowledged). Who restarts it, and how much is free, are arguments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from divertor.bus.connection import Bus
from divertor.errors import DivertorError

log = logging.getLogger("divertor.bus")

#: Seconds between two looks.
INTERVAL = 0.5
#: Looks to leave out after a restart, so that a broker which is merely slow is not restarted over and over.
REST = 60
#: Bytes that must be free for a restart to be of use.
ROOM = 16 * 1024**2


async def mend(
    bus: Bus,
    free: Callable[[], int],
    restart: Callable[[], Awaitable[object]],
    interval: float = INTERVAL,
) -> None:
    """Restarts the broker when it refuses what it is to store although there is room; ends with cancellation.

    `free` tells the bytes that are free on the broker's disk.
    """
    while True:
        await asyncio.sleep(interval)
        if not bus.refuses or not _has_room(free):
            continue
        log.error("the broker stores nothing more although there is room: it is started anew")
        try:
            await restart()
        except DivertorError as problem:  # whatever it is: the next look may find it mended
            log.error("the broker cannot be started anew: %s", problem)
        await asyncio.sleep(interval * REST)


def _has_room(free: Callable[[], int]) -> bool:
    try:
        return free() >= ROOM
    except OSError as problem:
        log.error("how much room the broker has is not known: %s", problem)
        return False
