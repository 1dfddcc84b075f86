"""`/stopped-rules`: rules that isolated too many clients and had to stop; let one go on."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer_page
from divertor.api.context import Api, By
from divertor.api.describe import errors
from divertor.api.schemas import StoppedRuleShape

router = APIRouter(prefix="/stopped-rules", tags=["rules"])


@router.get(
    "",
    summary="List stopped rules",
    description="Rules that reached the limit of their `isolate` action, and isolate nobody until resumed.",
    response_model=list[StoppedRuleShape],
    responses=errors(),
)
async def list_stopped(request: Request, api: Api, page: Paged) -> Response:
    found = sorted(api.limits.stopped.items())
    return answer_page(request, page, found, lambda item: {"rule": item[0], "why": item[1]})


@router.delete(
    "/{name:path}",
    summary="Resume a stopped rule",
    description="It may isolate again, and its isolations are counted from nothing.",
    status_code=204,
    responses=errors(404),
)
async def resume(name: str, api: Api, by: By) -> Response:
    await api.limits.resume(name, by)
    return Response(status_code=204)
