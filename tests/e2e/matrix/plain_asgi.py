"""ASGI and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from .shop import find, pieces

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await _answer(scope["path"], scope["query_string"].decode(), receive, send)
    await send({"type": "http.response.body", "body": b""})


async def _answer(path: str, query: str, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    if path == "/find":
        await _send(send, find(parse_qs(await _body(receive))["name"][0]).encode())
        return
    name = parse_qs(query)["name"][0]
    if path == "/pool":
        await _send(send, (await asyncio.to_thread(find, name)).encode())
        return
    for piece in pieces(name):
        await _send(send, piece)


async def _send(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
    await asyncio.sleep(0)


async def _body(receive: Callable[[], Awaitable[Any]]) -> str:
    found, more = b"", True
    while more:
        message = await receive()
        found += message.get("body", b"")
        more = message.get("more_body", False)
    return found.decode()
