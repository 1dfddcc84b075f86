"""Routes: each gate becomes a tree of Envoy's matchers, in Vamp's order with the isolation before it.

 1. a request the sensor has just diverted (it carries the divert token) → the audited version;
 2. a request of an isolated client                                     → the audited version;
 3. the first condition that matches: its route takes `strength` per cent of the requests; the others go by
    the weights of all routes, and later conditions are not tried;
 4. no condition matches: by the weights of all routes.

With sticky routes a customer's earlier draw (3 and 4) is kept in a cookie, as long as that route still has a
share. `and`, `or` and `not` map one to one, so a condition is never expanded into a table of routes. A route
to another gate is that gate's tree in its place: a chain costs no second hop.

A gate whose routes are plain ends in Envoy's own list of routes with weighted clusters, the fastest there is.
Where a drawn route is a tree of its own, the draw is a matcher on the request's id: the same request, sent
again after a divert, draws the same. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

from divertor.envoy import isolating
from divertor.envoy.actions import Trail, weighted_action
from divertor.envoy.following import follows_routes
from divertor.envoy.limits import enabled
from divertor.envoy.names import (
    TYPE,
    Resource,
    action,
    header_input,
    tree,
)
from divertor.envoy.plan import Gate, Host, Listener, Paths, Route, Snapshot
from divertor.envoy.stickiness import pin, pinned_by, pinned_pattern

#: Envoy draws one number per request for all its decisions. The strength of a condition looks at its last
#: two digits, so the weights must look at the others: else those who lose the one draw are no fair sample in
#: the next.
DRAW = 100
MILLION = 1_000_000
ANY = ("*",)


def routes(snapshot: Snapshot, paths: Paths) -> dict[str, Resource]:
    """The route configuration of each HTTP listener that has a file for it, by listener name."""
    if not follows_routes(snapshot):
        return {}
    return {
        listener.name: route_configuration(listener, paths)
        for listener in snapshot.listeners
        if listener.protocol == "http"
    }


def route_configuration(listener: Listener, paths: Paths) -> Resource:
    """One HTTP listener's routes, in the order the module's docstring gives."""
    found: Resource = {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": listener.name,
        "virtual_hosts": [virtual_host(host, paths) for host in listener.hosts],
    }
    if any(host.domains != ANY for host in listener.hosts):
        # A browser names the port with the host, unless it is 80.
        found["ignore_port_in_host_matching"] = True
    return found


def virtual_host(host: Host, paths: Paths) -> Resource:
    """One host's tree of routes."""
    return {
        "name": host.gate.name,
        "domains": list(host.domains),
        "matcher": _rooted(_Compiler(paths).gate(host.gate, Trail())),
        **enabled(host),
    }


def _rooted(found: Resource) -> Resource:
    """A matcher that does what `found` says: Envoy wants one at the top."""
    return found["matcher"] if "matcher" in found else {"on_no_match": found}


@dataclass(frozen=True, slots=True)
class _Compiler:
    """From gates to what is to be done on a match: an action, or a matcher that looks further."""

    paths: Paths

    def gate(self, gate: Gate, trail: Trail) -> Resource:
        trail = trail.through(gate)
        if gate.isolated is None:
            return self.ordinary(gate, trail)
        return isolating.decision(gate, trail, self.paths, lambda way: self.ordinary(gate, way))

    def ordinary(self, gate: Gate, trail: Trail) -> Resource:
        """What customers get: conditions, then weights."""
        conditional = [route for route in gate.routes if route.predicate is not None]
        return tree(
            [(route.predicate or {}, self.matched(gate, route, trail)) for route in conditional],
            self.by_weight(gate, trail, None),
        )

    def matched(self, gate: Gate, route: Route, trail: Trail) -> Resource:
        """What a request gets whose condition is `route`'s."""
        if route.strength == 100:
            return self.way(gate, route, trail, pinning=False)
        return self.by_weight(gate, trail, route)

    def by_weight(self, gate: Gate, trail: Trail, matched: Route | None) -> Resource:
        """The draw among all routes; before it the strength draw of the route whose condition matched, and
        before that whatever was drawn earlier."""
        if not trail.rewrites and all(route.is_plain for route in gate.routes):
            return action(gate.name, self.listed(gate, trail, matched))
        kept = [
            (pinned_by(gate, route), self.way(gate, route, trail, pinning=False))
            for route in _pinnable(gate, matched)
        ]
        taken = []
        if matched is not None and matched.strength:
            predicate = drawn(matched.strength, 100, f"{gate.name}#strength#{matched.name}")
            taken = [(predicate, self.way(gate, matched, trail, pinning=True))]
        return tree([*kept, *taken], self.draw(gate, trail))

    def draw(self, gate: Gate, trail: Trail) -> Resource:
        """By weight, each route a branch: the first with its share, the next with its share of the rest …"""
        weighted = [route for route in gate.routes if route.weight]
        if not weighted:
            return action(gate.name, [_nothing(gate)])
        left = sum(route.weight for route in weighted)
        branches = []
        for route in weighted[:-1]:
            branches.append(
                (
                    drawn(route.weight, left, f"{gate.name}#weight#{route.name}"),
                    self.way(gate, route, trail, True),
                )
            )
            left -= route.weight
        return tree(branches, self.way(gate, weighted[-1], trail, True))

    def way(self, gate: Gate, route: Route, trail: Trail, pinning: bool) -> Resource:
        """Where one route leads; `pinning`: it has just been drawn, and the client is to stay."""
        onward = trail.along(route)
        if pinning and gate.sticky != "none":
            onward = replace(onward, pins=(*onward.pins, *pin(gate, route)))
        if isinstance(route.to, Gate):
            return self.gate(route.to, onward)
        return onward.end(route.name, route.to)

    def listed(self, gate: Gate, trail: Trail, matched: Route | None) -> list[Resource]:
        """Plain routes as Envoy's list: pins, the strength draw, weighted clusters."""
        found = [_if_pinned(gate, route, self.leaf(route, trail)) for route in _pinnable(gate, matched)]
        if matched is not None and matched.strength:
            taken = self.leaf(matched, trail)
            taken["match"] = {
                **taken["match"],
                "runtime_fraction": {
                    "default_value": {"numerator": matched.strength, "denominator": "HUNDRED"},
                    "runtime_key": "divertor.strength",
                },
            }
            if gate.sticky != "none":
                taken["response_headers_to_add"] = [
                    *taken.get("response_headers_to_add", ()),
                    *pin(gate, matched),
                ]
            found.append(taken)
        return [*found, self.weighted(gate, trail)]

    def weighted(self, gate: Gate, trail: Trail) -> Resource:
        choices = [route for route in gate.routes if route.weight]
        if not choices:
            return _nothing(gate)
        if len(choices) == 1 and gate.sticky == "none":
            return self.leaf(choices[0], trail)
        return weighted_action(
            trail,
            f"{gate.name}#weights",
            [
                (_upstream(route), route.weight * DRAW, pin(gate, route) if gate.sticky != "none" else ())
                for route in choices
            ],
        )

    def leaf(self, route: Route, trail: Trail) -> Resource:
        return trail.along(route).route(route.name, _upstream(route))


def drawn(share: int, of: int, seed: str) -> Resource:
    """A predicate that `share` in `of` requests match: a hash of the request's id, under a seed of the draw's
    own, so that draws are independent of each other."""
    fraction = {"numerator": share * MILLION // of, "denominator": "MILLION"}
    return {
        "single_predicate": {
            "input": header_input("x-request-id"),
            "custom_match": {
                "name": "envoy.matching.matchers.runtime_fraction",
                "typed_config": {
                    "@type": TYPE
                    + "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction",
                    "runtime_fraction": {"default_value": fraction, "runtime_key": "divertor.draw"},
                    "seed": int.from_bytes(blake2b(seed.encode(), digest_size=6).digest(), "little"),
                },
            },
        }
    }


def _upstream(route: Route) -> str:
    assert isinstance(route.to, str)
    return route.to


def _pinnable(gate: Gate, matched: Route | None) -> list[Route]:
    """The routes an earlier draw may hold on to: those that could still be drawn."""
    if gate.sticky == "none":
        return []
    return [
        route
        for route in gate.routes
        if route.weight or (matched is not None and route == matched and route.strength)
    ]


def _if_pinned(gate: Gate, route: Route, leaf: Resource) -> Resource:
    value = {"safe_regex": {"regex": pinned_pattern(gate, route)}}
    leaf["match"] = {**leaf["match"], "headers": [{"name": "cookie", "string_match": value}]}
    return leaf


def _nothing(gate: Gate) -> Resource:
    return {
        "name": f"{gate.name}#weights",
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 503,
            "body": {"inline_string": "No route of this gateway has a weight.\n"},
        },
    }
