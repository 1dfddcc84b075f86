"""The recorder between a real broker and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from divertor.bus import Bus
from divertor.errors import UnavailableError
from divertor.model.events import Event
from divertor.store import EventQuery, EventStore, Recorder

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
EVERYTHING = EventQuery(limit=1000, newest_first=False)


def event(number: int) -> Event:
    return Event(f"{number:032x}", "log", NOON, NOON, body={"number": number})


@asynccontextmanager
async def recording(broker: Any, path: Path) -> AsyncIterator[tuple[Bus, EventStore, Recorder]]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    store = await EventStore.open(path / "events.duckdb", memory_limit="64MB")
    recorder = Recorder(bus, store)
    task = asyncio.ensure_future(recorder.run())
    try:
        async with asyncio.timeout(20):
            yield bus, store, recorder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.close()
        await bus.close()


async def numbers(store: EventStore) -> list[int]:
    return [one.body["number"] for one in await store.query(EVERYTHING)]


async def test_what_is_published_is_recorded(broker: Any, tmp_path: Path) -> None:
    async with recording(broker, tmp_path) as (bus, store, recorder):
        await recorder.recorded(await bus.publish([event(n) for n in range(700)]))
        assert await numbers(store) == list(range(700))


async def test_a_second_start_records_only_what_is_new(broker: Any, tmp_path: Path) -> None:
    async with recording(broker, tmp_path) as (bus, _, recorder):
        await recorder.recorded(await bus.publish([event(1)]))
    async with recording(broker, tmp_path) as (bus, store, recorder):
        await recorder.recorded(await bus.publish([event(2)]))
        assert await numbers(store) == [1, 2]


async def test_recording_goes_on_after_the_broker_was_killed(broker: Any, tmp_path: Path) -> None:
    async with recording(broker, tmp_path) as (bus, store, recorder):
        for number in range(30):
            if number % 10 == 5:
                broker.kill()
                broker.start()
            last = await bus.publish([event(number)], timeout=10)
        await recorder.recorded(last)
        assert await numbers(store) == list(range(30))


async def test_a_wiped_broker_does_not_hide_new_events(broker: Any, tmp_path: Path) -> None:
    async with recording(broker, tmp_path) as (bus, store, recorder):
        for number in range(3):
            await recorder.recorded(await bus.publish([event(number)]))
        broker.kill()
        broker.wipe()
        broker.start()
        await bus.publish([event(9)], timeout=10)
        while await store.count(EVERYTHING) < 4:  # each look is an answer of the database
            pass
        assert await numbers(store) == [0, 1, 2, 9]


async def test_a_store_that_cannot_write_is_tried_again(broker: Any, tmp_path: Path) -> None:
    class Full(EventStore):
        failures = 2

        async def append(self, *arguments: Any) -> int:
            if self.failures:
                self.failures -= 1
                raise UnavailableError("no space left")
            return await super().append(*arguments)

    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    bus = await Bus.connect(broker.url, broker.password, "test")
    store = await Full.open(tmp_path / "events.duckdb")
    recorder = Recorder(bus, store, wait)
    task = asyncio.ensure_future(recorder.run())
    await recorder.recorded(await bus.publish([event(1)]))
    assert (len(waits), recorder.trouble, await store.count(EVERYTHING)) == (2, "", 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()
    await bus.close()
