"""Connections that say nothing, or take nothing, keep nobody else out. Real sockets, a real server."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from divertor.api import server
from divertor.api.connections import MOST, Places, places

pytestmark = pytest.mark.anyio

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[bytes], Awaitable[Peer]]
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` is answered at once, `/wait` never."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    while scope["path"] == "/wait":
        if (await receive())["type"] == "http.disconnect":
            return
    await send({"type": "http.response.body", "body": b"ok"})


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer without an end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


@asynccontextmanager
async def served(room: Places, what: object = app) -> AsyncIterator[Connect]:
    """Something to connect with, which says something at once."""
    listening = socket.create_server(("127.0.0.1", 0))
    web = server(what, room=room)  # type: ignore[arg-type]
    task = asyncio.create_task(web.serve([listening]))
    async with asyncio.timeout(20), AsyncExitStack() as open:

        async def connect(said: bytes) -> Peer:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            open.callback(writer.close)
            writer.write(said)
            return reader, writer

        try:
            yield connect
        finally:
            web.should_exit = True
            await task


async def answer(peer: Peer) -> bytes:
    """The status line, and the rest of the answer left behind; b"" when the connection was ended."""
    try:
        head = await peer[0].readuntil(b"\r\n\r\n")
        await peer[0].readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    return head.split(b"\r\n")[0]


async def ended(peer: Peer) -> bool:
    """Waits until the server has ended the connection."""
    try:
        while await peer[0].read(1 << 20):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_silent_connections_do_not_lock_out_a_request(said: bytes) -> None:
    async with served(Places(8)) as connect:
        silent = [await connect(said) for _ in range(30)]
        assert await answer(await connect(HELLO)) == b"HTTP/1.1 200 OK"
        assert await ended(silent[0])


async def test_kept_connections_that_had_their_answer_do_not_lock_out_a_request() -> None:
    async with served(Places(8)) as connect:
        for _ in range(30):
            assert await answer(await connect(HELLO)) == b"HTTP/1.1 200 OK"


async def test_a_request_under_way_is_not_displaced() -> None:
    async with served(Places(8)) as connect:
        waiting = await connect(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await waiting[0].readuntil(b"\r\n\r\n")
        silent = [await connect(b"") for _ in range(30)]
        assert await ended(silent[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting[0].read(1), 0.1)


async def test_when_all_are_busy_a_request_is_told_so() -> None:
    async with served(Places(4)) as connect:
        for _ in range(4):
            busy = await connect(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await busy[0].readuntil(b"\r\n\r\n")
        assert await answer(await connect(HELLO)) == b"HTTP/1.1 503 Service Unavailable"


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_does_not_arrive_ends_the_connection(said: bytes) -> None:
    async with served(Places(8, head=0.05)) as connect:
        assert await ended(await connect(said))


async def test_a_head_that_trickles_is_given_no_more_time() -> None:
    async with served(Places(8, head=0.2)) as connect:
        reader, writer = await connect(b"GET / HTTP/1.1\r\n")
        over = asyncio.ensure_future(ended((reader, writer)))
        while not over.done():
            writer.write(b"X: y\r\n")
            await asyncio.wait([over], timeout=0.02)
        assert over.result()


async def test_the_next_head_on_a_kept_connection_has_to_arrive_in_time_as_well() -> None:
    async with served(Places(8, head=0.05)) as connect:
        peer = await connect(HELLO)
        assert await answer(peer) == b"HTTP/1.1 200 OK"
        peer[1].write(b"GET / HTTP/1.1\r\n")
        assert await ended(peer)


async def test_a_body_that_trickles_after_the_answer_does_not_keep_the_connection() -> None:
    async with served(Places(8, head=0.05)) as connect:
        peer = await connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        assert await answer(peer) == b"HTTP/1.1 200 OK"
        peer[1].write(b"x")
        assert await ended(peer)


async def test_a_kept_connection_may_rest_between_its_requests() -> None:
    async with served(Places(8, head=0.05)) as connect:
        peer = await connect(HELLO)
        for _ in range(3):
            assert await answer(peer) == b"HTTP/1.1 200 OK"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(peer[0].read(1), 0.1)
            peer[1].write(HELLO)


async def test_who_takes_nothing_of_the_answer_is_let_go() -> None:
    async with served(Places(8, stall=0.1), endless) as connect:
        peer = await connect(HELLO)
        with pytest.raises(TimeoutError):  # its own buffer is soon full, and it takes nothing out of it
            await asyncio.wait_for(asyncio.Event().wait(), 0.5)
        assert await ended(peer)


def test_no_more_connections_than_half_of_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert places() == 128
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    assert places() == MOST
