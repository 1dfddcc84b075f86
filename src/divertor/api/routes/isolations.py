"""`/isolations`: who is being diverted; isolate by hand, and release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import EllipsisType
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.bodies import Sent
from divertor.api.context import Api, By
from divertor.api.describe import body, errors
from divertor.api.schemas import IsolationShape
from divertor.model.fields import Fields, fail, parsed, text_of
from divertor.model.isolation import Isolation, KeySelector
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
_FIELDS = ("scope", "kind", "name", "key", "value", "target", "for", "reason")
_MAX_REASON = 1000


@router.get(
    "",
    summary="List isolations",
    description="Newest first.",
    response_model=list[IsolationShape],
    responses=errors(),
)
async def list_isolations(
    request: Request,
    api: Api,
    page: Paged,
    scope: Annotated[str, Query(max_length=500, description="Only of this `deployment/cluster`.")] = "",
) -> Response:
    return answer_page(request, page, api.isolations.list(scope or None), Isolation.to_json)


@router.post(
    "",
    summary="Isolate a key",
    description=(
        "From the next request on. The key is `kind` and `name`, or `key: cookie session`. `for` is a span,"
        " `forever`, or left out for what the scope's policy says. One that is isolated already is prolonged."
    ),
    status_code=201,
    response_model=IsolationShape,
    responses=errors(413, 415),
    openapi_extra=body("Whom, where, why, and for how long.", _EXAMPLE),
)
async def isolate(request: Request, api: Api, by: By, sent: Sent) -> Response:
    fields = Fields(await sent.node(), "an isolation", _FIELDS)
    isolation = await api.isolations.add(
        scope=_text(fields, "scope"),
        selector=_selector(fields),
        value=_text(fields, "value"),
        target=_optional(fields, "target"),
        duration=_duration(fields),
        by=by,
        reason=_reason(fields),
    )
    return answer(request, isolation.to_json(), 201)


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


def _selector(fields: Fields) -> KeySelector:
    """`key: cookie session`, or `kind: cookie` and `name: session`; `kind: address` needs no name."""
    key = fields.get("key")
    if key is not None:
        if "kind" in fields or "name" in fields:
            fail(key, "the key is given twice", "either key, or kind and name")
        return parsed(key, "key", parse_key_selector)
    kind, name = _text(fields, "kind").lower(), _optional(fields, "name")
    words = "client address" if kind == "address" and not name else f"{kind} {name}"
    return _with(fields, "kind", "key", lambda _: parse_key_selector(words))


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
