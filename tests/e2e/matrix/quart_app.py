"""Quart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, request
from quart.utils import run_sync

from .shop import find, pieces

app = Quart(__name__)


@app.post("/find")
async def look_up() -> str:
    return find((await request.form)["name"])


@app.get("/pool")
async def in_pool() -> Any:
    return await run_sync(find)(request.args["name"])


@app.get("/stream")
async def stream() -> Any:
    async def sent(name: str) -> AsyncIterator[bytes]:
        for piece in pieces(name):
            yield piece

    return sent(request.args["name"])
