"""Ready checks against real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from divertor.runtime.ports import pick_port
from divertor.runtime.process import ReadyCheck, ReadyKind
from divertor.runtime.ready import probe, wait_ready

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _answering(status: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    return handle


async def _probe_http(status: bytes) -> bool:
    server = await asyncio.start_server(_answering(status), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await probe(ReadyCheck(ReadyKind.HTTP, port=port, path="/ready"))


def test_http_200_is_ready() -> None:
    assert asyncio.run(_probe_http(b"200 OK"))


def test_any_other_status_is_not() -> None:
    assert not asyncio.run(_probe_http(b"503 Service Unavailable"))


def test_http_works_over_a_unix_socket(tmp_path: Path) -> None:
    async def scenario() -> bool:
        path = str(tmp_path / "s")
        async with await asyncio.start_unix_server(_answering(b"200 OK"), path):
            return await probe(ReadyCheck(ReadyKind.HTTP, socket=path))

    assert asyncio.run(scenario())


def test_a_port_that_accepts_is_ready_and_one_that_does_not_is_not() -> None:
    async def scenario() -> tuple[bool, bool]:
        async def nothing(_reader: Any, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(nothing, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            up = await probe(ReadyCheck(ReadyKind.TCP, port=port))
        unused = pick_port(low=24000 + os.getpid() % 1000)
        return up, await probe(ReadyCheck(ReadyKind.TCP, port=unused))

    assert asyncio.run(scenario()) == (True, False)


def test_waiting_ends_when_the_file_appears(tmp_path: Path) -> None:
    async def scenario() -> bool:
        waiting = asyncio.create_task(wait_ready(ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "up"))))
        await asyncio.sleep(0)
        (tmp_path / "up").touch()
        return await waiting

    assert asyncio.run(scenario())


def test_waiting_ends_with_the_timeout(tmp_path: Path) -> None:
    check = ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "never"), timeout=0.05)
    assert not asyncio.run(wait_ready(check))
