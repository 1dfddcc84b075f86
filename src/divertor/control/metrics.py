"""Rates, errors and durations of gateways, routes and versions, from what Envoy counts.

Envoy counts for each version (a cluster of its own) and for each port. A gateway with a port is measured
there, by what its customers got. A route, or a gateway without a port, is measured at the versions it leads
to, by all that they were asked, also by way of other gateways and by isolated clients.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol as Interface

from divertor.envoy.plan import Gate, Snapshot
from divertor.errors import NotFoundError
from divertor.gateway.measurement import Measurement, Target, events
from divertor.gateway.metrics import of_listener, of_upstream, together
from divertor.gateway.stats import PERIOD, Stats
from divertor.model.artifacts import Gateway, Route
from divertor.model.deployments import Deployment
from divertor.model.events import Event

#: How many gateways may stand one behind the other.
DEPTH = 8


class Running(Interface):
    """What there is to measure."""

    def list(self) -> Sequence[Deployment]: ...

    def gateways(self) -> Sequence[Gateway]: ...


class Metrics:
    """What is measured, by name. `serving` tells which versions and ports Envoy has."""

    def __init__(
        self,
        running: Running,
        stats: Stats,
        publish: Callable[[list[Event]], Awaitable[None]],
        wall: Callable[[], datetime],
    ) -> None:
        self._running = running
        self._stats = stats
        self._publish = publish
        self._wall = wall
        self._served = Snapshot()

    def serving(self, snapshot: Snapshot) -> None:
        """Envoy serves `snapshot`."""
        self._served = snapshot

    async def tell(self) -> None:
        """Publishes what the last look has found."""
        if found := events((self._measure(each, PERIOD) for each in self.targets()), self._wall()):
            await self._publish(found)

    def targets(self) -> list[Target]:
        """Everything that is measured."""
        return targets(self._running.gateways(), self._running.list(), self._served)

    def all(self, window: float) -> list[Callable[[], Measurement]]:
        """Everything, each to be measured when it is asked for: there may be thousands."""
        return [lambda each=each: self._measure(each, window) for each in self.targets()]  # type: ignore[misc]

    def gateway(self, name: str, route: str, window: float) -> Measurement:
        """A gateway, or one of its routes (by its path, or by the service it leads to).

        :raises NotFoundError: there is none.
        """
        return self._measure(self._gateway(name, route), window)

    def cluster(self, deployment: str, cluster: str, service: str, port: str, window: float) -> Measurement:
        """A cluster's port, or that of one of its versions.

        :raises NotFoundError: there is none, or no gateway leads to it.
        """
        found = self._versions(deployment, cluster, service, port)
        kind = "services" if service else "clusters"
        target = Target(kind, "", "", deployment, cluster, service, port, _upstreams(found))
        return self._measure(target, window)

    def health_of_gateway(self, name: str, route: str = "") -> float:
        """The share (0 to 1) of the instances that are well, of those that can get requests.

        :raises NotFoundError: there is no such gateway or route.
        :raises UnavailableError: Envoy is not there to say.
        """
        return self._health(self._gateway(name, route, dormant=False).upstreams) or 0.0

    def health_of_deployment(self, deployment: str, cluster: str = "", service: str = "") -> float:
        """The share (0 to 1) of the instances that are well.

        :raises NotFoundError: there is none, or no gateway leads to it.
        :raises UnavailableError: Envoy is not there to say.
        """
        found = self._versions(deployment, cluster, service, "")
        return self._health(_upstreams(found)) or 0.0

    def _gateway(self, name: str, route: str = "", dormant: bool = True) -> Target:
        gateways = self._running.gateways()
        if all(each.name != name for each in gateways):
            raise NotFoundError(f"no gateway {name!r}")
        found = list(_of_gateways(gateways, self._served, dormant, name))
        if not route:
            return found[0]
        for each in found[1:]:
            if route == each.route or route in each.route.split("/")[2:3]:
                return each
        raise NotFoundError(f"gateway {name} has no route {route!r}")

    def _versions(self, deployment: str, cluster: str, service: str, port: str) -> list[Target]:
        wanted = {"deployment": deployment, "cluster": cluster, "service": service, "port": port}
        wanted = {name: value for name, value in wanted.items() if value}
        found = [
            each
            for each in _of_deployments(self._running.list(), self._served)
            if wanted.items() <= each.names().items()
        ]
        if not found:
            raise NotFoundError(f"no gateway leads to {'/'.join(wanted.values())}, or there is no such thing")
        return found

    def _measure(self, target: Target, window: float) -> Measurement:
        upstreams = [of_upstream(name) for name in target.upstreams]
        parts = [self._stats.over(names, window) for names in upstreams]
        measured = together(parts)
        if target.listener:
            at_port = self._stats.over(of_listener(target.listener), window)
            measured = replace(at_port, connect_failures=measured.connect_failures)
        health = self._stats.health(upstreams) if upstreams and self._stats.connected else None
        return Measurement(target, measured, health)

    def _health(self, upstreams: Sequence[str]) -> float | None:
        return self._stats.health([of_upstream(name) for name in upstreams])


def targets(gateways: Sequence[Gateway], deployments: Sequence[Deployment], served: Snapshot) -> list[Target]:
    """Gateways with their routes, then versions."""
    return [*_of_gateways(gateways, served), *_of_deployments(deployments, served)]


def _of_gateways(
    gateways: Sequence[Gateway], served: Snapshot, dormant: bool = True, only: str = ""
) -> Iterator[Target]:
    """Each gateway, followed by its routes; without `dormant`, routes that can get nothing do not count."""
    ways = _Ways(
        {gateway.name: gateway for gateway in gateways},
        {upstream.name for upstream in served.upstreams},
        _ends(served),
        dormant,
    )
    ports = {listener.name for listener in served.listeners if listener.protocol == "http"}
    for gateway in gateways:
        if only and gateway.name != only:
            continue
        reached = {route.path: ways.of(gateway, route, DEPTH) for route in gateway.routes}
        behind = tuple(dict.fromkeys(name for way in ways.open(gateway) for name in reached[way.path]))
        listener = gateway.name if gateway.name in ports else ""
        yield Target("gateways", gateway.name, upstreams=behind, listener=listener)
        for route in gateway.routes:
            yield Target("routes", gateway.name, route.path, upstreams=reached[route.path])


def _can_be_taken(route: Route) -> bool:
    return bool(route.weight) or (route.condition is not None and route.condition_strength > 0)


@dataclass(frozen=True, slots=True)
class _Ways:
    """Which versions routes lead to; `ends` says it for what a selector has found."""

    gateways: Mapping[str, Gateway]
    upstreams: AbstractSet[str]
    ends: Mapping[tuple[str, str], tuple[str, ...]]
    #: Whether routes that can get nothing count.
    dormant: bool

    def of(self, gateway: Gateway, route: Route, depth: int) -> tuple[str, ...]:
        if route.path in self.upstreams:
            return (route.path,)
        inner = self.gateways.get(route.path) or self._only_port(route.path)
        if inner is None or depth == 0:
            return self.ends.get((gateway.name, route.path), ())
        found = [name for way in self.open(inner) for name in self.of(inner, way, depth - 1)]
        return tuple(dict.fromkeys(found))

    def open(self, gateway: Gateway) -> list[Route]:
        """The routes that count."""
        return [route for route in gateway.routes if self.dormant or _can_be_taken(route)]

    def _only_port(self, path: str) -> Gateway | None:
        """`deployment/cluster` means the gateway of a cluster that has one."""
        if path.count("/") != 1:
            return None
        found = [gateway for name, gateway in self.gateways.items() if name.rpartition("/")[0] == path]
        return found[0] if len(found) == 1 else None


def _ends(served: Snapshot) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The upstreams by gateway and route, as they were planned."""
    return {
        (gate.name, route.name): tuple(dict.fromkeys(_beneath(route.to)))
        for listener in served.listeners
        for gate in listener.gates
        for route in gate.routes
    }


def _beneath(to: str | Gate) -> Iterator[str]:
    if isinstance(to, str):
        yield to
        return
    for route in to.routes:
        yield from _beneath(route.to)


def _of_deployments(deployments: Sequence[Deployment], served: Snapshot) -> Iterator[Target]:
    """The versions, by port, that some gateway leads to."""
    upstreams: dict[str, list[str]] = {}
    for upstream in served.upstreams:
        # A selector's part of a version is called after it: `version?gateway?route`.
        upstreams.setdefault(upstream.name.partition("?")[0], []).append(upstream.name)
    for deployment in deployments:
        for cluster in deployment.clusters:
            for service in cluster.services:
                for port in service.breed.ports:
                    names = deployment.name, cluster.name, service.name, port.name
                    if found := upstreams.get("/".join(names)):
                        yield Target("services", "", "", *names, upstreams=tuple(found))


def _upstreams(found: Sequence[Target]) -> tuple[str, ...]:
    return tuple(name for each in found for name in each.upstreams)
