"""A snapshot as Envoy resources (dicts, ready for JSON): bootstrap, listeners, routes; clusters and
endpoints come from `upstreams.py`.

Routing order is Vamp's, with the isolation before it (numbers as in `virtual_host`):

 1. a request the sensor has just diverted (it carries the divert token) → the audited version;
 2. a request of an isolated client (the filter marked it)               → the audited version;
 3. the first condition that matches: its route takes `strength` per cent of the requests; the others go by
    the weights of all routes, and later conditions are not tried;
 4. no condition matches: by the weights of all routes.

With sticky routes a customer's earlier draw (3 and 4) is kept in a cookie, as long as that route still has a
share. Envoy's generic matcher carries it: `and`, `or` and `not` map one to one, so a condition is never
expanded into a table of routes. Pure: no clock, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import product
from typing import Any

from divertor.envoy.plan import Isolated, Listener, Paths, Route, Snapshot
from divertor.envoy.upstreams import (
    REPLAY_LIMIT,
    Resource,
    address_of,
    clusters,
    endpoints,
    file_name,
    is_named,
    open_name,
)
from divertor.isolation.layout import key_words
from divertor.model.isolation import KeyKind

__all__ = [
    "bootstrap",
    "clusters",
    "endpoints",
    "file_name",
    "is_named",
    "listeners",
    "route_configuration",
    "routes",
]

TOKEN_HEADER = "x-divertor-token"
ORIGIN_HEADER = "x-divertor-origin"
CLIENT_HEADER = "x-divertor-client"
MARK_HEADER = "x-divertor-isolated"
ORIGINAL_HEADER = "x-envoy-original-url"
#: What only we may say. Application servers after the CGI fashion take `_` for `-`, so what the sensor
#: believes may not come from a client in that spelling either; the others, nobody reads in it.
OWN_HEADERS = (
    TOKEN_HEADER,
    MARK_HEADER,
    *(
        "".join(word + mark for word, mark in zip(name.split("-"), (*marks, ""), strict=True))
        for name in (ORIGIN_HEADER, CLIENT_HEADER)
        for marks in product("-_", repeat=2)
    ),
)
#: The shared object Envoy loads (libdivertor.so, see filter/), and the filter's name in its chain.
MODULE = "divertor"
FILTER = "divertor.isolation"
#: Envoy draws one number per request for all its decisions. The strength of a condition looks at its last
#: two digits, so the weights must look at the others: else those who lose the one draw are no fair sample in
#: the next.
DRAW = 100
#: Seconds an idle request may take; long polls and slow uploads live, dead peers do not.
STREAM_IDLE_TIMEOUT = "300s"

_TYPE = "type.googleapis.com/"
_HCM = _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_MODULE = _TYPE + "envoy.extensions.filters.http.dynamic_modules.v3."
_MONITOR = _TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_MATCHER = _TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"

#: What the access log keeps of an isolated or just diverted request.
_LOG_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_CLUSTER_RAW%",
    "scope": "%DYNAMIC_METADATA(divertor:scope)%",
    "key": "%DYNAMIC_METADATA(divertor:key)%",
    "by": "%DYNAMIC_METADATA(divertor:by)%",
    "added": "%DYNAMIC_METADATA(divertor:added)%",
}


def bootstrap(paths: Paths, node: str) -> Resource:
    """The static part: who we are, where the files are, and an admin interface on a Unix socket only."""

    def source(kind: str) -> Resource:
        return {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": f"{paths.config}/{kind}/{kind}.json",
                "watched_directory": {"path": f"{paths.config}/{kind}"},
            },
        }

    return {
        "node": {"id": node, "cluster": "divertor"},
        "admin": {"address": {"pipe": {"path": paths.admin, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": source("lds"), "cds_config": source("cds")},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _MONITOR,
                        "max_active_downstream_connections": 50000,
                    },
                }
            ]
        },
    }


def listeners(snapshot: Snapshot, paths: Paths) -> list[Resource]:
    """One listener per gateway; its routes come by RDS, so that a change of weights drains nothing."""
    return [
        _http_listener(listener, paths) if listener.protocol == "http" else _tcp_listener(listener)
        for listener in snapshot.listeners
    ]


def routes(snapshot: Snapshot, paths: Paths) -> dict[str, Resource]:
    """The route configuration of each HTTP listener, by listener name."""
    return {
        listener.name: route_configuration(listener, paths)
        for listener in snapshot.listeners
        if listener.protocol == "http"
    }


# Listeners ------------------------------------------------------------------------------------------------


def _http_listener(listener: Listener, paths: Paths) -> Resource:
    manager: Resource = {
        "@type": _HCM,
        "stat_prefix": listener.name,
        "codec_type": "AUTO",
        "use_remote_address": True,
        "xff_num_trusted_hops": listener.trusted_hops,
        # No client is "internal" (an empty list would mean the private ranges): what only we may set, and
        # Envoy's own control headers, are stripped from everybody. 240.0.0.0/4 is never a source address.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "240.0.0.1", "prefix_len": 32}]},
        "normalize_path": True,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": STREAM_IDLE_TIMEOUT,
        "request_headers_timeout": "30s",
        "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "ALLOW"},
        "rds": {
            "route_config_name": listener.name,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": f"{paths.config}/rds/{file_name(listener.name)}",
                    "watched_directory": {"path": f"{paths.config}/rds"},
                },
            },
        },
        # The answer says what the application says: nobody needs to know what stands before it.
        "server_header_transformation": "PASS_THROUGH",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            *([_isolation_filter()] if listener.isolated is not None else []),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    if listener.isolated is not None:
        manager["access_log"] = [_access_log(paths)]
    return _listener(listener, "envoy.filters.network.http_connection_manager", manager)


def _isolation_filter() -> Resource:
    return {
        "name": FILTER,
        "typed_config": {
            "@type": _MODULE + "DynamicModuleFilter",
            "dynamic_module_config": {"name": MODULE, "do_not_close": True},
            "filter_name": "isolation",
        },
    }


def _access_log(paths: Paths) -> Resource:
    """Isolated and just diverted requests; ordinary customers leave no line."""
    marked = {"filter": "divertor", "path": [{"key": "scope"}], "value": {"present_match": True}}
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"metadata_filter": {"matcher": marked, "match_if_key_not_found": {"value": False}}},
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": paths.access_log,
            "log_format": {"json_format": _LOG_FIELDS},
        },
    }


def _tcp_listener(listener: Listener) -> Resource:
    proxy: Resource = {
        "@type": _TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": listener.name,
        "weighted_clusters": {
            "clusters": [
                {"name": route.upstream, "weight": route.weight} for route in listener.routes if route.weight
            ]
        },
    }
    if not proxy["weighted_clusters"]["clusters"]:
        del proxy["weighted_clusters"]
        proxy["cluster"] = "no route has a weight"
    return _listener(listener, "envoy.filters.network.tcp_proxy", proxy)


def _listener(listener: Listener, name: str, configuration: Resource) -> Resource:
    return {
        "@type": _TYPE + "envoy.config.listener.v3.Listener",
        "name": listener.name,
        "address": address_of(listener.address, listener.port),
        "per_connection_buffer_limit_bytes": REPLAY_LIMIT,
        "filter_chains": [{"filters": [{"name": name, "typed_config": configuration}]}],
    }


# Routes ---------------------------------------------------------------------------------------------------


def route_configuration(listener: Listener, paths: Paths) -> Resource:
    """One HTTP listener's routes, in the order the module's docstring gives."""
    return {
        "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": listener.name,
        "internal_only_headers": list(OWN_HEADERS),
        # With an isolation the filter needs to see it, and takes it out itself.
        **({} if listener.isolated else {"response_headers_to_remove": [TOKEN_HEADER]}),
        "virtual_hosts": [virtual_host(listener, paths)],
    }


def virtual_host(listener: Listener, paths: Paths) -> Resource:
    """Every host of a gateway: routes are tried as the module's docstring says."""
    host: Resource = {
        "name": listener.name,
        "domains": ["*"],
        "matcher": {
            "matcher_list": {
                "matchers": [
                    *_isolation_matchers(listener),
                    *(
                        _condition_matcher(listener, route)
                        for route in listener.routes
                        if route.predicate is not None
                    ),
                ]
            },
            "on_no_match": _action("everyone", _by_weight(listener)),
        },
        # An instance that refused the connection has seen nothing of the request: asking another is safe.
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 3},
        "request_headers_to_add": [_header(CLIENT_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")],
    }
    if not host["matcher"]["matcher_list"]["matchers"]:
        del host["matcher"]["matcher_list"]
    isolated = listener.isolated
    if isolated is not None:
        host["typed_per_filter_config"] = {
            FILTER: {
                "@type": _MODULE + "DynamicModuleFilterPerRoute",
                "dynamic_module_config": {"name": MODULE, "do_not_close": True},
                "filter_name": "isolation",
                "filter_config": {
                    "@type": _TYPE + "google.protobuf.StringValue",
                    "value": _filter_settings(isolated, paths),
                },
            }
        }
        host["request_headers_to_add"].append(
            _header(ORIGIN_HEADER, "%REQ(:SCHEME)%://%REQ(:AUTHORITY)%%REQ(:PATH)%")
        )
    return host


def _filter_settings(isolated: Isolated, paths: Paths) -> str:
    """The lines `filter/filter.c` reads."""
    lines = [
        f"scope {isolated.scope}",
        f"token {isolated.token}",
        f"table {paths.table}",
        f"recent {paths.recent}",
        f"seconds {isolated.seconds}",
    ]
    for key in isolated.keys:
        first, second = key_words(key.secret)
        # Envoy hands header names over in lower case.
        name = key.selector.name.lower() if key.selector.kind is KeyKind.HEADER else key.selector.name
        lines.append(f"key {key.selector.kind} {first} {second} {name}")
    return "\n".join(lines)


def _isolation_matchers(listener: Listener) -> list[Resource]:
    isolated = listener.isolated
    if isolated is None:
        return []
    cluster = open_name(listener) if isolated.open else isolated.upstream
    return [
        {
            "predicate": _header_is(TOKEN_HEADER, isolated.token),
            "on_match": _action("divert", [_isolated_route(_divert_name(listener), cluster)]),
        },
        {
            "predicate": _header_is(MARK_HEADER, "1"),
            "on_match": _action("isolated", [_isolated_route(f"{listener.name}#isolated", cluster)]),
        },
    ]


def _divert_name(listener: Listener) -> str:
    return f"{listener.name}#divert"


def _isolated_route(name: str, cluster: str) -> Resource:
    route = _route(name, {"cluster": cluster, "timeout": "0s"})
    # The audited version is not told: whoever breaks into it must not learn that he is being watched.
    route["request_headers_to_remove"] = [TOKEN_HEADER, MARK_HEADER, ORIGINAL_HEADER]
    return route


def _condition_matcher(listener: Listener, route: Route) -> Resource:
    pinned = [_pinned(listener, other) for other in _pinnable(listener, route)]
    taken = _route(route.name, _to(listener, route.upstream))
    taken["match"]["runtime_fraction"] = {
        "default_value": {"numerator": route.strength, "denominator": "HUNDRED"},
        "runtime_key": "divertor.strength",
    }
    if listener.sticky != "none":
        taken["response_headers_to_add"] = [_pin(listener, route)]
    if route.strength == 100:
        return {
            "predicate": route.predicate,
            "on_match": _action(route.name, [_route(route.name, _to(listener, route.upstream))]),
        }
    draw = [taken] if route.strength else []
    return {
        "predicate": route.predicate,
        "on_match": _action(route.name, [*pinned, *draw, *_weighted(listener)]),
    }


def _by_weight(listener: Listener) -> list[Resource]:
    return [*(_pinned(listener, route) for route in _pinnable(listener, None)), *_weighted(listener)]


def _pinnable(listener: Listener, matched: Route | None) -> list[Route]:
    """The routes an earlier draw may hold on to: those that could still be drawn."""
    if listener.sticky == "none":
        return []
    return [
        route
        for route in listener.routes
        if route.weight or (matched is not None and route == matched and route.strength)
    ]


def _weighted(listener: Listener) -> list[Resource]:
    """The draw by weight among all routes."""
    drawn = [route for route in listener.routes if route.weight]
    name = f"{listener.name}#weights"
    if not drawn:
        return [
            {
                "name": name,
                "match": {"prefix": "/"},
                "direct_response": {
                    "status": 503,
                    "body": {"inline_string": "No route of this gateway has a weight.\n"},
                },
            }
        ]
    if len(drawn) == 1 and listener.sticky == "none":
        return [_route(drawn[0].name, _to(listener, drawn[0].upstream))]
    action = _to(listener, None)
    action["weighted_clusters"] = {
        "clusters": [
            {
                "name": route.upstream,
                "weight": route.weight * DRAW,
                **({"response_headers_to_add": [_pin(listener, route)]} if listener.sticky != "none" else {}),
            }
            for route in drawn
        ]
    }
    return [_route(name, action)]


def _to(listener: Listener, cluster: str | None) -> Resource:
    """The action of a route that customers take: `cluster`, or what the caller adds."""
    action: Resource = {"timeout": "0s"}
    if cluster is not None:
        action["cluster"] = cluster
    if listener.sticky == "instance":
        action["hash_policy"] = [
            {
                "cookie": {
                    "name": f"{_cookie(listener)}i",
                    "ttl": "0s",
                    "path": "/",
                    "attributes": [{"name": "HttpOnly"}],
                }
            }
        ]
    if listener.isolated is not None:
        # Only the sensor's 307 is followed: the application's own has no token, so its target is not the
        # listed route, and Envoy passes it on to the client.
        action["internal_redirect_policy"] = {
            "max_internal_redirects": 1,
            "redirect_response_codes": [307],
            "response_headers_to_copy": [TOKEN_HEADER],
            # Behind a proxy that ends TLS the request's own URL is https, though this connection is not.
            "allow_cross_scheme_redirect": True,
            "predicates": [
                {
                    "name": "envoy.internal_redirect_predicates.allow_listed_routes",
                    "typed_config": {
                        "@type": _TYPE
                        + "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
                        "allowed_route_names": [_divert_name(listener)],
                    },
                }
            ],
        }
    return action


def _route(name: str, action: Mapping[str, Any]) -> Resource:
    return {"name": name, "match": {"prefix": "/"}, "route": dict(action)}


def _action(name: str, routes_in_order: Sequence[Resource]) -> Resource:
    return {
        "action": {
            "name": name,
            "typed_config": {
                "@type": _TYPE + "envoy.config.route.v3.RouteList",
                "routes": list(routes_in_order),
            },
        }
    }


def _header_is(name: str, value: str) -> Resource:
    return {
        "single_predicate": {
            "input": {"name": "header", "typed_config": {"@type": _MATCHER, "header_name": name}},
            "value_match": {"exact": value},
        }
    }


def _header(name: str, value: str) -> Resource:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


# Stickiness -----------------------------------------------------------------------------------------------


def _cookie(listener: Listener) -> str:
    return f"dvt-{blake2b(listener.name.encode(), digest_size=4).hexdigest()}"


def _mark_of(route: Route) -> str:
    """What stands for a route in the cookie: names of versions are nobody's business."""
    return blake2b(route.name.encode(), digest_size=6).hexdigest()


def _pin(listener: Listener, route: Route) -> Resource:
    cookie = f"{_cookie(listener)}={_mark_of(route)}; Path=/; HttpOnly; SameSite=Lax"
    return {"header": {"key": "set-cookie", "value": cookie}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}


def _pinned(listener: Listener, route: Route) -> Resource:
    resource = _route(route.name, _to(listener, route.upstream))
    resource["match"]["headers"] = [
        {
            "name": "cookie",
            "string_match": {
                "safe_regex": {"regex": rf"(?:\C*;)?\s*{_cookie(listener)}={_mark_of(route)}\s*(?:;\C*)?"}
            },
        }
    ]
    return resource
