"""`/isolations`: who is being diverted; isolate by hand, many at once from lines, and release."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import timedelta
from types import EllipsisType
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from divertor.api.answers import Paged, answer, page_headers
from divertor.api.bodies import PATIENCE, Sent
from divertor.api.context import Api, By, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.problems import RefusedError
from divertor.api.schemas import ImportShape, IsolationShape
from divertor.errors import InputError, Position
from divertor.ingest import TooLargeError
from divertor.isolation.bulk import MAX_LINE
from divertor.isolation.keys import selector_of
from divertor.isolation.service import Wanted
from divertor.model.documents import Node
from divertor.model.fields import Fields, fail, items_of, parsed, text_of
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.quantities import parse_duration, parse_key_selector

T = TypeVar("T")

router = APIRouter(prefix="/isolations", tags=["isolations"])

_EXAMPLE = """\
scope: shop/shop
kind: cookie
name: session
value: 4e1f0c
for: 24h
reason: seen in yesterday's attack
"""
_KEY = ("kind", "name", "key", "value")
_FIELDS = ("scope", *_KEY, "keys", "target", "for", "reason")
_MAX_REASON = 1000
#: Keys of one client that are isolated in one request.
_MAX_KEYS = 32
#: Bytes of one import.
MAX_IMPORT = 1 << 30
NDJSON = "application/x-ndjson"
_NDJSON_TYPES = frozenset({NDJSON, "application/jsonl", "application/json", "text/plain", ""})


Scope = Annotated[str, Query(max_length=500, description="Only of this `deployment/cluster`.")]
Kind = Annotated[str, Query(max_length=20, description="Only keys of this kind (`cookie`, `address`, …).")]
Author = Annotated[str, Query(max_length=500, alias="by", description="Only what this user or rule decided.")]


@router.get(
    "",
    summary="List isolations",
    description="Newest first.",
    response_model=list[IsolationShape],
    responses=errors(),
)
async def list_isolations(
    request: Request, api: Api, page: Paged, scope: Scope = "", kind: Kind = "", author: Author = ""
) -> Response:
    wanted = _wanted(scope, kind, author)
    found = [each.to_json() for each in api.isolations.page(wanted, page.offset, page.size)]
    return answer(request, found, headers=page_headers(request, page, api.isolations.count(wanted)))


@router.post(
    "",
    summary="Isolate a client",
    description=(
        "From the next request on. A key is `kind`, `name` and `value`, or `key: cookie session` and `value`;"
        " several keys of one client stand in `keys`, and are released together. A user (`kind: user`) is"
        " isolated with all his sessions. `for` is a span, `forever`, or left out for what the scope's policy"
        " says. One that is isolated already is prolonged. The answer is the isolation of the first key."
    ),
    status_code=201,
    response_model=IsolationShape,
    responses=errors(413, 415),
    openapi_extra=body("Whom, where, why, and for how long.", _EXAMPLE),
)
async def isolate(request: Request, api: Api, by: By, sent: Sent) -> Response:
    fields = Fields(await sent.node(), "an isolation", _FIELDS)
    found = await api.isolations.add_all(
        scope=_text(fields, "scope"),
        keys=_keys(fields),
        target=_optional(fields, "target"),
        duration=_duration(fields),
        by=by,
        reason=_reason(fields),
    )
    return answer(request, found[0].to_json(), 201)


@router.post(
    "/import",
    summary="Import isolations",
    description=(
        "Newline-delimited JSON, an isolation a line: `scope`, `kind` and `name` (or `key`), `value`; `for`"
        " or `expires`, `reason`, `by` and `created` if they are known. All lines are understood, or nothing"
        " is changed and the answer names the line. In effect together; the answer comes when it is recorded."
    ),
    response_model=ImportShape,
    responses=errors(408, 413, 415),
    openapi_extra={
        "requestBody": {"required": True, "content": {NDJSON: {"schema": {"type": "string"}}}},
    },
)
async def import_isolations(
    request: Request, api: Api, by: By, validate_only: ValidateOnly = False
) -> Response:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _NDJSON_TYPES:
        raise RefusedError(415, f"the content type {media_type[:80]!r}", NDJSON)
    wanted = api.isolations.importing(by)
    async for line in _lines(request):
        wanted.read(line)
    return answer(request, asdict(await api.isolations.take(wanted, validate_only=validate_only)))


@router.get(
    "/export",
    summary="Export isolations",
    description="Newline-delimited JSON, oldest first, as `import` takes it.",
    response_class=StreamingResponse,
    responses=errors(),
)
async def export_isolations(api: Api, scope: Scope = "", kind: Kind = "", author: Author = "") -> Response:
    wanted = _wanted(scope, kind, author)

    async def pieces() -> AsyncIterator[bytes]:
        for lines in api.isolations.export(wanted):
            yield b"".join(lines)
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), media_type=NDJSON)


def _wanted(scope: str, kind: str, author: str) -> Wanted:
    """:raises InputError: there is no such kind of key; that nobody has one would be no answer."""
    if kind and kind not in set(KeyKind):
        raise InputError(f"{kind!r} is no kind of key", Position("kind"), ", ".join(KeyKind))
    return Wanted(scope, kind, author)


@router.get("/{id}", summary="Get an isolation", response_model=IsolationShape, responses=errors(404))
async def get_isolation(request: Request, id: str, api: Api) -> Response:
    return answer(request, api.isolations.get(id).to_json())


@router.delete(
    "/{id}",
    summary="Release a key",
    description="As immediate as the isolation was.",
    status_code=204,
    responses=errors(404),
)
async def release(
    id: str, api: Api, by: By, reason: Annotated[str, Query(max_length=_MAX_REASON)] = ""
) -> Response:
    await api.isolations.remove(id, by, reason)
    return Response(status_code=204)


async def _lines(request: Request) -> AsyncIterator[bytes]:
    """The lines of a body, as they arrive.

    :raises TooLargeError: there are more than `MAX_IMPORT` bytes, or a line never ends.
    :raises RefusedError: nothing arrives for `PATIENCE` seconds.
    """
    rest, size = b"", 0
    chunks = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise RefusedError(408, f"nothing arrived for {PATIENCE:g} s") from None
        if chunk is None:
            break
        size += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if size > MAX_IMPORT or len(rest) > MAX_LINE:
            raise TooLargeError(f"more than {MAX_IMPORT} bytes, or a line of more than {MAX_LINE}")
    yield rest


def _keys(fields: Fields) -> list[tuple[KeySelector, str]]:
    """The keys of one client: one that is named outright, or those in `keys`."""
    several = fields.get("keys")
    if several is None:
        return [(_selector(fields), _text(fields, "value"))]
    for name in _KEY:
        if name in fields:
            fail(several, f"'keys' beside {name!r}", "one or the other")
    nodes = items_of(several)
    if not 0 < len(nodes) <= _MAX_KEYS:
        fail(several, f"{len(nodes)} keys", f"1 to {_MAX_KEYS}")
    return [_key(node) for node in nodes]


def _key(node: Node) -> tuple[KeySelector, str]:
    fields = Fields(node, "a key", _KEY)
    return _selector(fields), _text(fields, "value")


def _selector(fields: Fields) -> KeySelector:
    """`key: cookie session`, or `kind: cookie` and `name: session`; most other kinds need no name."""
    key = fields.get("key")
    if key is not None:
        if "kind" in fields or "name" in fields:
            fail(key, "the key is given twice", "either key, or kind and name")
        return parsed(key, "key", parse_key_selector)
    name = _optional(fields, "name")
    return _with(fields, "kind", "key", lambda kind: selector_of(kind.lower(), name))


def _with(fields: Fields, name: str, what: str, parse: Callable[[str], T]) -> T:
    return parsed(fields.require(name), what, parse)


def _duration(fields: Fields) -> timedelta | EllipsisType | None:
    return ... if fields.get("for") is None else _with(fields, "for", "span of time", parse_duration)


def _reason(fields: Fields) -> str:
    node = fields.require("reason")
    reason = text_of(node, "a reason")
    if not reason.strip() or len(reason) > _MAX_REASON:
        fail(node, "a reason that says nothing, or too much", f"1 to {_MAX_REASON} characters")
    return reason


def _text(fields: Fields, name: str) -> str:
    return text_of(fields.require(name), f"{name!r}")


def _optional(fields: Fields, name: str) -> str:
    node = fields.get(name)
    return "" if node is None else text_of(node, f"{name!r}")
