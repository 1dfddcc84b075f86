"""Whether a blueprint holds together: its routes lead somewhere, its weights add up, its names exist.

What depends on a breed still meant by name is left for the check after `resolve`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

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
from divertor.model.paths import is_external, is_group
from divertor.model.traffic import Mirror, Traffic
from divertor.model.weights import distribute_weights


def check_blueprint(blueprint: Blueprint, position: Position) -> None:
    """:raises InputError: a part names something that is not there, or weights do not add up."""
    clusters = {cluster.name: cluster for cluster in blueprint.clusters}
    for cluster in blueprint.clusters:
        _check_cluster(cluster)
    check_gateways_differ(blueprint.gateways)
    siblings = {gateway.name: gateway for gateway in blueprint.gateways}
    for gateway in blueprint.gateways:
        check_gateway(gateway)
        for route in gateway.routes:
            _check_external_route(route, gateway, clusters, siblings)
        for mirror, position in _mirrors(gateway):
            _check_mirror(mirror.to, position, clusters)
    _check_no_circle(blueprint.gateways, clusters)
    for policy in blueprint.isolation:
        check_policy(policy, {name: [s.name for s in cluster.services] for name, cluster in clusters.items()})
    for variable in blueprint.environment:
        _check_scope(variable.name, clusters, position)


def check_gateway(gateway: Gateway) -> None:
    """:raises InputError: its weights do not add up, it asks a tcp connection for its headers, or it selects
    its routes and has others too."""
    check_http_only(gateway)
    if gateway.selector is not None:
        check_groups(gateway)
        return
    try:
        distribute_weights([route.weight for route in gateway.routes])
    except ValueError as problem:
        raise InputError(f"the weights of gateway {gateway.name!r}", gateway.position, str(problem)) from None


def check_groups(gateway: Gateway) -> None:
    """What a gateway with a selector says of its routes is about the groups that come.

    :raises InputError: a route is about something else, or the weights are too much.
    """
    for route in gateway.routes:
        if not is_group(route.path) or route.selector is not None:
            message = f"the route {route.path!r} of a gateway that selects its routes"
            raise InputError(message, route.position, "a group such as (1), or no selector")
    if sum(route.weight or 0 for route in gateway.routes) > 100:
        raise InputError(f"the weights of gateway {gateway.name!r}", gateway.position, "at most 100% in all")


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
        for mirror, position in _mirrors(gateway):
            if not is_external(mirror.to) and mirror.to not in known:
                raise _unknown("service", mirror.to, names, position)
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
    check_http_only(gateway)


def check_http_only(gateway: Gateway) -> None:
    """A tcp gateway sees bytes: it can encrypt and share them out, nothing more.

    :raises InputError: it is to do more.
    """
    if gateway.protocol is not Protocol.TCP:
        return
    for name, value in _http_parts(gateway):
        if value:
            raise InputError(f"{name} of a tcp gateway", gateway.position, "an http port")
    for route in gateway.routes:
        if route.condition or route.condition_reference:
            raise InputError("a condition on a tcp gateway", route.position, "an http port")
        if route.rewrites or route.traffic != Traffic():
            raise InputError("a tcp gateway that changes requests", route.position, "an http port")


def _http_parts(gateway: Gateway) -> Iterator[tuple[str, object]]:
    yield "the virtual hosts", gateway.virtual_hosts
    yield "the rate limits", gateway.rate_limits
    yield "the trusted proxies", gateway.trusted_proxies
    yield "what is done with requests", gateway.traffic != Traffic()


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
    if port.protocol is Protocol.TCP:
        check_http_only(replace(gateway, protocol=Protocol.TCP))


def check_gateways_differ(gateways: Iterable[Gateway]) -> None:
    """:raises InputError: two external gateways have a name, a port or a host name in common."""
    seen: set[int | str] = set()
    hosts: dict[str, str] = {}
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
        for host in gateway.virtual_hosts:
            if host in hosts:
                raise InputError(f"the host {host!r} leads to {hosts[host]!r} already", gateway.position)
            hosts[host] = gateway.name


def _mirrors(gateway: Gateway) -> Iterator[tuple[Mirror, Position]]:
    for mirror in gateway.traffic.mirrors:
        yield mirror, gateway.position
    for route in gateway.routes:
        for mirror in route.traffic.mirrors:
            yield mirror, route.position


def _check_mirror(path: str, position: Position, clusters: dict[str, Cluster]) -> None:
    """A copy goes to one version: `cluster/service` or `cluster/service/port`."""
    if is_external(path):
        return
    name, _, rest = path.partition("/")
    if name not in clusters:
        raise _unknown("cluster", name, clusters, position)
    service, _, port = rest.partition("/")
    services = [own.name for own in clusters[name].services]
    if service not in services:
        expected = suggestion(service, services) if service else "cluster/service/port"
        raise InputError(f"a copy to {path!r}, which is no version", position, expected)
    ports = _known_ports(clusters[name])
    if port and ports is not None and port not in ports:
        raise _unknown("port", port, ports, position)


def _check_no_circle(gateways: Sequence[Gateway], clusters: dict[str, Cluster]) -> None:
    """Each gateway is left once all it leads to is; what is never left goes in circles."""
    names = {gateway.name for gateway in gateways} - set(clusters)
    onward = {
        gateway.name: {r.path for r in gateway.routes if r.path in names and r.selector is None}
        for gateway in gateways
    }
    while onward:
        ends = {name for name, paths in onward.items() if not paths & onward.keys()}
        if not ends:
            first = next(gateway for gateway in gateways if gateway.name in onward)
            circle = ", ".join(sorted(onward))
            raise InputError(f"gateways that lead round in a circle: {circle}", first.position, "an end")
        for name in ends:
            del onward[name]


def _check_external_route(
    route: Route, gateway: Gateway, clusters: dict[str, Cluster], siblings: dict[str, Gateway]
) -> None:
    if is_external(route.path) or gateway.selector is not None or route.selector is not None:
        return
    cluster_name, _, port = route.path.partition("/")
    if cluster_name not in clusters and route.path in siblings:
        _check_one_protocol(route, gateway, siblings[route.path].protocol)
        return
    if cluster_name not in clusters:
        raise _unknown("cluster or gateway", cluster_name, (*clusters, *siblings), route.position)
    ports = _known_ports(clusters[cluster_name])
    if ports is None:
        return
    if port and port not in ports:
        raise _unknown("port", port, ports, route.position)
    if not port and len(ports) != 1:
        raise InputError(f"cluster {cluster_name!r} has {len(ports)} ports", route.position, "cluster/port")
    target = ports[port] if port else next(iter(ports.values()))
    _check_one_protocol(route, gateway, gateway_protocol(target))


def gateway_protocol(port: Port) -> Protocol:
    """What the gateway of such a port speaks: to an instance's HTTP/2 the way is HTTP, whatever version."""
    return Protocol.HTTP if port.protocol is Protocol.HTTP2 else port.protocol


def _check_one_protocol(route: Route, gateway: Gateway, protocol: Protocol) -> None:
    if protocol is not gateway.protocol:
        message = f"a {gateway.protocol} gateway to the {protocol} port {route.path!r}"
        raise InputError(message, route.position, "one protocol")


def _check_scope(variable: str, clusters: dict[str, Cluster], position: Position) -> None:
    cluster, _, name = variable.rpartition(".")
    if not cluster or not name:
        raise InputError(f"the variable {variable!r} of no cluster", position, "cluster.NAME")
    if cluster not in clusters:
        raise _unknown("cluster", cluster, clusters, position)


def _unknown(what: str, name: str, known: Iterable[str], position: Position) -> InputError:
    return InputError(f"no {what} {name!r}", position, suggestion(name, known) or f"a {what} that is there")
