"""`/events`, `/events/stream` and `/detections`: what happened, and what is happening."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from divertor.api.answers import answer, page_headers
from divertor.api.asking import MAX_VALUES, event_query, fits, paged
from divertor.api.bodies import Sent, plain
from divertor.api.context import Api, Surroundings
from divertor.api.describe import body, errors
from divertor.api.detections import detection_to_json
from divertor.api.schemas import Aggregated, Detection, EventShape
from divertor.api.stream import Streams
from divertor.errors import NotFoundError
from divertor.ingest import vamp_event
from divertor.model.events import Event
from divertor.store.query import Aggregate, EventQuery

router = APIRouter(tags=["events"])
detections = APIRouter(tags=["detections"])


class Signal(StrEnum):
    """How near harm was: it was stopped or reported at a sink, or there was no sink."""

    ATTACK = "attack"
    VULNERABILITY = "vulnerability"
    PROBE = "probe"


Asked = Annotated[EventQuery, Depends(event_query)]
_EXAMPLE = "tags: [build, version:1.1.0]\nvalue: passed\ntype: build\n"


@router.get(
    "/events",
    summary="Find events",
    description=(
        "Newest first. With `aggregator` one number over all that fit instead: of `aggregator_field`, which"
        " is `value`, `value.PATH`, or a dotted path into the body."
    ),
    response_model=list[EventShape] | Aggregated,
    responses=errors(),
)
async def find_events(
    request: Request,
    api: Api,
    query: Asked,
    aggregator: Aggregate | None = None,
    aggregator_field: Annotated[str, Query(min_length=1, max_length=200)] = "value",
) -> Response:
    if aggregator is not None:
        number = await api.events.store.aggregate(query, aggregator, aggregator_field)
        return answer(request, {"value": number})
    return await _found(request, api, query, Event.to_json)


@router.post(
    "/events",
    summary="Record an event",
    description="An ingest token suffices.",
    status_code=201,
    response_model=EventShape,
    responses=errors(413, 415),
    openapi_extra=body("Tags, and what else there is to say.", _EXAMPLE),
)
async def record_event(request: Request, world: Surroundings, sent: Sent) -> Response:
    data = plain(await sent.node())
    event = vamp_event(data, world.now(), world.new_id())
    await world.services.events.publish([event])
    return answer(request, event.to_json(), 201)


@router.get(
    "/events/stream",
    summary="Watch events",
    description="Server-sent events. `Last-Event-ID` resumes after that event.",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **errors()},
)
async def watch_events(
    request: Request,
    api: Api,
    type: Annotated[list[str] | None, Query(max_length=MAX_VALUES)] = None,
    tags: Annotated[list[str] | None, Query(max_length=MAX_VALUES)] = None,
    last_event_id: Annotated[str, Header(max_length=200)] = "",
) -> Response:
    streams = request.app.state.streams
    assert isinstance(streams, Streams)
    streams.admit()
    wanted = partial(fits, types=tuple(type or ()), tags=tuple(tags or ()))
    text = streams.stream(api.events, wanted, last_event_id)
    return StreamingResponse(text, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@router.get(
    "/events/{id}",
    summary="Get an event",
    response_model=EventShape,
    responses=errors(404),
)
async def get_event(request: Request, id: str, api: Api) -> Response:
    event = await api.events.store.get(id.replace("\0", ""))
    if event is None:
        raise NotFoundError(f"no event {id!r}")
    return answer(request, event.to_json())


@detections.get(
    "/detections",
    summary="List detections",
    description=(
        "Newest first, with the frames of the application's own code. Probes, which reached nothing, are only"
        " listed when asked for."
    ),
    response_model=list[Detection],
    responses=errors(),
)
async def list_detections(
    request: Request,
    api: Api,
    query: Asked,
    service: Annotated[str, Query(max_length=200, description="Of this service only.")] = "",
    signal: Annotated[Signal | None, Query(description="Of this signal only.")] = None,
) -> Response:
    fields = {**query.fields, **({"service.name": service.replace("\0", "")} if service else {})}
    if signal is not None:
        fields["divertor.detection.signal"] = signal
    kind = "probe" if signal is Signal.PROBE else "detection"
    tags = tuple(f"{kind}:{each}" for each in query.types)
    narrowed = replace(query, types=(kind,), tags=(*query.tags, *tags), fields=fields)
    return await _found(request, api, narrowed, detection_to_json)


@detections.get(
    "/detections/{id}",
    summary="Get a detection",
    response_model=Detection,
    responses=errors(404),
)
async def get_detection(request: Request, id: str, api: Api) -> Response:
    event = await api.events.store.get(id.replace("\0", ""))
    if event is None or event.type not in ("detection", "probe"):
        raise NotFoundError(f"no detection {id!r}")
    return answer(request, detection_to_json(event))


async def _found(request: Request, api: Any, query: EventQuery, render: Any) -> Response:
    events = await api.events.store.query(query)
    total = await api.events.store.count(query)
    headers = page_headers(request, paged(query), total)
    return answer(request, [render(event) for event in events], headers=headers)
