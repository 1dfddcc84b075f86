"""Records as the gateway's filter writes them, and exchanges to try things on."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.exchange import Body, Exchange, Headers, Key, Kind
from divertor.recording.frames import MAGIC, Tag

SCOPE = "shop/shop"
SESSION = KeySelector(KeyKind.COOKIE, "session")
TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def field(tag: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        value = value.to_bytes(8, "little")
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return struct.pack("<BI", tag, len(data)) + data


def record(*fields: tuple[int, bytes | str | int]) -> bytes:
    data = b"".join(field(tag, value) for tag, value in fields)
    return MAGIC + struct.pack("<I", len(data)) + data


def simple(number: int = 0, *more: tuple[int, bytes | str | int], session: str = "4e1f0c9a") -> bytes:
    """An isolated request for `/number`."""
    return record(
        (Tag.START, int(TIME.timestamp() * 1_000_000) + number),
        (Tag.KIND, "isolated"),
        (Tag.SCOPE, SCOPE),
        (Tag.BY, f"cookie|session|{session}"),
        (Tag.METHOD, "GET"),
        (Tag.AUTHORITY, "shop.example"),
        (Tag.PATH, f"/{number}"),
        (Tag.SCHEME, "http"),
        (Tag.STATUS, "200"),
        (Tag.REQUEST_ID, f"request-{number}"),
        (Tag.ADDRESS, "192.0.2.7"),
        *more,
    )


def exchange(**changes: Any) -> Exchange:
    """An isolated request with a session."""
    made = Exchange(
        id="00" * 16,
        kind=Kind.ISOLATED,
        time=TIME,
        microseconds=1500,
        scope=SCOPE,
        method="GET",
        authority="shop.example",
        path="/",
        by=Key(SESSION, "4e1f0c9a"),
        request_headers=(("cookie", "session=4e1f0c9a"),),
        status=200,
    )
    return replace(made, **changes)


def posted(data: bytes, kind: str, encoding: str = "", size: int | None = None) -> Exchange:
    """A request with a body."""
    headers: Headers = (("content-type", kind),) if kind else ()
    if encoding:
        headers = (*headers, ("content-encoding", encoding))
    body = Body(data, len(data) if size is None else size, cut=size is not None)
    return exchange(method="POST", request_headers=headers, request_body=body)
