"""Falcon, under WSGI (`app`) and ASGI (`async_app`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi

from .shop import find, find_in_pool, pieces


class LookUp:
    def on_post(self, request: Any, response: Any) -> None:
        response.text = find(request.get_media()["name"])


class InPool:
    def on_get(self, request: Any, response: Any) -> None:
        response.text = find_in_pool(request.get_param("name"))


class Stream:
    def on_get(self, request: Any, response: Any) -> None:
        response.stream = pieces(request.get_param("name"))


class AsyncLookUp:
    async def on_post(self, request: Any, response: Any) -> None:
        response.text = find((await request.get_media())["name"])


class AsyncInPool:
    async def on_get(self, request: Any, response: Any) -> None:
        loop = asyncio.get_running_loop()
        response.text = await loop.run_in_executor(None, find, request.get_param("name"))


class AsyncStream:
    async def on_get(self, request: Any, response: Any) -> None:
        async def sent() -> AsyncIterator[bytes]:
            for piece in pieces(request.get_param("name")):
                yield piece

        response.stream = sent()


app = falcon.App()
app.add_route("/find", LookUp())
app.add_route("/pool", InPool())
app.add_route("/stream", Stream())
async_app = falcon.asgi.App()
async_app.add_route("/find", AsyncLookUp())
async_app.add_route("/pool", AsyncInPool())
async_app.add_route("/stream", AsyncStream())
