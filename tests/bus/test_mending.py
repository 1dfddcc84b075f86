"""A broker that stores nothing more although there is room is started anew."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.bus import Bus, mend, mending
from divertor.bus.mending import ROOM
from divertor.errors import NotFoundError, UnavailableError
from divertor.model.events import Event

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SENT = Event("a", "log", NOON, NOON, ("i",))


async def refused(broker: Any, bus: Bus) -> None:
    """The broker is there, and leaves a publisher without an answer."""
    broker.signal(signal.SIGSTOP)
    with pytest.raises(UnavailableError):
        await bus.publish([SENT], timeout=0.2)
    assert bus.refuses


async def test_it_is_restarted_and_stores_again(broker: Any) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    restarted = asyncio.Event()

    async def restart() -> None:
        broker.kill()
        broker.start()
        restarted.set()

    await refused(broker, bus)
    task = asyncio.create_task(mend(bus, lambda: ROOM, restart, interval=0.01))
    async with asyncio.timeout(10):
        await restarted.wait()
        assert await bus.publish([SENT]) == 1
    assert not bus.refuses
    task.cancel()
    await bus.close()


@pytest.mark.parametrize("full", [True, False])
async def test_it_is_left_alone_while_the_disk_is_full_or_it_stores(broker: Any, full: bool) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    restarted = asyncio.Event()

    async def restart() -> None:
        restarted.set()

    if full:
        await refused(broker, bus)
    task = asyncio.create_task(mend(bus, lambda: 0 if full else ROOM, restart, interval=0.01))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(restarted.wait(), 0.2)
    task.cancel()
    broker.signal(signal.SIGCONT)
    await bus.close()


async def test_a_supervisor_that_refuses_is_asked_again(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "REST", 1)
    bus = await Bus.connect(broker.url, broker.password, "test")
    asked = asyncio.Queue[None]()

    async def restart() -> None:
        asked.put_nowait(None)
        raise NotFoundError("there is no process named nats")

    await refused(broker, bus)
    task = asyncio.create_task(mend(bus, lambda: ROOM, restart, interval=0.01))
    async with asyncio.timeout(10):
        await asked.get()
        await asked.get()
    task.cancel()
    await bus.close()
