"""JSON of a running deployment or gateway, changed by a user, back to values: what a PUT means.

What only a running system knows (status, instances, ports, hosts) is taken from the current deployment,
whatever the document says about it. Nothing is removed by leaving it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from divertor.errors import InputError
from divertor.model.artifacts import Breed, Gateway, Library, Reference, Route, Scale, Service
from divertor.model.checks import check_policy, ports_of
from divertor.model.deploying import external_gateway, internal_gateway
from divertor.model.deployments import DeployedCluster, DeployedService, Deployment
from divertor.model.documents import MappingNode, Node, Scalar, from_value
from divertor.model.fields import Fields, entries_of, fail, name_of, parsed, suggestion, text_of
from divertor.model.quantities import parse_port
from divertor.model.reading import (
    BLUEPRINT_EXTRAS,
    CLUSTER_EXTRAS,
    read_environment,
    read_services,
)
from divertor.model.reading_gateways import Asked, read_condition_node, read_filters, read_gateway_node
from divertor.model.reading_isolation import read_isolation
from divertor.model.rendering import alternatives
from divertor.model.resolving import resolve_gateway
from divertor.model.traffic import Traffic

_DEPLOYMENT_FIELDS = (
    "name", "kind", "clusters", "gateways", "isolation", "environment_variables", "ports", "hosts", "status",
    *BLUEPRINT_EXTRAS,
)  # fmt: skip
NOTHING: Library = MappingProxyType({})
#: Keys of a gateway that are called as its attributes are; those that a document does not say stay.
_FIELDS = (
    "sticky", "routes", "virtual_hosts", "selector", "rate_limits", "tls", "proxy_protocol",
    "trusted_proxies",
)  # fmt: skip
_TRAFFIC = {
    "timeout": ("timeout",),
    "idle_timeout": ("idle",),
    "retries": ("retries",),
    "headers": ("request_headers", "response_headers"),
    "mirror": ("mirrors",),
}
_CLUSTER_FIELDS = ("services", "gateways", "routing", "health_checks", "status", *CLUSTER_EXTRAS)


def read_deployment(data: Any, source: str = "deployment") -> Deployment:
    """The deployment that `deployment_to_json` printed: nothing of it is up, all else is equal.

    :raises InputError: it is none, or contradicts itself.
    """
    fields = _deployment_fields(from_value(data, source))
    clusters = entries_of(fields.get("clusters"), "clusters")
    ports, hosts = (entries_of(fields.get(name), name) for name in ("ports", "hosts"))
    bare = Deployment(
        name_of(fields.require("name"), "a deployment"),
        clusters=tuple(DeployedCluster(name_of(key, "a cluster")) for key, _ in clusters),
        ports={key.text: parsed(item, "port", parse_port)[0] for key, item in ports},
        hosts={key.text: text_of(item, "a host") for key, item in hosts},
    )
    return deployment_from_json(data, bare, source)


def deployment_from_json(
    data: Any, current: Deployment, source: str = "deployment", library: Library = NOTHING
) -> Deployment:
    """`current` as a PUT of `data` wants it: the JSON of `deployment_to_json`, with any of these changed:
    routes (weight, condition, strength), stickiness, scales, breeds, isolation policies, external gateways;
    or with services added.

    Where a cluster says its gateways twice (`gateways` and the older `routing`), or a route its condition
    (`condition` and the older `filters`), the one that differs from `current` counts.

    Conditions meant by name come from `library`.

    :raises InputError: it is no such document, is of another deployment, or contradicts itself.
    """
    node = from_value(data, source)
    fields = _deployment_fields(node)
    _check_identity(fields, "deployments", current.name)
    running = {cluster.name: cluster for cluster in current.clusters}
    for key, item in entries_of(fields.get("clusters"), "clusters"):
        if key.text not in running:
            fail(key, f"no cluster {key.text[:80]!r} in {current.name}", suggestion(key.text, running))
        running[key.text] = _cluster(item, running[key.text], current.name, library)
    changed = replace(current, clusters=tuple(running.values()), extras=_extras(fields, current))
    isolation, environment = fields.get("isolation"), fields.get("environment_variables")
    if isolation is not None:
        services = {cluster.name: [own.name for own in cluster.services] for cluster in changed.clusters}
        policies = read_isolation(isolation)
        for policy in policies:
            check_policy(policy, services)
        changed = replace(changed, isolation=policies)
    if environment is not None:
        changed = replace(changed, environment=read_environment(environment))
    return _with_external_gateways(fields.get("gateways"), changed, library)


def gateway_from_json(
    data: Any, current: Gateway, deployment: Deployment, source: str = "gateway", library: Library = NOTHING
) -> Gateway:
    """`current`, a gateway of `deployment`, as a PUT of `data` wants it.

    An internal gateway (`deployment/cluster/port`) keeps a route to every service of its cluster; routes are
    given by service or by full path.

    :raises InputError: it is no gateway, is another one, or its routes lead nowhere or do not add up.
    """
    node = from_value(data, source)
    fields = entries_of(node, "a gateway")
    for key, item in fields:
        if key.text == "name" and text_of(item, "a name") != current.name:
            fail(item, f"the name of another gateway than {current.name!r}", current.name)
    cluster = _cluster_of(current, deployment)
    if cluster is None:
        named = MappingNode(tuple(entry for entry in fields if entry[0].text != "name"), node.position)
        return _external(current.name.rpartition("/")[2], named, current, deployment, library)
    return _internal(node, current, cluster, library)


def _deployment_fields(node: Node) -> Fields:
    return Fields(node, "a deployment", _DEPLOYMENT_FIELDS, {"env": "environment_variables"})


def _check_identity(fields: Fields, kind: str, name: str) -> None:
    kind_node, name_node = fields.get("kind"), fields.get("name")
    if kind_node is not None and text_of(kind_node, "a kind") not in (kind, kind.removesuffix("s")):
        fail(kind_node, "a document of another kind", kind)
    if name_node is not None and name_of(name_node, "a deployment") != name:
        fail(name_node, f"the name of another deployment than {name!r}", name)


def _extras(fields: Fields, current: Deployment) -> dict[str, Any]:
    return {**current.extras, **fields.extras(BLUEPRINT_EXTRAS)}


def _cluster(node: Node, current: DeployedCluster, deployment: str, library: Library) -> DeployedCluster:
    fields = Fields(node, "a cluster", _CLUSTER_FIELDS, {"dialect": "dialects"})
    services = _services(fields.get("services"), current)
    changed = replace(current, services=services, extras={**current.extras, **fields.extras(CLUSTER_EXTRAS)})
    completed = _completed(changed, f"{deployment}/{current.name}")
    asked = [_gateways(fields.get(name), completed, library) for name in ("gateways", "routing")]
    return replace(completed, gateways=_the_changed(asked, completed.gateways, node))


def _completed(cluster: DeployedCluster, prefix: str) -> DeployedCluster:
    """With a gateway for every port and a route for every service, also for those just added."""
    breeds = [service.breed for service in cluster.services]
    before = {gateway.name: gateway for gateway in cluster.gateways}
    gateways = []
    for port in ports_of(breeds).values():
        path = f"{prefix}/{port.name}"
        gateways.append(internal_gateway(path, port, breeds, before.get(path, Gateway(port.name))))
    return replace(cluster, gateways=tuple(gateways))


def _services(node: Node | None, current: DeployedCluster) -> tuple[DeployedService, ...]:
    services = {service.name: service for service in current.services}
    for asked in read_services(node):
        services[asked.name] = _service(asked, services.get(asked.name))
    return tuple(services.values())


def _service(asked: Service, before: DeployedService | None) -> DeployedService:
    if isinstance(asked.scale, Reference):
        raise InputError(
            "a scale by name in a running deployment", asked.scale.position, "cpu, memory, instances"
        )
    if isinstance(asked.breed, Breed):
        base = replace(before, breed=asked.breed) if before else DeployedService(asked.breed, Scale())
    elif before is not None:
        base = before
    else:
        raise InputError(f"no service {asked.name!r} here", asked.position, "a breed with its deployable")
    return replace(
        base,
        scale=asked.scale or base.scale,
        environment=asked.environment or base.environment or base.breed.environment,
        health_checks=base.health_checks if asked.health_checks is None else asked.health_checks,
        outlier_detection=asked.outlier_detection or base.outlier_detection,
        circuit_breaker=asked.circuit_breaker or base.circuit_breaker,
        extras={**base.extras, **asked.extras},
    )


def _gateways(node: Node | None, cluster: DeployedCluster, library: Library) -> tuple[Gateway, ...] | None:
    """The cluster's gateways as one of the two keys wants them; None when the key is not there."""
    if node is None:
        return None
    by_port = {gateway.name.rpartition("/")[2]: gateway for gateway in cluster.gateways}
    for key, item in _by_port(node, by_port):
        if key not in by_port:
            fail(item, f"no port {key[:80]!r} in {cluster.name}", suggestion(key, by_port))
        by_port[key] = _internal(item, by_port[key], cluster, library)
    return tuple(by_port.values())


def _by_port(node: Node, ports: dict[str, Gateway]) -> list[tuple[str, Node]]:
    entries = entries_of(node, "gateways")
    if len(ports) == 1 and any(key.text in ("routes", "sticky") for key, _ in entries):
        return [(next(iter(ports)), node)]
    return [(key.text, item) for key, item in entries]


def _internal(node: Node, current: Gateway, cluster: DeployedCluster, library: Library) -> Gateway:
    breeds = [service.breed for service in cluster.services]
    short = current.name.rpartition("/")[2]
    wanted = resolve_gateway(_read(short, node, current), library)
    return internal_gateway(current.name, ports_of(breeds)[short], breeds, wanted)


def _external(
    name: str,
    node: Node,
    current: Gateway | None,
    deployment: Deployment,
    library: Library,
    siblings: Iterable[str] = (),
) -> Gateway:
    return external_gateway(deployment, resolve_gateway(_read(name, node, current), library), siblings)


def _read(name: str, node: Node, current: Gateway | None) -> Gateway:
    """The gateway a node describes; what it does not say stays as in `current`."""
    before = {route.path: route for route in current.routes} if current else {}
    if not isinstance(node, MappingNode):
        node = MappingNode(((Scalar("routes", "routes", node.position), node),), node.position)
    settled = _with_settled_conditions(node, lambda path: _route_at(path, before))
    unnamed = tuple(entry for entry in entries_of(settled, "a gateway") if entry[0].text != "name")
    said = {key.text for key, _ in unnamed}
    key = Scalar(name, name, node.position)
    gateway = read_gateway_node(key, MappingNode(unnamed, node.position))
    if current is None:
        return gateway
    kept = {name: getattr(current, name) for name in _FIELDS if name not in said}
    return replace(
        gateway,
        port=gateway.port if gateway.port is not None and "port" in said else current.port,
        protocol=gateway.protocol if "port" in said else current.protocol,
        traffic=_merged_traffic(gateway.traffic, current.traffic, said),
        extras={**current.extras, **gateway.extras},
        **kept,
    )


def _merged_traffic(asked: Traffic, current: Traffic, said: set[str]) -> Traffic:
    kept = {
        attribute: getattr(current, attribute)
        for key, attributes in _TRAFFIC.items()
        for attribute in attributes
        if key not in said
    }
    return replace(asked, **kept)


def _route_at(path: str, routes: dict[str, Route]) -> Route | None:
    """The current route meant by a full path, a service's name or a cluster's `cluster/port`."""
    if path in routes:
        return routes[path]
    for full, route in routes.items():
        parts = full.split("/")
        of_service = (parts[2], "/".join(parts[:3]), "/".join(parts[1:3])) if len(parts) == 4 else ()
        if path in ("/".join(parts[1:]), *of_service):
            return route
    return None


def _with_settled_conditions(node: Node, current: Callable[[str], Route | None]) -> Node:
    """The same node, each route saying its condition and strength once."""
    if not isinstance(node, MappingNode):
        return node
    entries: list[tuple[Scalar, Node]] = []
    for key, item in node.entries:
        if key.text == "routes" and isinstance(item, MappingNode):
            routes = tuple((path, _settled(route, current(path.text))) for path, route in item.entries)
            entries.append((key, MappingNode(routes, item.position)))
        else:
            entries.append((key, item))
    return MappingNode(tuple(entries), node.position)


def _settled(node: Node, current: Route | None) -> Node:
    if not isinstance(node, MappingNode):
        return node
    said = {key.text: item for key, item in node.entries}
    dropped = set()
    if "condition" in said and "filters" in said:
        before = alternatives(current.condition if current else None)
        new, old = (_plain(read_condition_node(said["condition"])), _plain(read_filters(said["filters"])))
        dropped.add(_stale("condition", "filters", new, old, before, said["filters"]))
    if "condition_strength" in said and "filter_strength" in said:
        strength = str(current.condition_strength if current else 100)
        new_text, old_text = (_digits(said[name]) for name in ("condition_strength", "filter_strength"))
        dropped.add(
            _stale(
                "condition_strength", "filter_strength", new_text, old_text, strength, said["filter_strength"]
            )
        )
    return MappingNode(tuple(entry for entry in node.entries if entry[0].text not in dropped), node.position)


def _plain(asked: Asked) -> object:
    """What is asked for, comparable: the same alternatives however they were written."""
    return asked.reference or alternatives(asked.condition)


def _digits(node: Node) -> str:
    return text_of(node, "a percentage").rstrip("% ")


def _stale(new_name: str, old_name: str, new: object, old: object, before: object, node: Node) -> str:
    """Which of two keys for one thing to drop: the one that still says what is."""
    if old in (new, before):
        return old_name
    if new == before:
        return new_name
    fail(node, f"{old_name!r} and {new_name!r} both changed, and differ", "one of them changed")


def _the_changed(
    asked: Sequence[tuple[Gateway, ...] | None], current: tuple[Gateway, ...], node: Node
) -> tuple[Gateway, ...]:
    wanted = [gateways for gateways in asked if gateways is not None]
    different = [gateways for gateways in wanted if gateways != current]
    if not different:
        return current
    if any(gateways != different[0] for gateways in different):
        fail(node, "'gateways' and 'routing' both changed, and differ", "one of them changed")
    return different[0]


def _with_external_gateways(node: Node | None, deployment: Deployment, library: Library) -> Deployment:
    if node is None:
        return deployment
    gateways = {gateway.name: gateway for gateway in deployment.gateways}
    entries = entries_of(node, "gateways")
    shorts = [key.text.removeprefix(f"{deployment.name}/") for key, _ in entries]
    siblings = [short.partition("/")[0] for short in shorts]
    for short, name, (_, item) in zip(shorts, siblings, entries, strict=True):
        current = gateways.get(f"{deployment.name}/{name}")
        gateway = _external(short, item, current, deployment, library, siblings)
        gateways[gateway.name] = gateway
    ports = [gateway.port for gateway in gateways.values() if gateway.port is not None]
    if len(set(ports)) < len(ports):
        fail(node, "two gateways on one port", "a port of its own for each")
    return replace(deployment, gateways=tuple(gateways.values()))


def _cluster_of(gateway: Gateway, deployment: Deployment) -> DeployedCluster | None:
    """The cluster whose gateway it is; None for an external one."""
    for cluster in deployment.clusters:
        if any(own.name == gateway.name for own in cluster.gateways):
            return cluster
    return None
