"""Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, MediaType, Request, get, post
from litestar.response import Stream

from .shop import find, pieces


@post("/find", media_type=MediaType.TEXT, status_code=200)
async def look_up(request: Request[Any, Any, Any]) -> str:
    return find(str((await request.form())["name"]))


@get("/pool", media_type=MediaType.TEXT, sync_to_thread=True)
def in_pool(name: str) -> str:
    return find(name)


@get("/stream")
async def stream(name: str) -> Stream:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces(name):
            yield piece

    return Stream(sent())


app = Litestar([look_up, in_pool, stream])
