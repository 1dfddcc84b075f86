"""What isolated clients asked and got: `/recordings`, and below each isolation its session and its exports.

Sessions are masked unless `reveal` is asked for: only an administrator's token reaches these routes at all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor import __version__
from divertor.api.answers import Paged, answer, answer_page, page_headers, to_json
from divertor.api.context import Api
from divertor.api.describe import errors
from divertor.api.schemas import ExchangeShape, FullExchange, RecordedShape, RecordingShape
from divertor.api.services import Services
from divertor.isolation.identity import masked
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind
from divertor.recording.curl import curl
from divertor.recording.exchange import Exchange, Kind
from divertor.recording.har import har
from divertor.recording.service import Listed, Watched
from divertor.recording.showing import full, readable, summary, veiled
from divertor.store.query import MAX_LIMIT, EventQuery

router = APIRouter(tags=["recordings"])

Reveal = Annotated[bool, Query(description="Show sessions in full.")]
Number = Annotated[int, Path(ge=1, le=10**17)]
#: How far the sensor's report may lie from the gateway's record of the same request.
_NEAR = timedelta(seconds=10)


@router.get(
    "/recordings",
    summary="List recordings",
    description="Everybody of whom something is kept, also after the isolation; last heard of first.",
    response_model=list[RecordedShape],
    responses=errors(),
)
async def list_recordings(request: Request, api: Api, page: Paged) -> Response:
    return answer_page(request, page, await api.recordings.recorded(), _listed)


@router.get(
    "/isolations/{id}/recording",
    summary="Get a recording",
    description="Who was watched, by whichever of his keys, also when the isolation has ended.",
    response_model=RecordingShape,
    responses=errors(404),
)
async def get_recording(request: Request, id: str, api: Api) -> Response:
    found = await api.recordings.watched(id)
    data = {"keys": list(found.keys), "exchanges": len(found.exchanges), "gone": found.gone}
    return answer(request, {**_listed(found), **data})


@router.get(
    "/isolations/{id}/exchanges",
    summary="List exchanges",
    description="The session of one attacker over all his keys, in the order of time.",
    response_model=list[ExchangeShape],
    responses=errors(404),
)
async def list_exchanges(
    request: Request, id: str, api: Api, page: Paged, reveal: Reveal = False
) -> Response:
    found = (await api.recordings.watched(id)).exchanges
    shown = page.of(found)
    detected = await _detections(api, shown)
    lines = await _off_the_loop(lambda: [_summary(each, detected, reveal) for each in shown])
    return answer(request, lines, headers=page_headers(request, page, len(found)))


@router.get(
    "/isolations/{id}/exchanges/{number}",
    summary="Get an exchange",
    response_model=FullExchange,
    responses=errors(404),
)
async def get_exchange(
    request: Request, id: str, number: Number, api: Api, reveal: Reveal = False
) -> Response:
    found = await api.recordings.exchange(id, number)
    detected = await _detections(api, [found])
    data = await _off_the_loop(lambda: full(_shown(found, reveal)))
    return answer(request, {**data, "detections": detected.get(found.number, [])})


@router.get(
    "/isolations/{id}/har",
    summary="Export as HAR",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}, **errors(404)},
)
async def export_har(id: str, api: Api, reveal: Reveal = False) -> Response:
    found = (await api.recordings.watched(id)).exchanges

    def text() -> str:
        comment = f"isolation {id}"
        return to_json(har((_shown(each, reveal) for each in found), version=__version__, comment=comment))

    return _file(await _off_the_loop(text), "application/json", f"{id}.har")


@router.get(
    "/isolations/{id}/curl",
    summary="Export as a shell script",
    description="POSIX sh and curl; asks again what was asked, and compares the status codes.",
    response_class=Response,
    responses={200: {"content": {"text/x-shellscript": {"schema": {"type": "string"}}}}, **errors(404)},
)
async def export_curl(id: str, api: Api, reveal: Reveal = False) -> Response:
    found = (await api.recordings.watched(id)).exchanges
    script = await _off_the_loop(lambda: curl(found, reveal=reveal))
    return _file(script, "text/x-shellscript", f"{id}.sh")


@router.get(
    "/isolations/{id}/ndjson",
    summary="Export as JSON lines",
    description="Every exchange in full, one on a line.",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}, **errors(404)},
)
async def export_ndjson(id: str, api: Api, reveal: Reveal = False) -> Response:
    found = (await api.recordings.watched(id)).exchanges
    text = await _off_the_loop(lambda: "".join(to_json(full(_shown(each, reveal))) + "\n" for each in found))
    return _file(text, "application/x-ndjson", f"{id}.ndjson")


async def _off_the_loop(work: Callable[[], Any]) -> Any:
    """A long session is megabytes: others are answered meanwhile."""
    return await asyncio.to_thread(work)


def _file(content: str | bytes, kind: str, name: str) -> Response:
    safe = "".join(char for char in name if char.isascii() and (char.isalnum() or char in ".-_"))
    headers = {"content-disposition": f'attachment; filename="{safe}"', "content-type": kind}
    return Response(content, headers=headers)


def _listed(found: Listed | Watched) -> dict[str, Any]:
    isolation = None if found.isolation is None else _hidden(found.isolation)
    return {"id": found.id, "isolation": isolation, "holds": found.holds}


def _hidden(isolation: Isolation) -> dict[str, Any]:
    data = isolation.to_json()
    if isolation.selector.kind in (KeyKind.COOKIE, KeyKind.HEADER, KeyKind.BEARER):
        data["value"] = masked(isolation.value)
    return data


def _shown(exchange: Exchange, reveal: bool) -> Exchange:
    return readable(exchange) if reveal else veiled(exchange)


def _summary(exchange: Exchange, detected: Mapping[int, list[str]], reveal: bool) -> dict[str, Any]:
    return {**summary(_shown(exchange, reveal)), "detections": detected.get(exchange.number, [])}


async def _detections(api: Services, exchanges: Sequence[Exchange]) -> dict[int, list[str]]:
    """What the sensors found, by the number of the exchange: the same request id, or, for a request that was
    handed over (and was given another id on the way), the same method and path at the same moment."""
    if not exchanges:
        return {}
    times = [each.time for each in exchanges]
    query = EventQuery(
        types=("detection",), since=min(times) - _NEAR, until=max(times) + _NEAR, limit=MAX_LIMIT
    )
    events = await api.events.store.query(query)
    found: dict[int, list[str]] = defaultdict(list)
    for exchange in exchanges:
        found[exchange.number] = [event.id for event in events if _is_of(event, exchange)]
    return found


def _is_of(event: Event, exchange: Exchange) -> bool:
    known = event.get("http.request.id")
    if known and exchange.request_id:
        if known == exchange.request_id:
            return True
    if exchange.kind not in (Kind.DIVERTED, Kind.REFUSED):
        return False
    asked = event.get("http.request.method"), event.get("url.path")
    return (
        asked == (exchange.method, exchange.path.partition("?")[0])
        and event.get("client.address") in (exchange.address, None, "")
        and abs(event.timestamp - exchange.time) <= _NEAR
    )
