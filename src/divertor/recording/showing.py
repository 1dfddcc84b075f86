"""An exchange as it is shown: readable bodies, and no session of an attacker in full. Pure.

A session id is a password, also an attacker's: it may be a customer's that he took. So wherever the isolating
key stands (its cookie, its header, and the same text anywhere else in the exchange) it is masked, unless an
administrator asks for it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from divertor.isolation.identity import masked
from divertor.model.events import format_time
from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.decoding import decoded
from divertor.recording.exchange import Body, Exchange, Headers, Key, header

#: Shorter values are shown anyway, and would be found everywhere.
_SHORTEST = 5
#: Sessions that are looked for in one exchange: an attacker may send thousands, to make that slow.
MAX_SESSIONS = 64
_SECRET_KINDS = frozenset({KeyKind.COOKIE, KeyKind.HEADER, KeyKind.BEARER})
_COOKIE = re.compile(r"(?:^|[;,\s])(?P<name>[^=;,\s]++)\s*+=(?P<value>[^;]*)")
_BEARER = re.compile(r"bearer\s+(?P<value>\S+)", re.IGNORECASE)


def sessions(exchange: Exchange) -> tuple[str, ...]:
    """The values in an exchange that recognise its client, in order: every cookie or header that is a key."""
    selectors = {key.selector for key in exchange.keys if key.selector.kind in _SECRET_KINDS}
    found = [*_carried(exchange.request_headers, selectors), *_carried(exchange.response_headers, selectors)]
    found += [key.value for key in exchange.keys if key.selector in selectors]
    # A key that the policy strikes out is stored masked: nobody's session any more.
    known = dict.fromkeys(value for value in found if len(value) >= _SHORTEST and value[-1] != "…")
    return tuple(islice(known, MAX_SESSIONS))


def _carried(headers: Headers, selectors: set[KeySelector]) -> Iterator[str]:
    cookies = {each.name for each in selectors if each.kind is KeyKind.COOKIE}
    names = {each.name.lower() for each in selectors if each.kind is KeyKind.HEADER}
    bearer = any(each.kind is KeyKind.BEARER for each in selectors)
    for name, value in headers:
        low = name.lower()
        if low in names:
            yield value.strip()
        elif cookies and low in ("cookie", "set-cookie"):
            pairs = _COOKIE.finditer(value if low == "cookie" else value.partition(";")[0])
            yield from (each["value"].strip(' \t"') for each in pairs if each["name"] in cookies)
        elif bearer and low == "authorization" and (found := _BEARER.search(value)):
            yield found["value"]


def readable(exchange: Exchange) -> Exchange:
    """With decompressed bodies, where that is possible."""
    return replace(
        exchange,
        request_body=_decoded(exchange.request_body, exchange.request_headers),
        response_body=_decoded(exchange.response_body, exchange.response_headers),
    )


def _decoded(body: Body, headers: Headers) -> Body:
    encoding = header(headers, "content-encoding")
    if body.decoded or not body.data or not encoding:
        return body
    plain = decoded(body.data, encoding)
    return body if plain is None else replace(body, data=plain, decoded=True)


def veiled(exchange: Exchange) -> Exchange:
    """Readable, and with every session masked."""
    exchange = readable(exchange)
    hide = _hider(sessions(exchange))

    def text(value: str) -> str:
        return hide(value.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(of: Headers) -> Headers:
        return tuple((name, text(value)) for name, value in of)

    return replace(
        exchange,
        by=None if exchange.by is None else _masked_key(exchange.by),
        added=tuple(_masked_key(key) for key in exchange.added),
        authority=text(exchange.authority),
        path=text(exchange.path),
        request_headers=headers(exchange.request_headers),
        request_body=replace(exchange.request_body, data=hide(exchange.request_body.data)),
        response_headers=headers(exchange.response_headers),
        response_body=replace(exchange.response_body, data=hide(exchange.response_body.data)),
    )


def _hider(values: tuple[str, ...]) -> Callable[[bytes], bytes]:
    if not values:
        return lambda data: data
    pattern = any_of(values)
    return lambda data: pattern.sub(lambda found: _masked(found[0]), data)


def any_of(values: tuple[str, ...]) -> re.Pattern[bytes]:
    """Finds any of these values, the longest first."""
    known = sorted((value.encode("utf-8", "surrogateescape") for value in values), key=len, reverse=True)
    return re.compile(b"|".join(map(re.escape, known)))


def _masked(value: bytes) -> bytes:
    return masked(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _masked_key(key: Key) -> Key:
    return replace(key, value=masked(key.value)) if key.selector.kind in _SECRET_KINDS else key


def summary(exchange: Exchange) -> dict[str, Any]:
    """One line of a timeline. Times in milliseconds, sizes in bytes as they were sent."""
    return {
        "number": exchange.number,
        "time": format_time(exchange.time),
        "kind": exchange.kind.value,
        "scope": exchange.scope,
        "method": exchange.method,
        "host": exchange.authority,
        "path": exchange.path,
        "status": exchange.status,
        "milliseconds": milliseconds(exchange),
        "request_bytes": exchange.request_body.size,
        "response_bytes": exchange.response_body.size,
        "served_by": exchange.served_by,
        "client": exchange.address,
        "request_id": exchange.request_id,
        "key": None if exchange.by is None else _key(exchange.by),
        "isolated": [_key(key) for key in exchange.added],
        "redacted": list(exchange.redacted),
    }


def full(exchange: Exchange) -> dict[str, Any]:
    """All of it. A body is `text` when it is UTF-8, else `base64`."""
    return {
        **summary(exchange),
        "scheme": exchange.scheme,
        "request_headers": _headers(exchange.request_headers),
        "request_body": _body(exchange.request_body),
        "response_headers": _headers(exchange.response_headers),
        "response_body": _body(exchange.response_body),
    }


def milliseconds(exchange: Exchange) -> float | None:
    """How long the exchange took, None when that is not known."""
    return None if exchange.microseconds is None else exchange.microseconds / 1000


def _key(key: Key) -> dict[str, str]:
    return {"key": str(key.selector), "value": key.value}


def _headers(headers: Headers) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def _body(body: Body) -> dict[str, Any]:
    found: dict[str, Any] = {"size": body.size, "kept": len(body.data), "whole": body.is_whole}
    if body.withheld:
        found["withheld"] = body.withheld
    try:
        found["text"] = body.data.decode("utf-8")
    except UnicodeDecodeError:
        found["base64"] = base64.b64encode(body.data).decode("ascii")
    return found
