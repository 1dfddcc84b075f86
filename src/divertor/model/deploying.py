"""Blueprint to deployment: `deploy`, and Vamp's `merge` and `remove` on what runs already.

Pure: what a deployment becomes is decided here, who runs it is not. Every gateway that comes out has all
its routes and all its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from divertor.errors import ConflictError, InputError, Position
from divertor.model.artifacts import (
    Blueprint,
    Breed,
    Cluster,
    EnvironmentVariable,
    Gateway,
    IsolationPolicy,
    Port,
    Reference,
    Route,
    Scale,
    Service,
)
from divertor.model.checks import check_groups, check_http_only, gateway_protocol, ports_of
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment
from divertor.model.environment import service_environment
from divertor.model.fields import suggestion
from divertor.model.paths import is_external
from divertor.model.traffic import Mirror, Traffic
from divertor.model.weights import distribute_weights


def deploy(blueprint: Blueprint, name: str) -> Deployment:
    """What runs when `blueprint` is deployed as `name`.

    :raises InputError: a reference is not resolved, or a variable has no value.
    """
    return merge(Deployment(name), blueprint)


def merge(deployment: Deployment, blueprint: Blueprint) -> Deployment:
    """The deployment with the blueprint's clusters, services and gateways added or updated.

    A new version beside running ones gets what their weights leave, usually nothing. A cluster's routes are
    replaced when the blueprint gives some; external gateways and isolation policies are replaced by port and
    by cluster. Variables that run already keep their value.

    :raises InputError: a reference is not resolved, a variable has no value, or weights do not add up.
    """
    clusters = {cluster.name: cluster for cluster in deployment.clusters}
    for cluster in blueprint.clusters:
        clusters[cluster.name] = _merged_cluster(
            deployment.name, blueprint, cluster, clusters.get(cluster.name)
        )
    merged = replace(
        deployment,
        clusters=tuple(clusters.values()),
        isolation=_merged_policies(deployment.isolation, blueprint.isolation),
        environment=_merged_environment(deployment.environment, blueprint.environment),
        extras={**deployment.extras, **blueprint.extras},
    )
    siblings = [gateway.name for gateway in blueprint.gateways]
    external = [external_gateway(merged, gateway, siblings) for gateway in blueprint.gateways]
    return replace(merged, gateways=_replaced_by_port(deployment.gateways, external))


def remove(deployment: Deployment, blueprint: Blueprint) -> Deployment | None:
    """The deployment without the blueprint's services; None when nothing is left.

    :raises ConflictError: what remains of a gateway does not carry 100%, or attackers are sent to a service
        that would go.
    """
    gone = {cluster.name: {service.name for service in cluster.services} for cluster in blueprint.clusters}
    reduced = (_reduced(cluster, gone.get(cluster.name, set())) for cluster in deployment.clusters)
    clusters = tuple(cluster for cluster in reduced if cluster.services)
    if not clusters:
        return None
    left = {cluster.name for cluster in clusters}
    policies = tuple(policy for policy in deployment.isolation if policy.cluster in left)
    for policy in policies:
        if policy.to in gone.get(policy.cluster, ()):
            raise ConflictError(
                f"attackers of {policy.cluster} are sent to {policy.to}: change its isolation first"
            )
    kept = _without_ends(deployment.gateways, clusters)
    return replace(deployment, clusters=clusters, gateways=kept, isolation=policies)


def gateways_of(deployment: Deployment) -> tuple[Gateway, ...]:
    """All gateways: the external ones, then each cluster's."""
    internal = (gateway for cluster in deployment.clusters for gateway in cluster.gateways)
    return (*deployment.gateways, *internal)


def replace_gateway(deployment: Deployment, gateway: Gateway) -> Deployment:
    """The deployment with the gateway of the same name replaced; unchanged when it has none of that name."""

    def swap(gateways: Iterable[Gateway]) -> tuple[Gateway, ...]:
        return tuple(gateway if old.name == gateway.name else old for old in gateways)

    clusters = tuple(replace(cluster, gateways=swap(cluster.gateways)) for cluster in deployment.clusters)
    return replace(deployment, gateways=swap(deployment.gateways), clusters=clusters)


def _merged_cluster(
    deployment: str, blueprint: Blueprint, cluster: Cluster, running: DeployedCluster | None
) -> DeployedCluster:
    services = {service.name: service for service in running.services} if running else {}
    for service in cluster.services:
        breed = _resolved(service)
        environment = service_environment(blueprint, cluster.name, breed, service)
        services[service.name] = _merged_service(
            service, breed, environment, cluster, services.get(service.name)
        )
    gateways = _cluster_gateways(f"{deployment}/{cluster.name}", services.values(), cluster.gateways, running)
    extras = {**(running.extras if running else {}), **cluster.extras}
    return DeployedCluster(cluster.name, tuple(services.values()), gateways, extras)


def _resolved(service: Service) -> Breed:
    for part in (service.breed, service.scale):
        if isinstance(part, Reference):
            raise InputError(f"{part.name!r} among the {part.kind} is not resolved", part.position)
    assert isinstance(service.breed, Breed)
    return service.breed


def _merged_service(
    service: Service,
    breed: Breed,
    environment: tuple[EnvironmentVariable, ...],
    cluster: Cluster,
    running: DeployedService | None,
) -> DeployedService:
    checks = (service.health_checks, cluster.health_checks, breed.health_checks)
    scale = service.scale if isinstance(service.scale, Scale) else None
    before = running or DeployedService(breed)
    return replace(
        before,
        breed=breed,
        scale=scale or before.scale,
        environment=environment,
        health_checks=next((given for given in checks if given is not None), ()),
        outlier_detection=service.outlier_detection or cluster.outlier_detection,
        circuit_breaker=service.circuit_breaker or cluster.circuit_breaker,
        extras={**before.extras, **service.extras},
    )


def _cluster_gateways(
    prefix: str,
    services: Iterable[DeployedService],
    asked: Sequence[Gateway],
    running: DeployedCluster | None,
) -> tuple[Gateway, ...]:
    """One gateway for each port of the cluster: as asked for, else as it runs, else weighted equally."""
    breeds = [service.breed for service in services]
    ports = ports_of(breeds)
    by_port = {gateway.name or next(iter(ports), ""): gateway for gateway in asked}
    for name in by_port:
        if name not in ports:
            position = by_port[name].position
            raise InputError(f"no port {name!r} in {prefix}", position, suggestion(name, ports))
    before = {gateway.name: gateway for gateway in running.gateways} if running else {}
    gateways = []
    for port in ports.values():
        path = f"{prefix}/{port.name}"
        old = before.get(path) or Gateway(port.name)
        new = by_port.get(port.name) or old
        # Who only adds a timeout must not give a version that is not released a share.
        wanted = replace(new, port=new.port or old.port, routes=new.routes or old.routes)
        gateways.append(internal_gateway(path, port, breeds, wanted))
    return tuple(gateways)


def internal_gateway(path: str, port: Port, breeds: Sequence[Breed], wanted: Gateway) -> Gateway:
    """The gateway `path` (`deployment/cluster/port`) with a route to every breed that has the port.

    `wanted` may mean a service by its name or by its full path. :raises InputError: an unknown service, an
    unresolved condition, or weights that do not add up.
    """
    prefix = path.rpartition("/")[0]
    paths = {
        breed.name: f"{prefix}/{breed.name}/{port.name}" for breed in breeds if _has_port(breed, port.name)
    }
    routes = {full: Route(full) for full in paths.values()}
    listed: dict[str, Route] = {}
    for route in wanted.routes:
        full = paths.get(route.path) or _known_path(route, paths, routes)
        if full in listed:
            raise InputError(f"a second route to {route.path!r}", route.position)
        listed[full] = replace(route, path=full, traffic=_to_versions(route.traffic, routes, route.position))
    complete = (*listed.values(), *(route for full, route in routes.items() if full not in listed))
    named = replace(
        wanted,
        name=path,
        protocol=gateway_protocol(port),
        routes=complete,
        traffic=_to_versions(wanted.traffic, routes, wanted.position),
    )
    return weighted(named)


def _to_versions(traffic: Traffic, paths: Iterable[str], position: Position) -> Traffic:
    """With the full path (`deployment/cluster/service/port`) of each version that gets copies."""
    if not traffic.mirrors:
        return traffic
    known = tuple(paths)
    mirrors = tuple(replace(mirror, to=_version(mirror, known, position)) for mirror in traffic.mirrors)
    return replace(traffic, mirrors=mirrors)


def _version(mirror: Mirror, paths: Sequence[str], position: Position) -> str:
    """The version a mirror means: by its full path, without the port if it has one, or without what it shares
    with the gateway (the deployment; in a cluster that too)."""
    if is_external(mirror.to) or mirror.to in paths:
        return mirror.to
    parts = {path: path.split("/") for path in paths}
    found = [
        path
        for path, (_, cluster, service, port) in parts.items()
        if mirror.to in (f"{cluster}/{service}/{port}", f"{cluster}/{service}", service)
        or mirror.to == path.rpartition("/")[0]
    ]
    if len(found) == 1:
        return found[0]
    short = [path.partition("/")[2] for path in paths]
    problem = "no version" if not found else "more than one version"
    raise InputError(f"{problem} {mirror.to!r} to copy to", position, suggestion(mirror.to, short))


def _has_port(breed: Breed, name: str) -> bool:
    return any(port.name == name for port in breed.ports)


def _known_path(route: Route, paths: dict[str, str], routes: dict[str, Route]) -> str:
    if route.path in routes:
        return route.path
    for full in routes:
        short = full.partition("/")[2]
        if route.path in (short, full.rpartition("/")[0], short.rpartition("/")[0]):
            return full
    raise InputError(f"no service {route.path!r}", route.position, suggestion(route.path, paths))


def external_gateway(deployment: Deployment, gateway: Gateway, siblings: Iterable[str] = ()) -> Gateway:
    """A blueprint's gateway as it runs: named `deployment/name`, its routes to `deployment/cluster/port`, or
    to another gateway of the deployment (or of `siblings`, which are to join it), `deployment/name`.

    :raises InputError: a route leads to no port of the deployment, or weights do not add up.
    """
    prefix = f"{deployment.name}/"
    name = gateway.name if gateway.name.startswith(prefix) else prefix + gateway.name
    internal = [own for cluster in deployment.clusters for own in cluster.gateways]
    others = (*(own.name for own in deployment.gateways), *siblings)
    known = _Known(
        prefix,
        ports=tuple(own.name for own in internal),
        gateways=tuple(other if other.startswith(prefix) else prefix + other for other in others),
        versions=tuple(route.path for own in internal for route in own.routes),
    )
    routes = tuple(known.route(route, gateway) for route in gateway.routes)
    traffic = _to_versions(gateway.traffic, known.versions, gateway.position)
    return weighted(replace(gateway, name=name, routes=routes, traffic=traffic))


@dataclass(frozen=True, slots=True)
class _Known:
    """What a deployment has that an external gateway may lead to, by full path."""

    prefix: str
    ports: tuple[str, ...]
    gateways: tuple[str, ...]
    versions: tuple[str, ...]

    def route(self, route: Route, gateway: Gateway) -> Route:
        traffic = _to_versions(route.traffic, self.versions, route.position)
        if gateway.selector is not None or route.selector is not None:
            return replace(route, traffic=traffic)
        return replace(route, path=self.path(route), traffic=traffic)

    def path(self, route: Route) -> str:
        """A port before a gateway, and the full path before the short one."""
        if is_external(route.path):
            return route.path
        for path in (route.path, self.prefix + route.path):
            if path in self.ports:
                return path
        if route.path in self.gateways:
            return route.path
        clusters = (route.path, self.prefix + route.path)
        of_cluster = [name for name in self.ports if name.rpartition("/")[0] in clusters]
        if len(of_cluster) == 1:
            return of_cluster[0]
        if self.prefix + route.path in self.gateways:
            return self.prefix + route.path
        short = [name.removeprefix(self.prefix) for name in (*self.ports, *self.gateways)]
        raise InputError(f"no port {route.path!r}", route.position, suggestion(route.path, short))


def weighted(gateway: Gateway) -> Gateway:
    """The gateway with every weight filled in; of one that selects its routes, the weights stay what is asked
    of the groups that come. :raises InputError: they do not add up, or a tcp gateway asks for what takes
    requests."""
    check_http_only(gateway)
    for route in gateway.routes:
        if route.condition_reference is not None:
            reference = route.condition_reference
            raise InputError(f"{reference.name!r} among the conditions is not resolved", reference.position)
    if gateway.selector is not None:
        check_groups(gateway)
        return gateway
    try:
        weights = distribute_weights([route.weight for route in gateway.routes])
    except ValueError as problem:
        where = gateway.position if gateway.position.source else Position(f"gateway {gateway.name}")
        raise InputError(f"the weights of {gateway.name}", where, str(problem)) from None
    routes = (replace(route, weight=weight) for route, weight in zip(gateway.routes, weights, strict=True))
    return replace(gateway, routes=tuple(routes))


def _merged_policies(
    running: Sequence[IsolationPolicy], asked: Sequence[IsolationPolicy]
) -> tuple[IsolationPolicy, ...]:
    return tuple(
        (
            {policy.cluster: policy for policy in running} | {policy.cluster: policy for policy in asked}
        ).values()
    )


def _merged_environment(
    running: Sequence[EnvironmentVariable], asked: Sequence[EnvironmentVariable]
) -> tuple[EnvironmentVariable, ...]:
    names = {variable.name for variable in running}
    return (*running, *(variable for variable in asked if variable.name not in names))


def _replaced_by_port(running: Sequence[Gateway], asked: Sequence[Gateway]) -> tuple[Gateway, ...]:
    def key(gateway: Gateway) -> object:
        return gateway.name if gateway.port is None else gateway.port

    found = {key(gateway): gateway for gateway in running}
    for gateway in asked:
        found[key(gateway)] = _continued(gateway, found.get(key(gateway)))
    return tuple(found.values())


def _continued(asked: Gateway, running: Gateway | None) -> Gateway:
    """`asked` with the routes of `running` where it names none itself, and with the weights that the groups
    of the same selector have where it gives none: without them all would go back to the first group.
    """
    if running is None or running.selector != asked.selector:
        return asked
    if asked.selector is None:
        return replace(asked, routes=asked.routes or running.routes)
    if any(route.weight is not None for route in asked.routes):
        return asked
    weights = {route.path: route.weight for route in running.routes}
    said = [replace(route, weight=weights.get(route.path)) for route in asked.routes]
    known = {route.path for route in said}
    left = [Route(route.path, route.weight) for route in running.routes if route.path not in known]
    return replace(asked, routes=(*said, *left))


def _reduced(cluster: DeployedCluster, gone: set[str]) -> DeployedCluster:
    if not gone:
        return cluster
    services = tuple(service for service in cluster.services if service.name not in gone)
    paths = {f"/{cluster.name}/{name}/" for name in gone}
    gateways = [_without_routes(gateway, paths) for gateway in cluster.gateways]
    versions = {route.path for gateway in gateways for route in gateway.routes}
    kept = tuple(_without_copies(gateway, versions) for gateway in gateways if gateway.routes)
    for gateway in kept:
        if sum(route.weight or 0 for route in gateway.routes) != 100:
            names = ", ".join(sorted(gone))
            raise ConflictError(
                f"{gateway.name} would not carry 100% without {names}: set their weight to 0% first"
            )
    return replace(cluster, services=services, gateways=kept)


def _without_routes(gateway: Gateway, parts: set[str]) -> Gateway:
    routes = tuple(route for route in gateway.routes if not any(part in route.path for part in parts))
    return replace(gateway, routes=routes)


def _without_ends(gateways: Sequence[Gateway], clusters: Sequence[DeployedCluster]) -> tuple[Gateway, ...]:
    """The external gateways without routes and copies to what is gone, and without those that have no route
    left; as these may be what others lead to, until nothing changes."""
    internal = [gateway for cluster in clusters for gateway in cluster.gateways]
    versions = {route.path for gateway in internal for route in gateway.routes}
    before, kept = None, tuple(gateways)
    while before != kept:
        before, ends = kept, {gateway.name for gateway in (*internal, *kept)}
        reduced = (_without_lost(gateway, ends, versions) for gateway in kept)
        kept = tuple(gateway for gateway in reduced if gateway is not None)
    return kept


def _without_lost(gateway: Gateway, ends: set[str], versions: set[str]) -> Gateway | None:
    """None when all its routes led to what is gone."""

    def stays(route: Route) -> bool:
        return is_external(route.path) or route.selector is not None or route.path in ends

    if gateway.selector is not None:
        return _without_copies(gateway, versions)
    routes = tuple(route for route in gateway.routes if stays(route))
    if len(routes) < len(gateway.routes) and routes and sum(route.weight or 0 for route in routes) != 100:
        raise ConflictError(f"{gateway.name} would not carry 100%: change its weights first")
    if gateway.routes and not routes:
        return None
    return _without_copies(replace(gateway, routes=routes), versions)


def _without_copies(gateway: Gateway, versions: set[str]) -> Gateway:
    """The gateway without copies to versions that are gone."""

    def reduced(traffic: Traffic) -> Traffic:
        left = (mirror for mirror in traffic.mirrors if is_external(mirror.to) or mirror.to in versions)
        return replace(traffic, mirrors=tuple(left))

    routes = tuple(replace(route, traffic=reduced(route.traffic)) for route in gateway.routes)
    return replace(gateway, routes=routes, traffic=reduced(gateway.traffic))
