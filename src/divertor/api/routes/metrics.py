"""`/metrics` and `/health/…`: how much, how fast, how well, by gateway, route and version.

Names of gateways and routes may contain `/`, as they are or as `%2F`; what a path means is found by asking
for the longest name first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.context import Api
from divertor.api.describe import errors
from divertor.api.schemas import Aggregated, MeasurementShape
from divertor.errors import NotFoundError
from divertor.gateway.measurement import METRICS, Measurement, metric

T = TypeVar("T")

router = APIRouter(tags=["metrics"])

Window = Annotated[
    float, Query(ge=10, le=300, description="Seconds to look back, rounded up to looks of ten seconds.")
]
WINDOW = 60.0
_ROUTES = "/routes/"


@router.get(
    "/metrics",
    summary="Everything that is measured",
    description="Gateways, their routes, and the versions behind them.",
    response_model=list[MeasurementShape],
    responses=errors(),
)
async def list_metrics(request: Request, api: Api, page: Paged, window: Window = WINDOW) -> Response:
    return answer_page(request, page, api.metrics.all(window), lambda measure: measure().to_json())


@router.get(
    "/metrics/gateways/{path:path}",
    summary="A gateway or a route",
    description=(
        f"`GATEWAY[/routes/ROUTE][/METRIC]`, with METRIC one of {', '.join(METRICS)}. Without a metric, all"
        " of them. A route is meant by its path, or by the service it leads to."
    ),
    response_model=Aggregated | MeasurementShape,
    responses=errors(404),
)
async def gateway_metric(request: Request, path: str, api: Api, window: Window = WINDOW) -> Response:
    def find(gateway: str, route: str) -> Measurement:
        return api.metrics.gateway(gateway, route, window)

    try:
        return answer(request, _first(path, find).to_json())
    except NotFoundError:
        name, _, last = path.rpartition("/")
        if not name:
            raise
    return answer(request, _value(_first(name, find), last))


@router.get(
    "/metrics/deployments/{deployment}/clusters/{cluster}/ports/{port}/{name}",
    summary="A cluster's port",
    response_model=Aggregated,
    responses=errors(404),
)
async def cluster_metric(
    request: Request,
    deployment: str,
    cluster: str,
    port: str,
    name: str,
    api: Api,
    window: Window = WINDOW,
) -> Response:
    return answer(request, _value(api.metrics.cluster(deployment, cluster, "", port, window), name))


@router.get(
    "/metrics/deployments/{deployment}/clusters/{cluster}/services/{service}/ports/{port}/{name}",
    summary="A version",
    response_model=Aggregated,
    responses=errors(404),
)
async def service_metric(
    request: Request,
    deployment: str,
    cluster: str,
    service: str,
    port: str,
    name: str,
    api: Api,
    window: Window = WINDOW,
) -> Response:
    found = api.metrics.cluster(deployment, cluster, service, port, window)
    return answer(request, _value(found, name))


@router.get(
    "/health/gateways/{path:path}",
    summary="Whether a gateway's versions are well",
    description=(
        "`GATEWAY[/routes/ROUTE]`: the share, from 0 to 1, of the instances that are well, of those that can"
        " get requests."
    ),
    response_model=Aggregated,
    responses=errors(404),
)
async def gateway_health(request: Request, path: str, api: Api) -> Response:
    return answer(request, {"value": _first(path, api.metrics.health_of_gateway)})


@router.get(
    "/health/deployments/{deployment}",
    summary="Whether a deployment is well",
    response_model=Aggregated,
    responses=errors(404),
)
async def deployment_health(request: Request, deployment: str, api: Api) -> Response:
    return answer(request, {"value": api.metrics.health_of_deployment(deployment)})


@router.get(
    "/health/deployments/{deployment}/clusters/{cluster}",
    summary="Whether a cluster is well",
    response_model=Aggregated,
    responses=errors(404),
)
async def cluster_health(request: Request, deployment: str, cluster: str, api: Api) -> Response:
    return answer(request, {"value": api.metrics.health_of_deployment(deployment, cluster)})


@router.get(
    "/health/deployments/{deployment}/clusters/{cluster}/services/{service}",
    summary="Whether a version is well",
    response_model=Aggregated,
    responses=errors(404),
)
async def service_health(request: Request, deployment: str, cluster: str, service: str, api: Api) -> Response:
    return answer(request, {"value": api.metrics.health_of_deployment(deployment, cluster, service)})


def _value(found: Measurement, name: str) -> dict[str, Any]:
    of = metric(name)
    if of is None:
        raise NotFoundError(f"no metric {name[:40]!r}: there are {', '.join(METRICS)}")
    return {"value": of(found.measured)}


def _first(path: str, find: Callable[[str, str], T]) -> T:
    """What `path` means: a gateway, or one of its routes.

    :raises NotFoundError: nothing; it says what was asked for as a gateway.
    """
    problem: NotFoundError | None = None
    for gateway, route in _readings(path):
        try:
            return find(gateway, route)
        except NotFoundError as error:
            problem = error if problem is None or route else problem
    assert problem is not None
    raise problem


def _readings(path: str) -> Iterator[tuple[str, str]]:
    yield path, ""
    start = path.find(_ROUTES)
    while start >= 0:
        yield path[:start], path[start + len(_ROUTES) :]
        start = path.find(_ROUTES, start + 1)
