"""Whether a blueprint holds together: its routes lead somewhere, its weights add up, its names exist.

What depends on a breed still meant by name is left for the check after `resolve`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from divertor.errors import InputError, Position
from divertor.model.artifacts import (
    Blueprint,
    Breed,
    Cluster,
    Gateway,
    IsolationPolicy,
    Port,
    Protocol,
    Route,
)
from divertor.model.fields import suggestion
from divertor.model.weights import distribute_weights


def check_blueprint(blueprint: Blueprint, position: Position) -> None:
    """:raises InputError: a part names something that is not there, or weights do not add up."""
    clusters = {cluster.name: cluster for cluster in blueprint.clusters}
    for cluster in blueprint.clusters:
        _check_cluster(cluster)
    _check_gateways_differ(blueprint.gateways)
    for gateway in blueprint.gateways:
        check_gateway(gateway)
        for route in gateway.routes:
            _check_cluster_route(route, gateway, clusters)
    for policy in blueprint.isolation:
        check_policy(policy, {name: [s.name for s in cluster.services] for name, cluster in clusters.items()})
    for variable in blueprint.environment:
        _check_scope(variable.name, clusters, position)


def check_gateway(gateway: Gateway) -> None:
    """:raises InputError: its weights do not add up, or it asks a tcp connection for its headers."""
    try:
        distribute_weights([route.weight for route in gateway.routes])
    except ValueError as problem:
        raise InputError(f"the weights of gateway {gateway.name!r}", gateway.position, str(problem)) from None
    _check_no_tcp_condition(gateway)


def check_policy(policy: IsolationPolicy, services: dict[str, list[str]]) -> None:
    """`services` are the names of each cluster's services. :raises InputError: the target is none of them."""
    if policy.cluster not in services:
        raise _unknown("cluster", policy.cluster, services, policy.position)
    if policy.to not in services[policy.cluster]:
        raise _unknown("service", policy.to, services[policy.cluster], policy.position)


def ports_of(breeds: Iterable[Breed]) -> dict[str, Port]:
    """The ports of a cluster: those of all its services; of one name, the first decides."""
    found: dict[str, Port] = {}
    for breed in breeds:
        for port in breed.ports:
            found.setdefault(port.name, port)
    return found


def _check_cluster(cluster: Cluster) -> None:
    names = [service.name for service in cluster.services]
    known: set[str] = set()
    for service in cluster.services:
        if service.name in known:
            raise InputError(f"service {service.name!r} is there twice", service.position)
        known.add(service.name)
    ports = _known_ports(cluster)
    for gateway in cluster.gateways:
        for route in gateway.routes:
            if route.path not in known:
                raise _unknown("service", route.path, names, route.position)
        check_internal_gateway(gateway, names)
        if ports is not None:
            _check_port_name(gateway, cluster.name, ports)


def check_internal_gateway(gateway: Gateway, services: Sequence[str]) -> None:
    """A cluster's gateway, its left-out services given a share. :raises InputError: see `check_gateway`."""
    listed = {route.path for route in gateway.routes}
    shares = [route.weight for route in gateway.routes] + [None for name in services if name not in listed]
    try:
        distribute_weights(shares)
    except ValueError as problem:
        where = gateway.routes[0].position if gateway.routes else gateway.position
        raise InputError("the weights of a cluster's routes", where, str(problem)) from None
    _check_no_tcp_condition(gateway)


def _check_no_tcp_condition(gateway: Gateway) -> None:
    for route in gateway.routes:
        if gateway.protocol is Protocol.TCP and (route.condition or route.condition_reference):
            raise InputError("a condition on a tcp gateway", route.position, "an http port")


def _known_ports(cluster: Cluster) -> dict[str, Port] | None:
    """None while a breed is only known by name."""
    breeds = [service.breed for service in cluster.services if isinstance(service.breed, Breed)]
    return ports_of(breeds) if len(breeds) == len(cluster.services) else None


def _check_port_name(gateway: Gateway, cluster: str, ports: dict[str, Port]) -> None:
    if not gateway.name and len(ports) != 1:
        message = f"cluster {cluster!r} has {len(ports)} ports: which one is this gateway of?"
        raise InputError(message, gateway.position, ", ".join(ports) or "a breed with a port")
    if gateway.name and gateway.name not in ports:
        raise _unknown("port", gateway.name, ports, gateway.position)
    port = ports[gateway.name] if gateway.name else next(iter(ports.values()))
    conditions = any(route.condition or route.condition_reference for route in gateway.routes)
    if port.protocol is Protocol.TCP and (conditions or gateway.sticky != "none"):
        raise InputError(
            f"port {port.name!r} is tcp", gateway.position, "no condition and no stickiness, or an http port"
        )


def _check_gateways_differ(gateways: Iterable[Gateway]) -> None:
    seen: set[int | str] = set()
    for gateway in gateways:
        if "/" in gateway.name or gateway.name.startswith("["):
            raise InputError(
                f"the gateway name {gateway.name!r}", gateway.position, "a port, or one name without '/'"
            )
        for own in (gateway.name, gateway.port):
            if own in seen:
                raise InputError(f"two gateways are called or listen on {own}", gateway.position)
            if own is not None:
                seen.add(own)


def _check_cluster_route(route: Route, gateway: Gateway, clusters: dict[str, Cluster]) -> None:
    if route.path.startswith("["):
        return
    cluster_name, _, port = route.path.partition("/")
    if cluster_name not in clusters:
        raise _unknown("cluster", cluster_name, clusters, route.position)
    ports = _known_ports(clusters[cluster_name])
    if ports is None:
        return
    if port and port not in ports:
        raise _unknown("port", port, ports, route.position)
    if not port and len(ports) != 1:
        raise InputError(f"cluster {cluster_name!r} has {len(ports)} ports", route.position, "cluster/port")
    target = ports[port] if port else next(iter(ports.values()))
    if target.protocol is not gateway.protocol:
        raise InputError(
            f"a {gateway.protocol} gateway to the {target.protocol} port {route.path!r}",
            route.position,
            "one protocol",
        )


def _check_scope(variable: str, clusters: dict[str, Cluster], position: Position) -> None:
    cluster, _, name = variable.rpartition(".")
    if not cluster or not name:
        raise InputError(f"the variable {variable!r} of no cluster", position, "cluster.NAME")
    if cluster not in clusters:
        raise _unknown("cluster", cluster, clusters, position)


def _unknown(what: str, name: str, known: Iterable[str], position: Position) -> InputError:
    return InputError(f"no {what} {name!r}", position, suggestion(name, known) or f"a {what} that is there")
