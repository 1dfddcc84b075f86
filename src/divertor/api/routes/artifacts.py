"""`/blueprints`, `/breeds`, `/scales`, `/conditions`: documents; and `/`: several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from divertor.api.answers import Paged, answer, answer_page
from divertor.api.bodies import Body, Sent, entry, word
from divertor.api.context import Api, By, ValidateOnly
from divertor.api.describe import body, errors
from divertor.api.schemas import Named
from divertor.api.services import Services
from divertor.errors import InputError, NotFoundError
from divertor.model.artifacts import Artifact, Gateway, Library
from divertor.model.documents import MappingNode, Node
from divertor.model.fields import fail, name_of
from divertor.model.reading import (
    read_artifacts,
    read_blueprint,
    read_breed,
    read_condition,
    read_scale,
)
from divertor.model.rendering import artifact_to_json
from divertor.model.resolving import resolve_gateway

_READERS: dict[str, Callable[[str, str], Any]] = {
    "blueprints": read_blueprint,
    "breeds": read_breed,
    "scales": read_scale,
    "conditions": read_condition,
}
_EXAMPLES = {
    "blueprints": "name: shop\nclusters:\n  shop:\n    services:\n      - breed: shop:1.1.0\n",
    "breeds": "name: shop:1.1.0\ndeployable: {type: command, definition: ./serve}\nports: {web: 8080/http}\n",
    "scales": "name: small\ncpu: 0.5\nmemory: 256MB\ninstances: 2\n",
    "conditions": "name: firefox\ncondition: user-agent == Firefox\n",
}


async def _read(sent: Body, kind: str, name: str) -> Artifact:
    """The artifact of a body; `name` is the address's, "" when it says none."""
    node = await sent.node()
    named = entry(node, "name")
    if named is None and not name:
        fail(node, f"a {kind.removesuffix('s')} without 'name'")
    found = name if named is None else name_of(named, f"a {kind.removesuffix('s')}")
    if name and found != name:
        fail(named or node, f"the name {found!r} in the body of a request for {name!r}", repr(name))
    return Artifact(kind, found, await sent.read(_READERS[kind]))


def _router_of(kind: str) -> APIRouter:
    """The routes of one kind."""
    router = APIRouter(prefix=f"/{kind}", tags=[kind])
    one = kind.removesuffix("s")
    sent_body = body(f"The {one}.", _EXAMPLES[kind])

    @router.get(
        "", summary=f"List {kind}", name=f"list_{kind}", response_model=list[Named], responses=errors()
    )
    async def list_all(request: Request, api: Api, page: Paged) -> Response:
        return answer_page(request, page, await api.artifacts.list(kind), artifact_to_json)

    @router.post(
        "",
        summary=f"Store a {one}",
        name=f"create_{one}",
        status_code=201,
        response_model=Named,
        responses=errors(413, 415),
        openapi_extra=sent_body,
    )
    async def create(
        request: Request, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
    ) -> Response:
        artifact = await _read(sent, kind, "")
        await api.artifacts.put(artifact, by, validate_only=validate_only)
        return answer(request, artifact_to_json(artifact), 201)

    @router.get(
        "/{name}", summary=f"Get a {one}", name=f"get_{one}", response_model=Named, responses=errors(404)
    )
    async def get(request: Request, name: str, api: Api) -> Response:
        return answer(request, artifact_to_json(await api.artifacts.get(kind, name)))

    @router.put(
        "/{name}",
        summary=f"Replace a {one}",
        name=f"update_{one}",
        response_model=Named,
        responses=errors(413, 415),
        openapi_extra=sent_body,
    )
    async def put(
        request: Request, name: str, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
    ) -> Response:
        artifact = await _read(sent, kind, name)
        await api.artifacts.put(artifact, by, validate_only=validate_only)
        return answer(request, artifact_to_json(artifact))

    @router.delete(
        "/{name}",
        summary=f"Remove a {one}",
        description="Removing what is not there is no error.",
        name=f"delete_{one}",
        status_code=204,
        responses=errors(),
    )
    async def delete(name: str, api: Api, by: By, validate_only: ValidateOnly = False) -> Response:
        await api.artifacts.delete(kind, name, by, validate_only=validate_only)
        return Response(status_code=204)

    return router


several = APIRouter(tags=["documents"])
_SEVERAL = body("Documents, each with its `kind`; a YAML stream may hold any number.", _EXAMPLES["breeds"])


async def _read_all(sent: Body, api: Services) -> list[Artifact]:
    """The documents, none of which is wrong; gateways may mean conditions that come with them."""
    artifacts = await sent.read(read_artifacts)
    library = {**await api.artifacts.library(), **{(each.kind, each.name): each for each in artifacts}}
    return [_resolved(each, library) for each in artifacts]


def _resolved(artifact: Artifact, library: Library) -> Artifact:
    if not isinstance(artifact.value, Gateway):
        return artifact
    return Artifact(artifact.kind, artifact.name, resolve_gateway(artifact.value, library))


async def _put_all(api: Services, artifacts: Sequence[Artifact], by: str, validate_only: bool) -> None:
    """Every one is tried before the first is stored: gateways last, as they may lead to what comes before."""
    ordered = sorted(artifacts, key=lambda each: isinstance(each.value, Gateway))
    for each in ordered:
        await _put(api, each, by, validate_only=True)
    if not validate_only:
        for each in ordered:
            await _put(api, each, by, validate_only=False)


async def _put(api: Services, artifact: Artifact, by: str, validate_only: bool) -> None:
    if not isinstance(artifact.value, Gateway):
        await api.artifacts.put(artifact, by, validate_only=validate_only)
        return
    data = artifact_to_json(artifact)
    try:
        await api.deployments.update_gateway(artifact.name, data, by, validate_only=validate_only)
    except NotFoundError:
        await api.deployments.create_gateway(artifact.value, by, validate_only=validate_only)


@several.post(
    "/",
    summary="Store several documents",
    status_code=201,
    response_model=list[Named],
    responses=errors(409, 413, 415),
    openapi_extra=_SEVERAL,
)
async def create_documents(
    request: Request, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    artifacts = await _read_all(sent, api)
    await _put_all(api, artifacts, by, validate_only)
    return answer(request, [artifact_to_json(each) for each in artifacts], 201)


@several.put(
    "/",
    summary="Replace several documents",
    response_model=list[Named],
    responses=errors(409, 413, 415),
    openapi_extra=_SEVERAL,
)
async def update_documents(
    request: Request, api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False
) -> Response:
    artifacts = await _read_all(sent, api)
    await _put_all(api, artifacts, by, validate_only)
    return answer(request, [artifact_to_json(each) for each in artifacts])


@several.delete(
    "/",
    summary="Remove several documents",
    description="Each document needs its `kind` and `name` only.",
    status_code=204,
    responses=errors(409, 413, 415),
    openapi_extra=_SEVERAL,
)
async def delete_documents(api: Api, by: By, sent: Sent, validate_only: ValidateOnly = False) -> Response:
    named = [_named(node) for node in await sent.nodes()]
    for kind, name in named:
        await _delete(api, kind, name, by, validate_only=True)
    if not validate_only:
        for kind, name in named:
            await _delete(api, kind, name, by, validate_only=False)
    return Response(status_code=204)


async def _delete(api: Services, kind: str, name: str, by: str, validate_only: bool) -> None:
    if kind == "gateways":
        await api.deployments.delete_gateway(name, by, validate_only=validate_only)
    else:
        await api.artifacts.delete(kind, name, by, validate_only=validate_only)


def _named(node: Node) -> tuple[str, str]:
    """Kind and name of a document that is to go."""
    if not isinstance(node, MappingNode):
        fail(node, "not a document", "a mapping with kind and name")
    kind, name = word(entry(node, "kind")).lower(), word(entry(node, "name"))
    kinds = {*_READERS, "gateways"}
    plural = kind if kind in kinds else f"{kind}s"
    if plural not in kinds or not name:
        raise InputError("a document without a kind and a name", node.position, ", ".join(sorted(kinds)))
    return plural, name


#: Made once, as making routes takes its time.
routers = [*(_router_of(kind) for kind in _READERS), several]
