"""Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .shop import find, pieces


async def look_up(request: Request) -> Response:
    return PlainTextResponse(find(str((await request.form())["name"])))


async def in_pool(request: Request) -> Response:
    return PlainTextResponse(await run_in_threadpool(find, request.query_params["name"]))


async def stream(request: Request) -> Response:
    return StreamingResponse(pieces(request.query_params["name"]))


app = Starlette(
    routes=[Route("/find", look_up, methods=["POST"]), Route("/pool", in_pool), Route("/stream", stream)]
)
