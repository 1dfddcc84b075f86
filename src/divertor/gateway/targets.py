"""What the routes of gateways lead to: gateways by their names, versions as upstreams. Pure.

A `World` knows every deployment and gateway; it collects the upstreams that some route has turned out to
need. Which way a request takes is `gates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from divertor.envoy import plan
from divertor.errors import ConflictError
from divertor.model.artifacts import Gateway, HealthCheck, Protocol, Route
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment, Instance
from divertor.model.traffic import Mirror, Traffic

#: HAProxy's names; `static-rr` is a `roundrobin` whose weights cannot change while it runs.
_BALANCES: Mapping[str, plan.Balance] = {
    "roundrobin": "roundrobin",
    "static-rr": "roundrobin",
    "leastconn": "leastconn",
    "random": "random",
}


@dataclass(frozen=True, slots=True)
class Home:
    """Where something belongs: a cluster, and which of its ports."""

    deployment: Deployment
    cluster: DeployedCluster
    port: str


@dataclass(frozen=True, slots=True)
class Version:
    """A service behind one of its ports; `path` is its one full name, `deployment/cluster/service/port`."""

    path: str
    home: Home
    service: DeployedService


@dataclass(frozen=True, slots=True)
class World:
    """The deployments and gateways by name, and the upstreams that were asked for so far.

    `homes` are the clusters that internal gateways (`deployment/cluster/port`) stand before.
    """

    deployments: Mapping[str, Deployment]
    gateways: Mapping[str, Gateway]
    homes: Mapping[str, Home]
    upstreams: dict[str, plan.Upstream] = field(default_factory=dict)

    def gateway(self, path: str) -> Gateway | None:
        """The gateway a route's path means: its name, or `deployment/cluster` if that has one port."""
        if path in self.gateways:
            return self.gateways[path]
        own = [name for name, home in self.homes.items() if path == _cluster_path(home)]
        return self.gateways[own[0]] if len(own) == 1 else None

    def version(self, path: str) -> Version | None:
        """The version a path means: `deployment/cluster/service`, with `/port` if it has several."""
        name, _, rest = path.partition("/")
        parts = rest.split("/")
        deployment = self.deployments.get(name)
        if deployment is None or len(parts) not in (2, 3):
            return None
        for cluster in deployment.clusters:
            for service in cluster.services:
                if [cluster.name, service.name] == parts[:2]:
                    port = parts[2] if len(parts) > 2 else _only_port(path, service)
                    return Version(
                        "/".join((name, *parts[:2], port)), Home(deployment, cluster, port), service
                    )
        return None

    def upstream(self, path: str, *, by_instance: bool = False, balance: plan.Balance | None = None) -> str:
        """The name of the upstream a path means: a version, or `[host:port]`.

        :raises ConflictError: it leads nowhere.
        """
        known = self.upstreams.get(path)
        if known is None:
            known = _external(path) if path.startswith("[") else _upstream(path, self.version(path))
        return self.enter(known, by_instance, balance)

    def enter(self, upstream: plan.Upstream, by_instance: bool, balance: plan.Balance | None = None) -> str:
        """Takes an upstream up. It can keep instances as soon as one gateway wants that; of several routes
        that say whose turn it is, the last counts."""
        known = self.upstreams.get(upstream.name, upstream)
        self.upstreams[upstream.name] = replace(
            known, by_instance=known.by_instance or by_instance, balance=balance or known.balance
        )
        return upstream.name

    def traffic(self, traffic: Traffic, of: str) -> Traffic:
        """The same with mirrors that name upstreams; `of` is the gateway that asks for it.

        :raises ConflictError: a mirror leads nowhere, or to several versions.
        """
        mirrors = tuple(Mirror(self._mirror(mirror.to, of), mirror.percent) for mirror in traffic.mirrors)
        return traffic if not mirrors else replace(traffic, mirrors=mirrors)

    def _mirror(self, path: str, of: str) -> str:
        home = self.homes.get(of)
        if home is not None and any(service.name == path for service in home.cluster.services):
            path = f"{_cluster_path(home)}/{path}/{home.port}"
        gateway = self.gateway(path)
        if gateway is None:
            return self.upstream(path)
        targets = [route.path for route in gateway.routes if route.weight]
        if len(targets) != 1 or self.gateway(targets[0]) is not None:
            raise ConflictError(f"gateway {of}: a mirror needs one version, and {path} is not one")
        return self.upstream(targets[0])


def world_of(deployments: Iterable[Deployment], standalone: Iterable[Gateway]) -> World:
    """Everything by its name.

    :raises ConflictError: two gateways are called the same.
    """
    named = {deployment.name: deployment for deployment in deployments}
    homes: dict[str, Home] = {}
    gateways: dict[str, Gateway] = {}
    for gateway in standalone:
        _put(gateways, gateway)
    for deployment in named.values():
        for gateway in deployment.gateways:
            _put(gateways, gateway)
        for cluster in deployment.clusters:
            for gateway in cluster.gateways:
                _put(gateways, gateway)
                homes[gateway.name] = Home(deployment, cluster, gateway.name.rpartition("/")[2])
    return World(named, gateways, homes)


def endpoint(instance: Instance, port: str) -> plan.Endpoint:
    """Where an instance listens for a port: the only one it has, if it calls that something else."""
    number = instance.ports.get(port) or next(iter(instance.ports.values()))
    return plan.Endpoint(instance.host, number)


def upstream_of(name: str, version: Version, instances: Iterable[Instance]) -> plan.Upstream:
    """An upstream with the settings of a version and such instances of it."""
    service, port = version.service, version.home.port
    protocols = [own.protocol for own in service.breed.ports if own.name == port]
    return plan.Upstream(
        name,
        tuple(endpoint(each, port) for each in instances if each.deployed and each.ports),
        _check(service.health_checks, port),
        http2=Protocol.HTTP2 in protocols,
        outliers=service.outlier_detection,
        breaker=service.circuit_breaker,
        # As in Vamp. Connections last: in turn, those that are there would not count.
        balance="leastconn" if Protocol.TCP in protocols else "roundrobin",
    )


def balance_of(route: Route) -> plan.Balance | None:
    """Whose turn a route says it is, in HAProxy's words as Vamp takes them; None: nothing that we can do."""
    return _BALANCES.get(str(route.extras.get("balance", "")).strip())


def _put(gateways: dict[str, Gateway], gateway: Gateway) -> None:
    if gateway.name in gateways:
        raise ConflictError(f"two gateways are called {gateway.name}")
    gateways[gateway.name] = gateway


def _cluster_path(home: Home) -> str:
    return f"{home.deployment.name}/{home.cluster.name}"


def _only_port(path: str, service: DeployedService) -> str:
    names = [port.name for port in service.breed.ports]
    if len(names) > 1:
        raise ConflictError(f"{path} has the ports {', '.join(names)}: which one?")
    return names[0] if names else ""


def _upstream(path: str, version: Version | None) -> plan.Upstream:
    if version is None:
        raise ConflictError(f"the route {path} leads to no gateway and to no service that runs")
    return upstream_of(version.path, version, version.service.instances)


def _external(path: str) -> plan.Upstream:
    host, _, port = path.strip("[]").rpartition(":")
    return plan.Upstream(path, (plan.Endpoint(host.strip("[]"), int(port)),))


def _check(checks: tuple[HealthCheck, ...], port: str) -> plan.Check | None:
    for check in checks:
        if check.protocol == "HTTP" and check.port in ("", port):
            return plan.Check(check.path, check.interval, check.timeout, check.failures)
    return None
