"""Names that the gateway, its filter and the sensor share, and shapes that every kind of resource uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Resource = dict[str, Any]

TYPE = "type.googleapis.com/"
TOKEN_HEADER = "x-divertor-token"
ORIGINAL_HEADER = "x-envoy-original-url"
#: The shared object Envoy loads (libdivertor.so, see filter/), and the filter's name in its chain.
MODULE = "divertor"
FILTER = "divertor.isolation"


def route(name: str, to: Mapping[str, Any]) -> Resource:
    return {"name": name, "match": {"prefix": "/"}, "route": dict(to)}


def tree(branches: Sequence[tuple[Mapping[str, Any], Resource]], otherwise: Resource) -> Resource:
    """The first branch whose predicate matches, or `otherwise`."""
    if not branches:
        return otherwise
    matchers = [{"predicate": dict(predicate), "on_match": branch} for predicate, branch in branches]
    return {"matcher": {"matcher_list": {"matchers": matchers}, "on_no_match": otherwise}}


def action(name: str, routes_in_order: Sequence[Resource]) -> Resource:
    return {
        "action": {
            "name": name,
            "typed_config": {
                "@type": TYPE + "envoy.config.route.v3.RouteList",
                "routes": list(routes_in_order),
            },
        }
    }


def text(value: str) -> Resource:
    """A text as the settings of an extension."""
    return {"@type": TYPE + "google.protobuf.StringValue", "value": value}


def library() -> Resource:
    """The shared object, for each of its extensions. It stays loaded: its threads keep state of their own."""
    return {"name": MODULE, "do_not_close": True}


def header_input(name: str) -> Resource:
    """What a matcher looks at: a request's header."""
    return {
        "name": "header",
        "typed_config": {
            "@type": TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
            "header_name": name,
        },
    }


def header_is(name: str, value: str) -> Resource:
    return {"single_predicate": {"input": header_input(name), "value_match": {"exact": value}}}


def header(name: str, value: str) -> Resource:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
