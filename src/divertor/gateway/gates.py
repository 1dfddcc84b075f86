"""Gateways → gates: the tree of decisions between a port and the versions behind it. Pure.

A route that leads to another gateway is that gateway's gate within: its conditions, weights and stickiness
are asked in their turn, and each cluster's own isolation comes with the gateway that stands before it.
A gateway for tcp has no tree: its weights, and those of the gateways behind it, are multiplied out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count

from divertor.conditions import to_envoy
from divertor.envoy import plan
from divertor.envoy.ends import ends
from divertor.errors import ConflictError
from divertor.gateway.selection import is_selected, parts, settled
from divertor.gateway.targets import Home, Version, World, balance_of
from divertor.isolation.layout import scope_key
from divertor.model.artifacts import FailPolicy, Gateway, Mode, Protocol, Route, Sticky
from divertor.model.isolation import KeyKind
from divertor.model.selecting import Candidate
from divertor.model.weights import distribute_weights

#: Gateways one behind the other. Vamp's own need two.
MAX_DEPTH = 5
#: Ends of one gateway's tree. Envoy takes 10,000 in 0.4 s; a chain of sticky gateways with many conditional
#: routes multiplies quickly.
MAX_ENDS = 10_000
#: The parts in which a tcp route's share is given once it is a product.
PARTS = 1_000_000

_STRENGTH = (Sticky.NONE, Sticky.ROUTE, Sticky.INSTANCE)


@dataclass(frozen=True, slots=True)
class Isolating:
    """What isolations need of the installation: whether there are any, the key of the table's fingerprints,
    and the divert token of each deployment."""

    wanted: bool
    secret: bytes = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Outside:
    """The gateways a gate is within, by name; what they want their clients kept by."""

    #: One number for each gate of the whole tree: they are counted while it grows.
    numbers: Iterator[int] = field(default_factory=count)
    names: tuple[str, ...] = ()
    #: The stickiness of a gateway that has only one route is that of the gateway behind it.
    sticky: Sticky = Sticky.NONE
    by_instance: bool = False

    def enter(self, gateway: Gateway) -> tuple[str, ...]:
        names = (*self.names, gateway.name)
        way = " → ".join(names)
        if gateway.name in self.names:
            raise ConflictError(f"gateways lead in a circle: {way}")
        if len(names) > MAX_DEPTH:
            raise ConflictError(f"more than {MAX_DEPTH} gateways one behind the other: {way}")
        if next(self.numbers) >= MAX_ENDS:
            raise ConflictError(f"gateways branch beyond {MAX_ENDS} ways: {way}")
        return names


@dataclass(frozen=True, slots=True)
class Gates:
    """Makes gates of gateways, in a world that collects the upstreams."""

    world: World
    isolating: Isolating
    #: All ports of all instances, for those who select among them.
    running: tuple[Candidate, ...] = ()

    def http(self, gateway: Gateway) -> plan.Gate:
        """The tree of an http gateway.

        :raises ConflictError: a route leads nowhere, or in a circle, or the tree is too large.
        """
        gate = self._gate(gateway, _Outside())
        if (ways := ends(gate)) > MAX_ENDS:
            raise ConflictError(
                f"gateway {gateway.name}: its routes and those of the gateways behind it make a tree "
                f"of {ways} ends, more than {MAX_ENDS}"
            )
        return gate

    def tcp(self, gateway: Gateway) -> plan.Gate:
        """The weights of a tcp gateway, multiplied out with those of the gateways behind it.

        :raises ConflictError: as for `http`, or something that only http can do lies behind it.
        """
        shares: dict[str, Fraction] = {}
        for upstream, share in self._shares(gateway, _Outside()):
            shares[upstream] = shares.get(upstream, Fraction()) + share
        whole = 100 if all((share * 100).denominator == 1 for share in shares.values()) else PARTS
        routes = (plan.Route(name, name, _parts(share, whole)) for name, share in shares.items())
        return plan.Gate(gateway.name, tuple(routes))

    def _gate(self, gateway: Gateway, outside: _Outside) -> plan.Gate:
        names = outside.enter(gateway)
        gateway = settled(gateway, self.running, self.world)
        sticky = max(outside.sticky, gateway.sticky, key=_STRENGTH.index)
        by_instance = outside.by_instance or sticky is Sticky.INSTANCE
        own = _weighted(gateway)
        alone = len(own) == 1 and own[0].condition is None
        kept = sticky if alone else Sticky.NONE
        onward = replace(outside, names=names, sticky=kept, by_instance=by_instance)
        routes = tuple(self._route(gateway, route, onward) for route in own)
        handed_on = alone and self._behind(gateway, own[0]) is not None
        return plan.Gate(
            gateway.name,
            routes,
            Sticky.NONE.value if handed_on else sticky.value,
            self._isolated(self.world.homes.get(gateway.name)),
            self.world.traffic(gateway.traffic, gateway.name),
        )

    def _route(self, gateway: Gateway, route: Route, outside: _Outside) -> plan.Route:
        return plan.Route(
            route.path,
            self._target(gateway, route, outside),
            route.weight or 0,
            None if route.condition is None else to_envoy(route.condition),
            route.condition_strength,
            tuple(plan.Rewrite(own.path, to_envoy(own.condition)) for own in route.rewrites),
            self.world.traffic(route.traffic, gateway.name),
        )

    def _target(self, gateway: Gateway, route: Route, outside: _Outside) -> str | plan.Gate:
        if is_selected(gateway, route):
            return self._selected(gateway, route, outside)
        behind = self._behind(gateway, route)
        if behind is not None:
            return self._gate(behind, outside)
        balance = balance_of(route)
        upstream = self.world.upstream(route.path, by_instance=outside.by_instance, balance=balance)
        version = self.world.version(route.path)
        if version is None or gateway.name in self.world.homes:
            return upstream
        # Who leads past a cluster's gateway does not lead past its isolation.
        return self._guarded(version, upstream)

    def _behind(self, gateway: Gateway, route: Route) -> Gateway | None:
        """The gateway a route leads to, if it leads to one. Those of a cluster lead to its versions alone,
        whatever else is called so."""
        if gateway.name in self.world.homes or is_selected(gateway, route):
            return None
        found = self.world.gateway(route.path)
        if found is not None and (gateway.protocol is Protocol.TCP) != (found.protocol is Protocol.TCP):
            raise ConflictError(
                f"gateway {gateway.name} speaks {gateway.protocol}, "
                f"and {found.name} behind it {found.protocol}"
            )
        return found

    def _selected(self, gateway: Gateway, route: Route, outside: _Outside) -> str | plan.Gate:
        """Where a selected route leads: to one version, or to several by the number of their instances."""
        found = parts(gateway, route, self.running, self.world)
        upstreams = (
            self.world.enter(part.upstream, outside.by_instance, balance_of(route)) for part in found
        )
        ends = [
            (part, self._guarded(part.version, name)) for part, name in zip(found, upstreams, strict=True)
        ]
        if len(ends) == 1:
            return ends[0][1]
        kept = outside.by_instance or gateway.sticky is not Sticky.NONE
        routes = tuple(plan.Route(part.upstream.name, end, part.count) for part, end in ends)
        sticky = Sticky.ROUTE if kept else Sticky.NONE
        return plan.Gate(f"{gateway.name}?{route.path}", routes, sticky.value)

    def _guarded(self, version: Version, upstream: str) -> str | plan.Gate:
        isolated = self._isolated(version.home)
        if isolated is None:
            return upstream
        return plan.Gate(upstream, (plan.Route(upstream, upstream, 100),), isolated=isolated)

    def _isolated(self, home: Home | None) -> plan.Isolated | None:
        if home is None or not self.isolating.wanted:
            return None
        deployment, cluster = home.deployment.name, home.cluster.name
        policy = next((own for own in home.deployment.isolation if own.cluster == cluster), None)
        if policy is None:
            return None
        scope = f"{deployment}/{cluster}"
        # Nothing in a request tells its user; a user is held by the sessions that are reported for him.
        keys = (selector for selector in policy.keys if selector.kind is not KeyKind.USER)
        return plan.Isolated(
            scope=scope,
            upstream=self.world.upstream(f"{scope}/{policy.to}/{home.port}"),
            keys=tuple(
                plan.FilterKey(selector, scope_key(self.isolating.secret, scope, selector))
                for selector in keys
            ),
            seconds=0 if policy.duration is None else int(policy.duration.total_seconds()),
            token=self.isolating.tokens[deployment],
            open=policy.fail is FailPolicy.OPEN,
            simulate=policy.mode is Mode.SIMULATE,
            allow=None if policy.allow is None else to_envoy(policy.allow),
            record=policy.record,
        )

    def _shares(self, gateway: Gateway, outside: _Outside) -> Iterator[tuple[str, Fraction]]:
        onward = replace(outside, names=outside.enter(gateway))
        gateway = settled(gateway, self.running, self.world)
        for route in _weighted(gateway):
            if route.condition is not None or route.rewrites:
                raise ConflictError(
                    f"gateway {gateway.name}: a tcp connection has nothing to compare or rewrite"
                )
            share = Fraction(route.weight or 0, 100)
            if is_selected(gateway, route):
                found = parts(gateway, route, self.running, self.world)
                whole = sum(part.count for part in found)
                for part in found:
                    to = self._direct(gateway, route, part.version, part.upstream)
                    yield to, share * part.count / whole
                continue
            behind = self._behind(gateway, route)
            if behind is None:
                yield self._direct(gateway, route, self.world.version(route.path), route.path), share
                continue
            yield from ((name, share * inner) for name, inner in self._shares(behind, onward))

    def _direct(
        self, gateway: Gateway, route: Route, version: Version | None, to: str | plan.Upstream
    ) -> str:
        if version is not None and self._is_http(version) and self._isolated(version.home) is not None:
            raise ConflictError(
                f"gateway {gateway.name}: {version.path} is isolated, and tcp cannot tell attackers"
            )
        if isinstance(to, str):
            return self.world.upstream(to, balance=balance_of(route))
        return self.world.enter(to, False, balance_of(route))

    def _is_http(self, version: Version) -> bool:
        ports = (port for port in version.service.breed.ports if port.name == version.home.port)
        return all(port.protocol is not Protocol.TCP for port in ports)


def _weighted(gateway: Gateway) -> tuple[Route, ...]:
    """The routes with every weight filled in."""
    try:
        weights = distribute_weights([route.weight for route in gateway.routes])
    except ValueError as problem:
        raise ConflictError(f"gateway {gateway.name}: {problem}") from None
    return tuple(replace(route, weight=weight) for route, weight in zip(gateway.routes, weights, strict=True))


def _parts(share: Fraction, whole: int) -> int:
    """A share in parts of a whole; whoever has any share keeps some."""
    return max(1, round(share * whole)) if share else 0
