"""Gateways that select: their routes, and the upstreams behind them, follow from what runs. Pure.

A gateway's selector makes a route of each group it finds; a route's own selector gives that route the
instances to lead to. Which weights follow is the model's (`selected_routes`); here it meets what is recorded
and what runs. Instances of several versions are told apart all the same: each version has its own health
checks and protocol, and each cluster its own isolation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from divertor.envoy import plan
from divertor.gateway.targets import Home, Version, World, upstream_of
from divertor.model.artifacts import Gateway, Route
from divertor.model.selecting import Candidate, Group, selected, selected_routes
from divertor.model.selectors import Selector


@dataclass(frozen=True, slots=True)
class Part:
    """The instances of one version among those a route leads to: an upstream, and how many they are."""

    version: Version
    upstream: plan.Upstream
    count: int


def settled(gateway: Gateway, running: Sequence[Candidate], world: World) -> Gateway:
    """The gateway with the routes that its selector makes of what runs and of the routes it had."""
    if gateway.selector is None:
        return gateway
    names = [group.name for group in _groups(gateway, gateway.selector, running, world)]
    return replace(gateway, routes=selected_routes(gateway.routes, names))


def parts(gateway: Gateway, route: Route, running: Sequence[Candidate], world: World) -> tuple[Part, ...]:
    """What a route leads to, if that is selected; version by version, in the order in which they run."""
    members: dict[str, list[Candidate]] = {}
    versions: dict[str, Version] = {}
    for member in _members(gateway, route, running, world):
        version = _version(member, world)
        versions[version.path] = version
        members.setdefault(version.path, []).append(member)
    return tuple(_part(gateway, route, versions[path], own) for path, own in members.items())


def is_selected(gateway: Gateway, route: Route) -> bool:
    """Whether a route leads to what a selector finds."""
    return gateway.selector is not None or route.selector is not None


def _members(
    gateway: Gateway, route: Route, running: Sequence[Candidate], world: World
) -> Iterable[Candidate]:
    if route.selector is not None:
        groups = _groups(gateway, route.selector, running, world)
        return [member for group in groups for member in group.members]
    assert gateway.selector is not None
    groups = _groups(gateway, gateway.selector, running, world)
    return next((group.members for group in groups if group.name == route.path), ())


def _groups(
    gateway: Gateway, selector: Selector, running: Sequence[Candidate], world: World
) -> tuple[Group, ...]:
    owner = gateway.name.partition("/")[0]
    return selected(selector, running, owner if owner in world.deployments else "")


def _part(gateway: Gateway, route: Route, version: Version, members: Sequence[Candidate]) -> Part:
    # The version comes first in the name: that is how what was served is told apart from here on.
    upstream = upstream_of(f"{version.path}?{gateway.name}?{route.path}", version, ())
    up = [member for member in members if member.deployed]
    endpoints = tuple(plan.Endpoint(member.ip, member.listens) for member in up)
    return Part(version, replace(upstream, endpoints=endpoints), len(members))


def _version(member: Candidate, world: World) -> Version:
    deployment = world.deployments[member.namespace]
    name = member.labels["io.vamp.cluster"]
    cluster = next(each for each in deployment.clusters if each.name == name)
    service = next(each for each in cluster.services if each.name == member.name)
    port = service.breed.ports[member.index].name
    path = f"{deployment.name}/{cluster.name}/{service.name}/{port}"
    return Version(path, Home(deployment, cluster, port), service)
