"""aiohttp's own server."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .shop import find, pieces


async def look_up(request: web.Request) -> web.Response:
    return web.Response(text=find(str((await request.post())["name"])))


async def in_pool(request: web.Request) -> web.Response:
    loop = asyncio.get_running_loop()
    return web.Response(text=await loop.run_in_executor(None, find, request.query["name"]))


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces(request.query["name"]):
        await response.write(piece)
    await response.write_eof()
    return response


def make(arguments: list[str] | None = None) -> web.Application:
    app = web.Application()
    app.add_routes(
        [web.post("/find", look_up), web.get("/pool", in_pool), web.get("/stream", stream)],
    )
    return app


async def made() -> web.Application:
    return make()
