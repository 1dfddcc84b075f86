"""`/deployments`: deploy, merge, change, undeploy."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.bodies import SOURCE, Sent, entry, located, plain, word
from divertor.api.context import Api, By, Surroundings, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.schemas import DeploymentShape
from divertor.api.services import Services
from divertor.errors import InputError, NotFoundError, Position
from divertor.model.artifacts import Blueprint
from divertor.model.documents import MappingNode, Node, Scalar, Sequence
from divertor.model.fields import fail, name_of
from divertor.model.reading import blueprint_of
from divertor.model.rendering import deployment_to_json

T = TypeVar("T")

router = APIRouter(prefix="/deployments", tags=["deployments"])

_EXAMPLE = """\
name: shop
gateways:
  9051: shop/web
clusters:
  shop:
    services:
      - breed:
          name: shop:1.1.0
          deployable: {type: command, definition: ./serve}
          ports: {web: 8080/http}
"""
_REFERENCE_KEYS = frozenset({"name", "kind", "ref", "reference"})


@router.get("", summary="List deployments", response_model=list[DeploymentShape], responses=errors())
async def list_deployments(request: Request, api: Api, page: Paged) -> Response:
    return answer_page(request, page, api.deployments.list(), deployment_to_json)


@router.post(
    "",
    summary="Deploy a blueprint",
    description=(
        "The deployment is named by `?name=`, else by the blueprint, else anew. `{ref: NAME}` means a stored"
        " blueprint."
    ),
    status_code=202,
    response_model=DeploymentShape,
    responses=errors(404, 409, 413, 415),
    openapi_extra=body("The blueprint.", _EXAMPLE),
)
async def create_deployment(
    request: Request,
    world: Surroundings,
    by: By,
    sent: Sent,
    name: Annotated[str, Query(description="The deployment's name.")] = "",
    validate_only: ValidateOnly = False,
) -> Response:
    blueprint = await _blueprint(await sent.node(), world.services, world.new_id())
    deployed = await world.services.deployments.deploy(
        blueprint, _checked(name) if name else blueprint.name, by, validate_only=validate_only
    )
    return answer(request, deployment_to_json(deployed), 202)


@router.get(
    "/{name}",
    summary="Get a deployment",
    description="With the state of every service and instance. A PUT takes it back, changed.",
    response_model=DeploymentShape,
    responses=errors(404),
)
async def get_deployment(request: Request, name: str, api: Api) -> Response:
    return answer(request, deployment_to_json(api.deployments.get(name)))


@router.put(
    "/{name}",
    summary="Change a deployment, or merge a blueprint into it",
    description=(
        "A deployment's own JSON (`kind: deployments`, as GET answers it) makes the deployment what it says."
        " A blueprint is merged into it, or deployed under this name when there is none. Without `kind`, a"
        " document with `ports` or `hosts`, or a service with a `status`, is a deployment."
    ),
    response_model=DeploymentShape,
    responses=errors(404, 409, 413, 415),
    openapi_extra=body("A blueprint, or the deployment.", _EXAMPLE),
)
async def update_deployment(
    request: Request, name: str, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    node = await sent.node()
    if is_deployment(node):
        change = api.deployments.update(name, plain(node), by, validate_only=validate_only)
        deployment = await _told_where(change, node)
    else:
        blueprint = await _blueprint(node, api, name)
        if _is_running(api, name):
            deployment = await api.deployments.merge(name, blueprint, by, validate_only=validate_only)
        else:
            deployment = await api.deployments.deploy(
                blueprint, _checked(name), by, validate_only=validate_only
            )
    return answer(request, deployment_to_json(deployment))


@router.delete(
    "/{name}",
    summary="Undeploy services, or everything",
    description=(
        "A blueprint as body takes out its services: 202 and what is left, or 204 when nothing is. To"
        " undeploy everything say so: `?all=true`, without a body."
    ),
    status_code=204,
    responses={202: {"model": DeploymentShape, "description": "What is left."}, **errors(404, 409, 413, 415)},
    openapi_extra=body("The services to take out.", _EXAMPLE, required=False),
)
async def delete_deployment(
    request: Request,
    name: str,
    api: Api,
    by: By,
    sent: Sent,
    everything: Annotated[bool, Query(alias="all", description="Undeploy all of it.")] = False,
    validate_only: ValidateOnly = False,
) -> Response:
    if sent.is_empty is not everything:
        raise InputError("what shall be undeployed?", Position(SOURCE), "a blueprint, or ?all=true, not both")
    if everything:
        await api.deployments.delete(name, by, validate_only=validate_only)
        return Response(status_code=204)
    blueprint = await _blueprint(await sent.node(), api, name)
    left = await api.deployments.remove(name, blueprint, by, validate_only=validate_only)
    return Response(status_code=204) if left is None else answer(request, deployment_to_json(left), 202)


def is_deployment(node: Node) -> bool:
    """Whether a document is a deployment's JSON (else a blueprint).

    `kind` decides. Without it, only what runs has ports and hosts, and services with a status.
    """
    kind = word(entry(node, "kind")).lower()
    if kind:
        return kind in ("deployment", "deployments")
    if entry(node, "ports") is not None or entry(node, "hosts") is not None:
        return True
    clusters = entry(node, "clusters")
    entries = clusters.entries if isinstance(clusters, MappingNode) else ()
    return any(_runs(entry(cluster, "services")) for _, cluster in entries)


def _runs(services: Node | None) -> bool:
    items = services.items if isinstance(services, Sequence) else (services,)
    return any(item is not None and entry(item, "status") is not None for item in items)


async def _blueprint(node: Node, api: Services, name: str) -> Blueprint:
    """The blueprint that is sent, or meant by reference; `name` for one that has none."""
    if not isinstance(node, MappingNode):
        fail(node, "not a blueprint", "a mapping")
    keys = {key.text for key, _ in node.entries}
    if keys <= _REFERENCE_KEYS and keys & {"ref", "reference"}:
        return await _stored(node, api)
    if "name" not in keys:
        given = Scalar(name, name, node.position, quoted=True)
        key = Scalar("name", "name", node.position)
        node = MappingNode(((key, given), *node.entries), node.position)
    return blueprint_of(node)


async def _stored(node: MappingNode, api: Services) -> Blueprint:
    reference = entry(node, "ref") or entry(node, "reference") or node
    blueprint = (await api.artifacts.get("blueprints", name_of(reference, "a blueprint"))).value
    assert isinstance(blueprint, Blueprint)
    named = entry(node, "name")
    return blueprint if named is None else replace(blueprint, name=name_of(named, "a deployment"))


def _checked(name: str) -> str:
    return name_of(Scalar(name, name, Position("deployment name"), quoted=True), "a deployment")


def _is_running(api: Services, name: str) -> bool:
    try:
        api.deployments.get(name)
    except NotFoundError:
        return False
    return True


async def _told_where(change: Awaitable[T], node: Node) -> T:
    """The result of a change; a complaint about a path of the document is given its line and column."""
    try:
        return await change
    except InputError as error:
        raise located(error, node) from error
