"""Deployments and gateways → the snapshot Envoy gets. Pure.

A gateway with a port is a listener; all of them can also share one, told apart by host (`hosts`). What stands
behind a port is a tree of gates (`gates`), whose ends are the versions that run (`targets`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from divertor.envoy import plan
from divertor.errors import ConflictError
from divertor.gateway.gates import Gates, Isolating
from divertor.gateway.hosts import shared_listener
from divertor.gateway.selection import settled
from divertor.gateway.targets import World, world_of
from divertor.model.artifacts import Gateway, IsolationPolicy, Protocol
from divertor.model.deployments import Deployment
from divertor.model.selecting import candidates
from divertor.model.traffic import RateLimit


@dataclass(frozen=True, slots=True)
class Choices:
    """What the installation adds: the address gateways listen on, proxies in front, the port of the virtual
    hosts (0: none), secrets, and whether attackers are diverted at all."""

    listen: str = "127.0.0.1"
    trusted_hops: int = 0
    virtual_hosts_port: int = 0
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

    :raises ConflictError: two gateways want one port, host or name; a route leads nowhere or in a circle.
    """
    world = world_of(deployments, standalone)
    tokens = {name: divert_token(choices.divert_secret, name) for name in world.deployments}
    isolating = Isolating(choices.isolate, choices.isolation_secret, tokens)
    gates = Gates(world, isolating, candidates(world.deployments.values()))
    gateways = world.gateways.values()
    listeners = [_listener(gateway, gates, choices) for gateway in gateways if gateway.port]
    if choices.virtual_hosts_port:
        shared = shared_listener(
            gateways,
            choices.listen,
            choices.virtual_hosts_port,
            choices.trusted_hops,
            lambda gateway: _host(gateway, gates),
        )
        listeners += [] if shared is None else [shared]
    _check_ports(listeners)
    return plan.Snapshot(tuple(listeners), tuple(world.upstreams.values()))


def settled_gateways(deployments: Iterable[Deployment], standalone: Iterable[Gateway]) -> list[Gateway]:
    """The gateways whose selectors make other routes of what runs now than are recorded, with those routes.

    :raises ConflictError: two gateways are called the same.
    """
    world = world_of(deployments, standalone)
    selecting = [gateway for gateway in world.gateways.values() if gateway.selector is not None]
    running = candidates(world.deployments.values()) if selecting else ()
    changed = ((gateway, settled(gateway, running, world)) for gateway in selecting)
    return [now for before, now in changed if now.routes != before.routes]


def scopes(deployments: Iterable[Deployment]) -> dict[str, IsolationPolicy]:
    """The isolation policies by scope, `deployment/cluster`."""
    return {
        f"{deployment.name}/{policy.cluster}": policy
        for deployment in deployments
        for policy in deployment.isolation
    }


def _listener(gateway: Gateway, gates: Gates, choices: Choices) -> plan.Listener:
    assert gateway.port is not None
    is_tcp = gateway.protocol is Protocol.TCP
    return plan.Listener(
        name=gateway.name,
        address=choices.listen,
        port=gateway.port,
        hosts=(plan.Host(gates.tcp(gateway)) if is_tcp else _host(gateway, gates),),
        protocol="tcp" if is_tcp else "http",
        tls=gateway.tls,
        proxy_protocol=gateway.proxy_protocol,
        trusted_proxies=gateway.trusted_proxies,
        trusted_hops=choices.trusted_hops,
    )


def _host(gateway: Gateway, gates: Gates) -> plan.Host:
    return plan.Host(gates.http(gateway), rate_limits=_rate_limits(gateway, gates.world))


def _rate_limits(gateway: Gateway, world: World) -> tuple[RateLimit, ...]:
    """Those of a gateway and, if all requests go there, of the one behind it.

    :raises ConflictError: a gateway that only some requests go to has limits.
    """
    limits = list(gateway.rate_limits)
    while len(gateway.routes) == 1:
        behind = world.gateway(gateway.routes[0].path)
        if behind is None:
            return tuple(limits)
        gateway = behind
        limits += gateway.rate_limits
    for route in gateway.routes:
        inner = world.gateway(route.path)
        if inner is not None and _rate_limits(inner, world):
            raise ConflictError(
                f"gateway {inner.name} has rate limits, and is one of several behind {gateway.name}: "
                "requests are counted before a route is chosen, so give the limits to that gateway"
            )
    return tuple(limits)


def _check_ports(listeners: Iterable[plan.Listener]) -> None:
    taken: dict[int, str] = {}
    for listener in listeners:
        other = taken.setdefault(listener.port, listener.name)
        if other != listener.name:
            raise ConflictError(f"the gateways {other} and {listener.name} both want port {listener.port}")
