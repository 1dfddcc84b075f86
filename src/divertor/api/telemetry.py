"""`POST /v1/logs`: OpenTelemetry's logs over HTTP, JSON or Protocol Buffers.

Between an attack and the isolation of the attacker lies this route, so it is plain: the body within its
bound, decoded, published, answered. A batch is taken whole or not at all, and one that a sender repeats is
not taken twice. What a record means is `divertor.ingest`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from divertor.api.bodies import LARGE, read_bytes
from divertor.api.context import World
from divertor.api.describe import error
from divertor.api.problems import RefusedError
from divertor.ingest import RecentIds, decode_logs
from divertor.ingest.limits import MAX_BODY
from divertor.model.events import Event

PATH = "/v1/logs"
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_ENCODINGS = frozenset({"", "identity", "gzip"})


class Telemetry:
    """The endpoint."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._recent = RecentIds()

    async def logs(self, request: Request) -> Response:
        """Publish the records of one request.

        :raises InputError: they cannot be understood.
        :raises TooLargeError: they are more than one request may bring.
        :raises RefusedError: an unknown content type or encoding.
        :raises UnavailableError: the broker does not answer. The sender keeps them, and tries again.
        """
        media_type = _media_type(request)
        body = await read_bytes(request, MAX_BODY)
        fresh = self._recent.fresh(await self._decoded(body, media_type, _encoding(request)))
        if fresh:
            await self._world.services.events.publish(fresh)
            self._recent.remember(fresh)
        if media_type == _PROTOBUF:
            return Response(b"", media_type=_PROTOBUF)  # an ExportLogsServiceResponse without a word
        return Response(b'{"partialSuccess":{}}', media_type=_JSON)

    async def _decoded(self, body: bytes, media_type: str, encoding: str) -> list[Event]:
        """A large body is decoded in a thread, as it would hold up everybody else."""
        now = self._world.now()
        if len(body) > LARGE or encoding == "gzip":
            return await asyncio.to_thread(decode_logs, body, media_type, now, encoding)
        return decode_logs(body, media_type, now, encoding)


def _media_type(request: Request) -> str:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in (_JSON, _PROTOBUF):
        raise RefusedError(415, f"the content type {found[:80]!r}", f"{_JSON} or {_PROTOBUF}")
    return found


def _encoding(request: Request) -> str:
    found = request.headers.get("content-encoding", "").strip().lower()
    if found not in _ENCODINGS:
        raise RefusedError(415, f"the content encoding {found[:80]!r}", "gzip or identity")
    return found


def description() -> dict[str, Any]:
    """The route's part of the API's description; it is no route of FastAPI's."""
    meanings = {
        "400": "Not OTLP; nothing was stored.",
        "401": "No good token.",
        "413": "More than one request may bring; nothing was stored.",
        "415": "An unknown content type or encoding.",
        "503": "The broker does not answer; nothing is acknowledged. Try again after `Retry-After` seconds.",
    }
    records = {"type": "array", "items": {"type": "object"}}
    schema = {"type": "object", "properties": {"resourceLogs": records}}
    return {
        "post": {
            "tags": ["telemetry"],
            "summary": "Take OpenTelemetry logs",
            "description": (
                "OTLP/HTTP. A record whose event name is `divertor.detection` is a detection; all others are"
                " log events. An ingest token suffices. Gzip is understood. At most 4 MiB, 5000 records."
            ),
            "operationId": "take_logs",
            "requestBody": {
                "required": True,
                "content": {
                    _JSON: {"schema": schema},
                    _PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "responses": {
                "200": {
                    "description": "All of it was stored.",
                    "content": {_JSON: {"schema": {"type": "object"}, "example": {"partialSuccess": {}}}},
                },
                **{status: error(text) for status, text in meanings.items()},
            },
        }
    }
