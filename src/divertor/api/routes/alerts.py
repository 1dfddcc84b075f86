"""`/alerts`: what waits to be delivered: which, where to, why not yet; drop it, or try it now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor.alerts.shown import MOST_DROPPED, MOST_TRIED, Shown, State, Wanted
from divertor.api.answers import Paged, answer, page_headers
from divertor.api.context import Api, By
from divertor.api.describe import errors
from divertor.api.schemas import DroppedShape, RetriedShape, WaitingAlertShape
from divertor.errors import InputError, Position
from divertor.model.events import format_time

router = APIRouter(prefix="/alerts", tags=["alarms"])


async def _wanted(
    rule: Annotated[str, Query(max_length=200, description="Only of this rule, removed or not.")] = "",
    alerter: Annotated[str, Query(max_length=200, description="Only by this alerter.")] = "",
    alarm: Annotated[str, Query(max_length=64, description="Only about this alarm, by its id.")] = "",
    state: Annotated[
        State | None, Query(description="Only such; `failing`: tried, and not taken yet.")
    ] = None,
) -> Wanted:
    return Wanted(rule, alerter, alarm, state)


Which = Annotated[Wanted, Depends(_wanted)]
All = Annotated[bool, Query(description="Really everything that waits; needed when nothing else is given.")]


@router.get(
    "",
    summary="List alerts that wait",
    description="What has not been delivered yet, the longest waiting first; see `error` for why.",
    response_model=list[WaitingAlertShape],
    responses=errors(),
)
async def list_alerts(request: Request, api: Api, page: Paged, wanted: Which) -> Response:
    found, total = await api.alerts.page(wanted, page.offset, page.size)
    return answer(
        request, [shown_to_json(each) for each in found], headers=page_headers(request, page, total)
    )


@router.delete(
    "",
    summary="Drop alerts that wait",
    description=(
        "Those that fit are never delivered; what is being sent may arrive all the same. At most"
        f" {MOST_DROPPED:,} for one request, the longest waiting first: `left` says how many more there are."
    ),
    response_model=DroppedShape,
    responses=errors(),
)
async def drop_alerts(request: Request, api: Api, by: By, wanted: Which, all: All = False) -> Response:
    _require_choice(wanted, all)
    done = await api.alerts.drop(wanted, by)
    return answer(request, {"dropped": done.count, "left": done.left})


@router.post(
    "/retry",
    summary="Try alerts now",
    description=(
        "Those that fit are tried at once, after those that have to arrive before them. A destination that"
        f" fails is asked with one at a time, as ever. At most {MOST_TRIED:,} for one request, the longest"
        " waiting first; `left` are tried as planned."
    ),
    response_model=RetriedShape,
    responses=errors(),
)
async def retry_alerts(request: Request, api: Api, by: By, wanted: Which, all: All = False) -> Response:
    _require_choice(wanted, all)
    done = await api.alerts.retry(wanted, by)
    return answer(request, {"retried": done.count, "left": done.left})


@router.get(
    "/{id}", summary="Get an alert that waits", response_model=WaitingAlertShape, responses=errors(404)
)
async def get_alert(request: Request, id: str, api: Api) -> Response:
    return answer(request, shown_to_json(await api.alerts.get(id)))


@router.delete("/{id}", summary="Drop an alert", status_code=204, responses=errors(404))
async def drop_alert(id: str, api: Api, by: By) -> Response:
    await api.alerts.drop_one(id, by)
    return Response(status_code=204)


@router.post(
    "/{id}/retry", summary="Try an alert now", response_model=WaitingAlertShape, responses=errors(404)
)
async def retry_alert(request: Request, id: str, api: Api, by: By) -> Response:
    return answer(request, shown_to_json(await api.alerts.retry_one(id, by)))


def shown_to_json(shown: Shown) -> dict[str, Any]:
    """An alert that waits."""
    return {
        "id": shown.id,
        "rule": shown.rule,
        "rule_gone": shown.is_gone,
        "alerter": shown.alerter,
        "target": shown.target,
        "alarm": shown.alarm,
        "state": shown.state,
        "attempts": shown.attempts,
        "error": shown.error,
        "created": format_time(shown.created),
        "next_try": None if shown.next_try is None else format_time(shown.next_try),
        "until": None if shown.until is None else format_time(shown.until),
    }


def _require_choice(wanted: Wanted, everything: bool) -> None:
    """A parameter that was forgotten must not mean all of them."""
    if wanted.is_everything and not everything:
        where = Position("query")
        raise InputError("which alerts is not said", where, "rule, alerter, alarm or state; or all=true")
