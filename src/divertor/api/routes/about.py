"""`/health`, `/info`, `/status`: how Divertor itself is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor import __version__
from divertor.api.answers import answer
from divertor.api.context import Api
from divertor.api.describe import errors
from divertor.api.schemas import Health, Info, StatusShape

router = APIRouter(tags=["status"])


@router.get(
    "/health",
    summary="Whether the API answers",
    description="Needs no token and says nothing else.",
    response_model=Health,
)
async def health(request: Request) -> Response:
    return answer(request, {"status": "ok"})


@router.get("/info", summary="What this is", response_model=Info, responses=errors())
async def info(request: Request) -> Response:
    return answer(request, {"message": "Divertor", "version": __version__})


@router.get(
    "/status",
    summary="How everything is",
    description="Processes, the broker, the gateway's configuration, counts.",
    response_model=StatusShape,
    responses=errors(),
)
async def status(request: Request, api: Api) -> Response:
    return answer(request, dict(await api.status.status()))
