"""The bus against a real broker that is killed while it is used."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvloop

from divertor.bus import Batch, Bus, link
from divertor.bus.connection import BATCH
from divertor.errors import InputError, UnavailableError
from divertor.model.events import Event

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event(number: int, **body: Any) -> Event:
    return Event(f"{number:032x}", "log", NOON, NOON, body={"number": number, **body})


def numbers(batches: Sequence[Batch]) -> list[int]:
    return [one.body["number"] for batch in batches for one in batch.events]


@asynccontextmanager
async def connected(broker: Any, **options: Any) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.url, broker.password, "test", **options)
    try:
        yield bus
    finally:
        await bus.close()


async def collect(bus: Bus, start: int | None, until: int) -> list[Batch]:
    """The batches from `start` on, up to the one that holds event number `until`."""
    found: list[Batch] = []
    async with asyncio.timeout(20):
        async for batch in bus.events(start):
            found.append(batch)
            if until in numbers([batch]):
                break
    return found


async def test_an_event_comes_back_as_it_was_published(broker: Any) -> None:
    sent = Event(
        "a1", "detection", NOON, NOON, ("i",), ("a:b",), 1.5, {"text": "é\n\ud800\x00", "n": [1, None]}
    )
    async with connected(broker) as bus:
        await bus.publish([sent])
        async with asyncio.timeout(5):
            batch = await anext(bus.events(1))
    assert batch.events == (sent,)


async def test_following_from_now_on_leaves_out_what_was_before(broker: Any) -> None:
    async with connected(broker) as bus:
        await bus.publish([event(1)])
        follower = bus.events(None)
        first = asyncio.ensure_future(anext(follower))
        while not first.done():  # the follower is there when something published afterwards reaches it
            await bus.publish([event(2)])
            await asyncio.wait([first], timeout=0.05)
            await bus.publish([event(3)])
        await follower.aclose()
    assert numbers([first.result()]) != [1]


async def test_many_events_travel_in_few_messages(broker: Any) -> None:
    async with connected(broker) as bus:
        assert await bus.publish([event(n) for n in range(2 * BATCH + 1)]) == 3
        batches = await collect(bus, 1, 2 * BATCH)
    assert [len(batch.events) for batch in batches] == [BATCH, BATCH, 1]


async def test_pending_tells_how_far_behind_a_follower_is(broker: Any) -> None:
    async with connected(broker) as bus:
        for number in range(3):
            await bus.publish([event(number)])
        batches = await collect(bus, 1, 2)
    assert [batch.pending for batch in batches] == [2, 1, 0]


async def test_the_same_events_published_twice_are_stored_once(broker: Any) -> None:
    async with connected(broker) as bus:
        first = await bus.publish([event(1), event(2)])
        assert await bus.publish([event(1), event(2)]) == first
        assert (await bus.position()).last == first


async def test_nothing_acknowledged_is_lost_or_doubled_when_the_broker_is_killed(broker: Any) -> None:
    acknowledged: list[int] = []
    async with connected(broker) as bus:
        reader = asyncio.ensure_future(collect(bus, 1, 599))

        async def publish(start: int) -> None:
            for number in range(start, 600, 4):
                await bus.publish([event(number)], timeout=20)
                acknowledged.append(number)
                if len(acknowledged) in (100, 300, 500):
                    broker.kill()
                    broker.start()

        await asyncio.gather(*(publish(start) for start in range(3)))
        await publish(3)
        read = numbers(await reader)
    assert sorted(acknowledged) == list(range(600)) == sorted(read)


async def test_a_follower_goes_on_after_a_restart_of_the_broker(broker: Any) -> None:
    async with connected(broker) as bus:
        await bus.publish([event(1)])
        follower = bus.events(1)
        async with asyncio.timeout(20):
            assert numbers([await anext(follower)]) == [1]
            broker.kill()
            broker.start()
            await bus.publish([event(2)], timeout=10)
            assert numbers([await anext(follower)]) == [2]
        await follower.aclose()


async def test_a_start_that_retention_removed_begins_at_the_oldest(broker: Any) -> None:
    async with connected(broker, max_bytes=100_000) as bus:
        for number in range(40):
            await bus.publish([event(number, pad="x" * 9_000)])
        oldest = (await bus.position()).first
        batches = await collect(bus, 1, 39)
    assert oldest > 1
    assert [batch.seq for batch in batches] == list(range(oldest, 41))


async def test_a_wiped_broker_is_told_by_another_epoch_and_followed_from_its_start(broker: Any) -> None:
    async with connected(broker) as bus:
        for number in range(5):
            await bus.publish([event(number)])
        follower = bus.events(5)
        async with asyncio.timeout(20):
            before = await anext(follower)
            broker.kill()
            broker.wipe()
            broker.start()
            await bus.publish([event(77)], timeout=10)
            after = await anext(follower)
        await follower.aclose()
    assert (after.seq, numbers([after])) == (1, [77])
    assert after.epoch != before.epoch


async def test_publishing_without_a_broker_says_so_in_time(broker: Any) -> None:
    async with connected(broker) as bus:
        broker.kill()
        with pytest.raises(UnavailableError, match="did not answer within 0.2 s"):
            await bus.publish([event(1)], timeout=0.2)
        assert not bus.connected


async def test_a_frozen_broker_costs_the_timeout_and_the_same_publish_succeeds_later(broker: Any) -> None:
    async with connected(broker) as bus:
        broker.signal(signal.SIGSTOP)
        with pytest.raises(UnavailableError, match="did not answer within 0.2 s"):
            await bus.publish([event(1)], timeout=0.2)
        broker.signal(signal.SIGCONT)
        last = await bus.publish([event(1)], timeout=10)
        assert (last, (await bus.position()).last) == (1, 1)


async def test_a_backlog_larger_than_the_brokers_window_is_read_whole(broker: Any) -> None:
    """40 MB: more than the broker sends before it waits for the reader."""
    async with connected(broker) as bus:
        for number in range(100):
            await bus.publish([event(number, pad="x" * 400_000)])
        read = numbers(await collect(bus, 1, 99))
    assert read == list(range(100))


async def test_connecting_without_a_broker_says_so_in_time(broker: Any) -> None:
    broker.kill()
    with pytest.raises(UnavailableError, match="is nats-server running"):
        await Bus.connect(broker.url, broker.password, "test", timeout=0.3)


async def test_a_wrong_password_is_refused(broker: Any) -> None:
    async with connected(broker):
        with pytest.raises(UnavailableError, match="(?i)authorization"):
            await Bus.connect(broker.url, "wrong", "test", timeout=1)


async def test_closing_the_bus_ends_its_followers(broker: Any) -> None:
    async with connected(broker) as bus:
        await bus.publish([event(1)])
        follower = bus.events(1)
        await anext(follower)
        waiting = asyncio.ensure_future(anext(follower))
        await bus.close()
        with pytest.raises(UnavailableError):
            await waiting


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
async def test_an_event_that_is_no_json_is_refused(broker: Any, value: object) -> None:
    async with connected(broker) as bus:
        with pytest.raises(InputError, match="cannot be written as JSON"):
            await bus.publish([event(1, value=value)])


async def test_a_line_that_is_no_event_does_not_stop_those_behind_it(broker: Any) -> None:
    async with connected(broker) as bus:
        await bus.link.ask("divertor.events.batch", b"no json\n[]\n" + b"[" * 5000)
        await bus.publish([event(2)])
        assert numbers(await collect(bus, 1, 2)) == [2]


async def size_of(bus: Bus) -> int:
    """MiB of the event stream."""
    config = (await bus.link.api("STREAM.INFO.EVENTS"))["config"]
    return int(config["max_bytes"]) >> 20


async def test_where_the_broker_may_store_little_the_event_stream_is_smaller(broker: Any) -> None:
    broker.kill()
    broker.store_mib = 100
    broker.start()
    async with connected(broker) as bus:
        assert await size_of(bus) == 64


async def test_a_restart_leaves_a_small_event_stream_as_large_as_it_is(broker: Any) -> None:
    broker.kill()
    broker.store_mib = 100
    for _ in range(2):
        broker.start()
        async with connected(broker) as bus:
            assert await bus.publish([event(1)]) == 1
            assert await size_of(bus) == 64
        broker.kill()


async def test_a_small_event_stream_grows_when_there_is_room(broker: Any) -> None:
    broker.kill()
    for broker.store_mib, size in ((100, 64), (5120, 1024)):
        broker.start()
        async with connected(broker) as bus:
            assert await size_of(bus) == size
        broker.kill()


async def test_a_tick_is_a_batch_without_events_and_stored_once_per_name(broker: Any) -> None:
    async with connected(broker) as bus:
        for _ in range(3):
            await bus.tick("1767355200")
        await bus.publish([event(1)])
        tick, batch = await collect(bus, 1, 1)
    assert tick.events == () and batch.events
    assert 0 < tick.stored <= batch.stored


async def test_the_first_message_since_a_moment_is_found(broker: Any) -> None:
    async with connected(broker) as bus:
        assert await bus.since(NOON) == 1
        for number in range(9):
            await bus.publish([event(number)])
        batches = await collect(bus, 1, 8)
        moments = [EPOCH + timedelta(microseconds=batch.stored) for batch in batches]
        assert [await bus.since(moment) for moment in moments] == list(range(1, 10))
        assert await bus.since(moments[-1] + timedelta(seconds=1)) == 10


async def test_a_socket_that_closed_unnoticed_costs_no_more_than_another_attempt(broker: Any) -> None:
    async with connected(broker) as bus:
        transport_of(bus).abort()
        assert await bus.publish([event(1)]) == 1


async def test_a_client_that_has_gone_deaf_is_replaced(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ECHO_INTERVAL", 0.05)
    monkeypatch.setattr(link, "ECHO_PATIENCE", 0.1)
    async with connected(broker) as bus:
        client: Any = bus.link.client
        client._transport._io_reader.feed_data = lambda _: None
        assert await bus.publish([event(1)]) == 1


async def test_a_broker_that_reads_nothing_delays_the_end_for_a_second_at_most(broker: Any) -> None:
    async with connected(broker) as bus:
        broker.signal(signal.SIGSTOP)
        writing = [asyncio.ensure_future(bus.publish([event(n, pad="x" * 2_000_000)])) for n in range(8)]
        await asyncio.wait(writing, timeout=0.05)
        assert transport_of(bus).get_write_buffer_size()  # the socket is full
        async with asyncio.timeout(2.0):
            await bus.close()
        ended = await asyncio.gather(*writing, return_exceptions=True)
    assert {type(each) for each in ended} == {UnavailableError}


def test_connecting_that_is_cancelled_at_any_moment_ends_and_leaves_nothing_open(broker: Any) -> None:
    """A worker that lost the cancellation, or a loop that cannot be closed for a socket, would never end."""

    async def connect_until(step: int) -> bool:
        """Whether it was cancelled; False: it was through."""
        connecting = asyncio.ensure_future(Bus.connect(broker.url, broker.password, "test"))
        for _ in range(step):
            await asyncio.sleep(0)
        threading.Event().wait(0.002)  # the loop stands still: the answer and the end come together
        connecting.cancel()
        done, _ = await asyncio.wait([connecting], timeout=10)
        if not done or connecting.cancelled():
            return bool(done)
        await connecting.result().close()
        return False

    async def connect_again_and_again() -> int:
        return sum([await connect_until(step) for step in range(1, 16)])

    assert uvloop.run(connect_again_and_again()) > 10


async def test_a_cancellation_is_not_lost_in_what_swallows_it() -> None:
    async def swallow() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(link.heed(swallow()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


def transport_of(bus: Bus) -> asyncio.WriteTransport:
    client: Any = bus.link.client
    transport: asyncio.WriteTransport = client._transport._io_writer.transport
    return transport
