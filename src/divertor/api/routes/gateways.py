"""`/gateways`: who gets which version. A gateway's name may contain `/`, as it is or as `%2F`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.bodies import Sent, located, plain
from divertor.api.context import Api, By, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.schemas import GatewayShape
from divertor.errors import InputError
from divertor.model.reading import read_gateway
from divertor.model.rendering import gateway_to_json

router = APIRouter(prefix="/gateways", tags=["gateways"])

_EXAMPLE = """\
name: shop/shop/web
port: 40000/http
routes:
  shop:1.0.0: {weight: 50%}
  shop:1.1.0: {weight: 50%, condition: user-agent == Firefox, condition_strength: 100%}
"""


@router.get("", summary="List gateways", response_model=list[GatewayShape], responses=errors())
async def list_gateways(request: Request, api: Api, page: Paged) -> Response:
    return answer_page(request, page, api.deployments.gateways(), gateway_to_json)


@router.post(
    "",
    summary="Open a gateway",
    description="One of its own, which belongs to no deployment.",
    status_code=202,
    response_model=GatewayShape,
    responses=errors(409, 413, 415),
    openapi_extra=body("The gateway.", _EXAMPLE),
)
async def create_gateway(
    request: Request, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    gateway = await sent.read(read_gateway)
    created = await api.deployments.create_gateway(gateway, by, validate_only=validate_only)
    return answer(request, gateway_to_json(created), 202)


@router.get("/{name:path}", summary="Get a gateway", response_model=GatewayShape, responses=errors(404))
async def get_gateway(request: Request, name: str, api: Api) -> Response:
    return answer(request, gateway_to_json(api.deployments.gateway(name)))


@router.put(
    "/{name:path}",
    summary="Change a gateway",
    description=(
        "Weights, conditions, strengths, stickiness. In effect within milliseconds, without a restart and"
        " without dropping a request."
    ),
    response_model=GatewayShape,
    responses=errors(404, 409, 413, 415),
    openapi_extra=body("The gateway, as GET answers it, changed.", _EXAMPLE),
)
async def update_gateway(
    request: Request, name: str, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    node = await sent.node()
    try:
        changed = await api.deployments.update_gateway(name, plain(node), by, validate_only=validate_only)
    except InputError as error:
        raise located(error, node) from error
    return answer(request, gateway_to_json(changed))


@router.delete(
    "/{name:path}",
    summary="Close a gateway",
    description="One of its own; a deployment's gateways go with the deployment.",
    status_code=204,
    responses=errors(404, 409),
)
async def delete_gateway(name: str, api: Api, by: By, validate_only: ValidateOnly = False) -> Response:
    await api.deployments.delete_gateway(name, by, validate_only=validate_only)
    return Response(status_code=204)
