"""References to artifacts: a blueprint with names in, a blueprint with the things themselves out."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from divertor.conditions import Condition
from divertor.errors import InputError, Position
from divertor.model.artifacts import (
    Blueprint,
    Breed,
    Cluster,
    Gateway,
    Library,
    Reference,
    Route,
    Scale,
    Service,
)
from divertor.model.checks import check_blueprint
from divertor.model.fields import suggestion

T = TypeVar("T")


def resolve(blueprint: Blueprint, library: Library) -> Blueprint:
    """The blueprint with every breed, scale and condition meant by name put in its place, and checked.

    :raises InputError: a name is not in the library (at the name's position), or the whole does not hold
        together once it is filled in.
    """
    resolved = replace(
        blueprint,
        clusters=tuple(_cluster(cluster, library) for cluster in blueprint.clusters),
        gateways=tuple(resolve_gateway(gateway, library) for gateway in blueprint.gateways),
    )
    check_blueprint(resolved, Position(f"blueprint {blueprint.name}"))
    return resolved


def resolve_gateway(gateway: Gateway, library: Library) -> Gateway:
    """A gateway with its conditions in place. :raises InputError: one is not in the library."""
    return replace(gateway, routes=tuple(_route(route, library) for route in gateway.routes))


def _cluster(cluster: Cluster, library: Library) -> Cluster:
    return replace(
        cluster,
        services=tuple(_service(service, library) for service in cluster.services),
        gateways=tuple(resolve_gateway(gateway, library) for gateway in cluster.gateways),
    )


def _service(service: Service, library: Library) -> Service:
    breed = _found(service.breed, library, Breed) if isinstance(service.breed, Reference) else service.breed
    scale = _found(service.scale, library, Scale) if isinstance(service.scale, Reference) else service.scale
    return replace(service, breed=breed, scale=scale)


def _route(route: Route, library: Library) -> Route:
    reference = route.condition_reference
    if reference is None:
        return route
    value = _look_up(reference, library)
    if not isinstance(value, Condition):
        raise InputError(f"{reference.name!r} is no condition", reference.position)
    return replace(route, condition=value, condition_reference=None)


def _found(reference: Reference, library: Library, wanted: type[T]) -> T:
    value = _look_up(reference, library)
    if not isinstance(value, wanted):
        raise InputError(f"{reference.name!r} is none of {reference.kind}", reference.position)
    return value


def _look_up(reference: Reference, library: Library) -> object:
    artifact = library.get((reference.kind, reference.name))
    if artifact is not None:
        return artifact.value
    known = [name for kind, name in library if kind == reference.kind]
    message = f"nothing called {reference.name!r} among the {reference.kind}"
    raise InputError(message, reference.position, suggestion(reference.name, known))
