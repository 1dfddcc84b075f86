"""Where a request ends up, and how it is treated on the way. Pure; what can be asked for: `traffic.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from divertor.envoy.names import TOKEN_HEADER, TYPE, Resource, action, route, tree
from divertor.envoy.plan import Gate, Rewrite, Route
from divertor.envoy.stickiness import instance_hash
from divertor.envoy.traffic import action_fields, merged, route_fields
from divertor.model.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Trail:
    """What a request has met on its way through the gates, outer ones first."""

    traffic: Traffic = Traffic()
    rewrites: tuple[Rewrite, ...] = ()
    #: Headers of the answer that keep earlier draws.
    pins: tuple[Resource, ...] = ()
    #: The gate whose instances are kept by cookie, if any.
    sticky: Gate | None = None
    #: The name of the route that a diverted request is sent on to, where the sensor may divert.
    divert: str = ""
    #: Headers of the request that the version must not see.
    hidden: tuple[str, ...] = ()
    #: The filter's settings on this way; empty: the filter is not asked.
    filters: tuple[tuple[str, Any], ...] = ()

    def through(self, gate: Gate) -> Trail:
        sticky = gate if gate.sticky == "instance" else self.sticky
        return replace(self, traffic=merged(self.traffic, gate.traffic), sticky=sticky)

    def along(self, route: Route) -> Trail:
        return replace(
            self,
            traffic=merged(self.traffic, route.traffic),
            rewrites=(*self.rewrites, *route.rewrites),
        )

    def end(self, name: str, upstream: str) -> Resource:
        """The end of the way: what is done on a match. Of the rewrites that match, the last one counts."""
        plain = action(name, [self.route(name, upstream)])
        return tree(
            [
                (rewrite.predicate, action(name, [self.route(name, upstream, rewrite.path)]))
                for rewrite in reversed(self.rewrites)
            ],
            plain,
        )

    def route(self, name: str, upstream: str | None, rewritten: str = "") -> Resource:
        """One of Envoy's routes, to a cluster (None: the caller adds where to)."""
        to: Resource = {**action_fields(self.traffic), **_divertible(self.divert)}
        if upstream is not None:
            to["cluster"] = upstream
        if rewritten:
            to["regex_rewrite"] = _replacement(rewritten)
        if self.sticky is not None:
            to["hash_policy"] = [instance_hash(self.sticky)]
        found = {**route(name, to), **route_fields(self.traffic)}
        if self.hidden:
            found["request_headers_to_remove"] = [*found.get("request_headers_to_remove", ()), *self.hidden]
        if self.pins:
            found["response_headers_to_add"] = [*found.get("response_headers_to_add", ()), *self.pins]
        if self.filters:
            found["typed_per_filter_config"] = dict(self.filters)
        elif self.divert:
            # Should Envoy not follow, the token stays here. Where the filter looks on, it sees to that.
            found["response_headers_to_remove"] = [*found.get("response_headers_to_remove", ()), TOKEN_HEADER]
        return found


def weighted_action(
    trail: Trail, name: str, choices: Sequence[tuple[str, int, tuple[Resource, ...]]]
) -> Resource:
    """A route to one of several clusters, by weight; the last of a choice are the headers that keep it."""
    found = trail.route(name, None)
    found["route"]["weighted_clusters"] = {
        "clusters": [
            {
                "name": upstream,
                "weight": weight,
                **({"response_headers_to_add": list(pins)} if pins else {}),
            }
            for upstream, weight, pins in choices
        ]
    }
    return found


def _divertible(to: str) -> Mapping[str, Any]:
    """Only the sensor's 307 is followed: the application's own has no token, so its target is not the listed
    route, and Envoy passes it on to the client."""
    if not to:
        return {}
    return {
        "internal_redirect_policy": {
            "max_internal_redirects": 1,
            "redirect_response_codes": [307],
            "response_headers_to_copy": [TOKEN_HEADER],
            # Behind a proxy that ends TLS the request's own URL is https, though this connection is not.
            "allow_cross_scheme_redirect": True,
            "predicates": [
                {
                    "name": "envoy.internal_redirect_predicates.allow_listed_routes",
                    "typed_config": {
                        "@type": TYPE
                        + "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
                        "allowed_route_names": [to],
                    },
                }
            ],
        }
    }


def _replacement(path: str) -> Resource:
    """The whole path is replaced; `%[path]` is what it was. The query stays."""
    text = path.replace("\\", "\\\\").replace("%[path]", "\\1")
    return {"pattern": {"regex": "^(\\C*)$"}, "substitution": text}
