"""WSGI and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from .shop import find, find_in_pool, pieces


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/find":
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        return [find(form["name"][0]).encode()]
    name = parse_qs(environ["QUERY_STRING"])["name"][0]
    return [find_in_pool(name).encode()] if environ["PATH_INFO"] == "/pool" else pieces(name)
