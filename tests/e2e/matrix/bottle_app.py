"""Bottle."""

from __future__ import annotations

from collections.abc import Iterator

from bottle import Bottle, request  # type: ignore[import-untyped, unused-ignore]

from .shop import find, find_in_pool, pieces

app = Bottle()


@app.post("/find")
def look_up() -> str:
    return find(request.forms["name"])


@app.get("/pool")
def in_pool() -> str:
    return find_in_pool(request.query["name"])


@app.get("/stream")
def stream() -> Iterator[bytes]:
    return pieces(request.query["name"])
