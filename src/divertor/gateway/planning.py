"""Deployments → the snapshot Envoy gets. Pure.

An external gateway with one plain route to a cluster's gateway *is* that gateway on another port, so it takes
over its routes: no second hop. Several plain routes are multiplied out. The isolation policy of the cluster
behind a gateway comes along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from divertor.conditions import to_envoy
from divertor.envoy import plan
from divertor.errors import ConflictError
from divertor.isolation.layout import scope_key
from divertor.model.artifacts import (
    FailPolicy,
    Gateway,
    HealthCheck,
    IsolationPolicy,
    Protocol,
    Route,
    Sticky,
)
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment


@dataclass(frozen=True, slots=True)
class Choices:
    """What the installation adds: the address gateways listen on, proxies in front, secrets, and whether
    attackers are diverted at all."""

    listen: str = "127.0.0.1"
    trusted_hops: int = 0
    isolate: bool = True
    isolation_secret: bytes = field(default=b"", repr=False)
    divert_secret: bytes = field(default=b"", repr=False)


def divert_token(secret: bytes, deployment: str) -> str:
    """What the sensors of a deployment prove a divert with; only they and the gateway know it."""
    return blake2b(deployment.encode(), key=secret, digest_size=24).hexdigest()


def snapshot(
    deployments: Iterable[Deployment], standalone: Iterable[Gateway], choices: Choices
) -> plan.Snapshot:
    """Everything Envoy is to serve.

    :raises ConflictError: two gateways want one port, or a chain of gateways cannot be expressed yet.
    """
    world = _World({deployment.name: deployment for deployment in deployments})
    external = (gateway for deployment in world.deployments.values() for gateway in deployment.gateways)
    listeners = [_listener(gateway, world, choices) for gateway in (*standalone, *external) if gateway.port]
    _check_ports(listeners)
    return plan.Snapshot(tuple(listeners), tuple(world.upstreams.values()))


def scopes(deployments: Iterable[Deployment]) -> dict[str, IsolationPolicy]:
    """The isolation policies by scope, `deployment/cluster`."""
    return {
        f"{deployment.name}/{policy.cluster}": policy
        for deployment in deployments
        for policy in deployment.isolation
    }


@dataclass(slots=True)
class _World:
    """The deployments, and the upstreams that some gateway has turned out to need."""

    deployments: Mapping[str, Deployment]
    upstreams: dict[str, plan.Upstream] = field(default_factory=dict)

    def internal(self, path: str) -> tuple[Deployment, DeployedCluster, Gateway] | None:
        """The cluster gateway `deployment/cluster[/port]` means."""
        name, _, rest = path.partition("/")
        deployment = self.deployments.get(name)
        for cluster in deployment.clusters if deployment else ():
            for gateway in cluster.gateways:
                wanted = {gateway.name}
                if len(cluster.gateways) == 1:
                    wanted.add(f"{name}/{cluster.name}")
                if path in wanted or f"{name}/{rest}" == gateway.name:
                    assert deployment is not None
                    return deployment, cluster, gateway
        return None


def _listener(gateway: Gateway, world: _World, choices: Choices) -> plan.Listener:
    assert gateway.port is not None
    parts = [_behind(route, world) for route in gateway.routes]
    sticky, isolated = gateway.sticky, None
    if len(parts) == 1 and gateway.routes[0].condition is None:
        inner = parts[0]
        routes, isolated = inner.routes, inner.isolation
        sticky = sticky if sticky is not Sticky.NONE else inner.sticky
    else:
        routes = tuple(_multiplied(gateway, zip(gateway.routes, parts, strict=True)))
        policies = {inner.isolation for inner in parts if inner.isolation is not None}
        if len(policies) == 1 and all(inner.isolation for inner in parts):
            isolated = policies.pop()
        elif policies:
            raise ConflictError(
                f"gateway {gateway.name}: its routes lead to clusters with different isolation policies; "
                "give each cluster a gateway of its own"
            )
    return plan.simple_listener(
        name=gateway.name,
        address=choices.listen,
        port=gateway.port,
        protocol="tcp" if gateway.protocol is Protocol.TCP else "http",
        sticky=sticky.value,
        routes=tuple(_planned(route, world, sticky) for route in routes),
        isolated=_isolated(isolated, world, choices) if gateway.protocol is Protocol.HTTP else None,
        trusted_hops=choices.trusted_hops,
    )


@dataclass(frozen=True, slots=True)
class _Isolation:
    """A policy in its place: the cluster it protects and the port its target is reached by."""

    deployment: str
    policy: IsolationPolicy
    port: str


@dataclass(frozen=True, slots=True)
class _Behind:
    """What a route of an outer gateway leads to."""

    routes: tuple[Route, ...]
    sticky: Sticky = Sticky.NONE
    isolation: _Isolation | None = None

    @property
    def plain(self) -> bool:
        return self.sticky is Sticky.NONE and all(route.condition is None for route in self.routes)


def _behind(route: Route, world: _World) -> _Behind:
    found = world.internal(route.path)
    if found is None:
        return _Behind((Route(route.path, 100),))
    deployment, cluster, gateway = found
    policy = next((own for own in deployment.isolation if own.cluster == cluster.name), None)
    port = gateway.name.rsplit("/", 1)[-1]
    isolation = None if policy is None else _Isolation(deployment.name, policy, port)
    return _Behind(gateway.routes, gateway.sticky, isolation)


def _multiplied(gateway: Gateway, parts: Iterable[tuple[Route, _Behind]]) -> Iterator[Route]:
    for outer, inner in parts:
        targets = [route for route in inner.routes if route.weight]
        if not inner.plain or (outer.condition is not None and len(targets) != 1):
            raise ConflictError(
                f"gateway {gateway.name}: the route {outer.path} leads to a gateway with conditions, "
                "stickiness or several versions, which a gateway with several routes cannot do yet"
            )
        for route in targets:
            weight = (outer.weight or 0) * (route.weight or 0) // 100
            yield Route(route.path, weight, outer.condition, outer.condition_strength)


def _planned(route: Route, world: _World, sticky: Sticky) -> plan.Route:
    name = _upstream(route.path, world, sticky)
    predicate = None if route.condition is None else to_envoy(route.condition)
    return plan.Route(route.path, name, route.weight or 0, predicate, route.condition_strength)


def _upstream(path: str, world: _World, sticky: Sticky = Sticky.NONE) -> str:
    """The upstream a route's path means, entered into the world."""
    if path in world.upstreams:
        return path
    by_instance = sticky is Sticky.INSTANCE
    if path.startswith("["):
        host, _, port = path.strip("[]").rpartition(":")
        world.upstreams[path] = plan.Upstream(
            path, (plan.Endpoint(host.strip("[]"), int(port)),), None, by_instance
        )
        return path
    cluster, service, port_name = _service(path, world)
    world.upstreams[path] = plan.Upstream(
        path,
        tuple(
            plan.Endpoint(instance.host, _port(instance.ports, port_name))
            for instance in service.instances
            if instance.deployed and instance.ports
        ),
        _check(service.health_checks, port_name),
        by_instance,
    )
    return path


def _service(path: str, world: _World) -> tuple[DeployedCluster, DeployedService, str]:
    parts = path.split("/")
    deployment = world.deployments.get(parts[0])
    for cluster in deployment.clusters if deployment and len(parts) >= 3 else ():
        for service in cluster.services:
            if cluster.name == parts[1] and service.name == parts[2]:
                return cluster, service, parts[3] if len(parts) > 3 else ""
    raise ConflictError(f"the route {path} leads to no service that runs")


def _port(ports: Mapping[str, int], name: str) -> int:
    return ports.get(name) or next(iter(ports.values()))


def _check(checks: tuple[HealthCheck, ...], port: str) -> plan.Check | None:
    for check in checks:
        if check.protocol == "HTTP" and check.port in ("", port):
            return plan.Check(check.path, check.interval, check.timeout, check.failures)
    return None


def _isolated(found: _Isolation | None, world: _World, choices: Choices) -> plan.Isolated | None:
    if found is None or not choices.isolate:
        return None
    policy, scope = found.policy, f"{found.deployment}/{found.policy.cluster}"
    target = f"{scope}/{policy.to}/{found.port}"
    return plan.Isolated(
        scope=scope,
        upstream=_upstream(target, world),
        keys=tuple(
            plan.FilterKey(selector, scope_key(choices.isolation_secret, scope, selector))
            for selector in policy.keys
        ),
        seconds=0 if policy.duration is None else int(policy.duration.total_seconds()),
        token=divert_token(choices.divert_secret, found.deployment),
        open=policy.fail is FailPolicy.OPEN,
    )


def _check_ports(listeners: Iterable[plan.Listener]) -> None:
    taken: dict[int, str] = {}
    for listener in listeners:
        other = taken.setdefault(listener.port, listener.name)
        if other != listener.name:
            raise ConflictError(f"the gateways {other} and {listener.name} both want port {listener.port}")
