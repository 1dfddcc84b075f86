"""Bottle."""

from __future__ import annotations

from collections.abc import Iterator

from bottle import Bottle, request  # type: ignore[import-untyped, unused-ignore]

from .shop import find, find_in_pool, pieces

app = Bottle()


@app.post("/find")  # type: ignore[untyped-decorator, unused-ignore]
def look_up() -> str:
    return find(request.forms["name"])


@app.get("/pool")  # type: ignore[untyped-decorator, unused-ignore]
def in_pool() -> str:
    return find_in_pool(request.query["name"])


@app.get("/stream")  # type: ignore[untyped-decorator, unused-ignore]
def stream() -> Iterator[bytes]:
    return pieces(request.query["name"])
