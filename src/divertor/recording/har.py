"""Exchanges → HAR 1.2, which browsers and many tools open. Pure.

The format: http://www.softwareishard.com/blog/har-12-spec/. It knows Unicode only: text that is none is read
as Latin-1, bodies that are none become base64 (of a request's body, where HAR has no word for that, with
`_encoding`). Names that begin with an underscore are ours, as the format allows. What an exchange lacks (the
client left, a body was not kept) is said in its `comment`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

from divertor.model.events import format_time
from divertor.recording.exchange import Body, Exchange, Headers, header
from divertor.recording.showing import milliseconds

_VERSION = "HTTP/1.1"
_SAFE = "/?#[]@!$&'()*+,;=:%~"
_HOST = re.compile(r"[A-Za-z0-9.\-_~\[\]:]{1,255}")


def har(exchanges: Iterable[Exchange], *, version: str, comment: str = "") -> dict[str, Any]:
    """The log. `version` is Divertor's."""
    log: dict[str, Any] = {
        "version": "1.2",
        "creator": {"name": "Divertor", "version": version},
        "pages": [],
        "entries": [_entry(exchange) for exchange in exchanges],
    }
    return {"log": {**log, "comment": _text(comment)} if comment else log}


def _entry(exchange: Exchange) -> dict[str, Any]:
    took = milliseconds(exchange)
    entry: dict[str, Any] = {
        "startedDateTime": format_time(exchange.time),
        "time": took or 0,
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": {"send": 0, "wait": took or 0, "receive": 0},
        "_number": exchange.number,
        "_kind": exchange.kind.value,
        "_servedBy": _text(exchange.served_by),
    }
    if remarks := "; ".join(_remarks(exchange)):
        entry["comment"] = _text(remarks)
    return entry


def _remarks(exchange: Exchange) -> Iterator[str]:
    if exchange.status is None:
        yield "the client left before there was an answer"
    for name, body in (("request", exchange.request_body), ("response", exchange.response_body)):
        if body.withheld:
            yield f"the {name} body was not kept: {body.withheld}"
        elif not body.is_whole:
            yield f"only the beginning of the {name} body of {body.size} bytes was kept"
    if exchange.redacted:
        yield f"struck out: {', '.join(exchange.redacted)}"


def _request(exchange: Exchange) -> dict[str, Any]:
    body = exchange.request_body
    found: dict[str, Any] = {
        "method": _text(exchange.method),
        "url": _url(exchange),
        "httpVersion": _VERSION,
        "cookies": list(_cookies(exchange.request_headers)),
        "headers": _headers(exchange.request_headers),
        "queryString": _query(exchange.path),
        "headersSize": -1,
        "bodySize": body.size,
    }
    if body.data:
        found["postData"] = _posted(body, _text(header(exchange.request_headers, "content-type")))
    return found


def _posted(body: Body, kind: str) -> dict[str, Any]:
    text, encoding = _content(body.data)
    # Parameters or text, says the format; the text is what was sent.
    found = {"mimeType": kind, "params": [], "text": text}
    return {**found, "_encoding": encoding} if encoding else found


def _response(exchange: Exchange) -> dict[str, Any]:
    body = exchange.response_body
    text, encoding = _content(body.data)
    content: dict[str, Any] = {
        "size": len(body.data) if body.decoded else body.size,
        "mimeType": _text(header(exchange.response_headers, "content-type")) or "application/octet-stream",
    }
    if body.data:
        content["text"] = text
    if encoding:
        content["encoding"] = encoding
    return {
        "status": exchange.status or 0,
        "statusText": _phrase(exchange.status),
        "httpVersion": _VERSION,
        "cookies": list(_set_cookies(exchange.response_headers)),
        "headers": _headers(exchange.response_headers),
        "content": content,
        "redirectURL": _text(header(exchange.response_headers, "location")),
        "headersSize": -1,
        "bodySize": body.size,
    }


def _url(exchange: Exchange) -> str:
    """An absolute URI, whatever was sent as host and path."""
    host = exchange.authority if _HOST.fullmatch(exchange.authority) else "invalid"
    path = quote(exchange.path.encode("utf-8", "surrogateescape"), safe=_SAFE)
    return f"{exchange.scheme}://{host}{path if path.startswith('/') else '/' + path}"


def _query(path: str) -> list[dict[str, str]]:
    query = path.partition("?")[2].partition("#")[0]
    pairs = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")
    return [{"name": _text(name), "value": _text(value)} for name, value in pairs]


def _headers(headers: Headers) -> list[dict[str, str]]:
    return [{"name": _text(name), "value": _text(value)} for name, value in headers]


def _cookies(headers: Headers) -> Iterator[dict[str, str]]:
    for pair in ";".join(value for name, value in headers if name.lower() == "cookie").split(";"):
        name, sign, value = pair.strip().partition("=")
        if sign:
            yield {"name": _text(name), "value": _text(value)}


def _set_cookies(headers: Headers) -> Iterator[dict[str, Any]]:
    for line in (value for name, value in headers if name.lower() == "set-cookie"):
        pair, *attributes = line.split(";")
        name, _, value = pair.strip().partition("=")
        cookie: dict[str, Any] = {"name": _text(name), "value": _text(value)}
        for attribute in attributes:
            word, _, setting = attribute.strip().partition("=")
            if word.lower() in ("path", "domain"):
                cookie[word.lower()] = _text(setting)
            elif word.lower() in ("httponly", "secure"):
                cookie["httpOnly" if word.lower() == "httponly" else "secure"] = True
        yield cookie


def _content(data: bytes) -> tuple[str, str]:
    """The text, and how it is encoded."""
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def _text(text: str) -> str:
    """Unicode, without halves of surrogate pairs."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _phrase(status: int | None) -> str:
    try:
        return HTTPStatus(status).phrase if status is not None else ""
    except ValueError:
        return ""
