"""FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Form
from fastapi.responses import PlainTextResponse, StreamingResponse

from .shop import find, pieces

app = FastAPI()


@app.post("/find", response_class=PlainTextResponse)
async def look_up(name: Annotated[str, Form()]) -> str:
    return find(name)


@app.get("/pool", response_class=PlainTextResponse)
def in_pool(name: str) -> str:
    """Not a coroutine: FastAPI calls it in a thread."""
    return find(name)


@app.get("/stream")
async def stream(name: str) -> StreamingResponse:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces(name):
            yield piece

    return StreamingResponse(sent())
