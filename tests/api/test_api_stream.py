"""Server-sent events, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from divertor.api import server
from divertor.api.stream import MAX_STREAMS, Streams, message
from divertor.errors import UnavailableError
from divertor.model.events import Event, parse_time

pytestmark = pytest.mark.anyio

NOW = parse_time("2026-01-31T12:00:00Z")


def event(id: str, type: str = "detection", *tags: str, minutes: int = 0) -> Event:
    moment = NOW + timedelta(minutes=minutes)
    return Event(id, type, moment, moment, tags=tags)


@asynccontextmanager
async def served(stack: Any) -> AsyncIterator[str]:
    """The application behind a real web server; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    web = server(stack.app)
    task = asyncio.create_task(web.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        web.should_exit = True
        await task


@asynccontextmanager
async def watching(stack: Any, query: str = "", last_id: str = "") -> AsyncIterator[AsyncIterator[str]]:
    """The lines of a stream that is open, after its greeting."""
    headers = {"last-event-id": last_id} if last_id else {}
    async with (
        asyncio.timeout(20),
        served(stack) as address,
        stack.client(address=address) as client,
        client.stream("GET", f"/api/v1/events/stream{query}", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith(":")
        yield lines


async def next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    async for line in lines:
        if line.startswith("data: "):
            found: dict[str, Any] = json.loads(line[len("data: ") :])
            return found
    raise AssertionError("the stream ended")


async def test_an_event_arrives_as_it_happens(stack: Any) -> None:
    async with watching(stack) as lines:
        await stack.feed.publish([event("one")])
        assert await next_event(lines) == event("one").to_json()


async def test_a_filter_lets_only_what_fits_through(stack: Any) -> None:
    async with watching(stack, "?type=isolation&tags=deployment") as lines:
        await stack.feed.publish(
            [event("one"), event("two", "isolation"), event("three", "isolation", "deployment:shop")]
        )
        assert (await next_event(lines))["id"] == "three"


async def test_a_client_that_comes_back_gets_what_it_missed(stack: Any) -> None:
    await stack.feed.publish([event("old"), event("last", minutes=1), event("missed", minutes=2)])
    async with watching(stack, last_id="last") as lines:
        assert (await next_event(lines))["id"] == "missed"
        await stack.feed.publish([event("new", minutes=3)])
        assert (await next_event(lines))["id"] == "new"


async def test_an_unknown_last_event_starts_now(stack: Any) -> None:
    await stack.feed.publish([event("old")])
    async with watching(stack, last_id="nothing") as lines:
        await stack.feed.publish([event("new")])
        assert (await next_event(lines))["id"] == "new"


async def test_a_client_that_left_is_forgotten(stack: Any) -> None:
    async with watching(stack):
        assert len(stack.feed.live._watchers) == 1
    assert not stack.feed.live._watchers


async def test_silence_is_filled_with_comments(stack: Any) -> None:
    texts = Streams().stream(stack.feed, lambda _: True, "", keep_alive=0.01)
    assert [await anext(texts) for _ in range(2)] == [": here is what happens\n\n", ": still here\n\n"]
    await texts.aclose()  # type: ignore[attr-defined]


async def test_a_slow_client_is_told_what_it_missed(stack: Any) -> None:
    texts = Streams().stream(stack.feed, lambda _: True, "")
    await anext(texts)
    stack.feed.live.tell([event(str(number)) for number in range(1100)])
    assert await anext(texts) == ": 100 events came too fast for this client\n\n"
    assert "id: 100\n" in await anext(texts)
    await texts.aclose()  # type: ignore[attr-defined]


async def test_too_many_streams_are_refused(stack: Any) -> None:
    streams = Streams()
    held = [streams.stream(stack.feed, lambda _: True, "") for _ in range(MAX_STREAMS)]
    for each in held:
        streams.admit()
        await anext(each)
    with pytest.raises(UnavailableError):
        streams.admit()
    for each in held:
        await each.aclose()  # type: ignore[attr-defined]
    streams.admit()


def test_an_event_cannot_forge_another_one() -> None:
    forged = message(event("x\n\ndata: {}", "t\ndata: {}"))
    assert forged.count("\n") == 4


async def test_the_server_ends_although_somebody_watches(stack: Any) -> None:
    async with asyncio.timeout(10), AsyncExitStack() as open_ones:
        async with served(stack) as address:
            client = await open_ones.enter_async_context(stack.client(address=address))
            stream = client.stream("GET", "/api/v1/events/stream")
            answer = await open_ones.enter_async_context(stream)
            await anext(answer.aiter_lines())
    assert not stack.feed.live._watchers
