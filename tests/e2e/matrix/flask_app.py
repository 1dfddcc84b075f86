"""Flask."""

from __future__ import annotations

from flask import Flask, Response, request

from .shop import find, find_in_pool, pieces

app = Flask(__name__)


@app.post("/find")
def look_up() -> str:
    return find(request.form["name"])


@app.get("/pool")
def in_pool() -> str:
    return find_in_pool(request.args["name"])


@app.get("/stream")
def stream() -> Response:
    return Response(pieces(request.args["name"]))
