"""One listener per port: what it accepts, and the filters every request passes. Pure; routes: `routes.py`."""

from __future__ import annotations

from divertor.envoy.clients import address_fields, arrivals, mutation
from divertor.envoy.following import follows_routes
from divertor.envoy.isolating import is_any, isolation_filter
from divertor.envoy.limits import counted_fingerprints, limiting_filters
from divertor.envoy.logging import logs
from divertor.envoy.names import TYPE, Resource, header
from divertor.envoy.plan import Listener, Paths, Snapshot
from divertor.envoy.routes import route_configuration
from divertor.envoy.tls import client_certificate, misspelt_certificates, transport_socket
from divertor.envoy.upstreams import REPLAY_LIMIT, address_of, file_name
from divertor.model.isolation import KeyKind

#: The headers that hold a handshake's fingerprint for the filter.
FINGERPRINTS = {
    KeyKind.JA3: ("x-divertor-ja3", "%TLS_JA3_FINGERPRINT%"),
    KeyKind.JA4: ("x-divertor-ja4", "%TLS_JA4_FINGERPRINT%"),
}
#: Seconds an idle request may take; long polls and slow uploads live, dead peers do not.
STREAM_IDLE_TIMEOUT = "300s"


def listeners(snapshot: Snapshot, paths: Paths) -> list[Resource]:
    """One listener per gateway; its routes come by RDS, so that a change of weights drains nothing."""
    follow = follows_routes(snapshot)
    return [
        _http_listener(listener, paths, snapshot.sampled, follow)
        if listener.protocol == "http"
        else _tcp_listener(listener, paths)
        for listener in snapshot.listeners
    ]


def _http_listener(listener: Listener, paths: Paths, sampled: float, follow: bool) -> Resource:
    manager: Resource = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": listener.name,
        "codec_type": "AUTO",
        **address_fields(listener),
        # No client is "internal" (an empty list would mean the private ranges): what only we may set, and
        # Envoy's own control headers, are stripped from everybody. 240.0.0.0/4 is never a source address.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "240.0.0.1", "prefix_len": 32}]},
        "normalize_path": True,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": STREAM_IDLE_TIMEOUT,
        "request_headers_timeout": "30s",
        "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "ALLOW"},
        **_routes(listener, paths, follow),
        **client_certificate(listener),
        # The answer says what the application says: nobody needs to know what stands before it.
        "server_header_transformation": "PASS_THROUGH",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            *([isolation_filter()] if _isolates(listener) else []),
            # After it: who attacks is noted even if this is one request too many.
            *limiting_filters(listener),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    manager["early_header_mutation_extensions"] = arrivals(listener)
    if mutations := _overwritten(listener):
        manager["early_header_mutation_extensions"].append(mutation(*mutations))
    if wanted := logs(paths, listener.name, sampled, _isolates(listener)):
        manager["access_log"] = wanted
    return _listener(listener, "envoy.filters.network.http_connection_manager", manager, paths)


def _routes(listener: Listener, paths: Paths, follow: bool) -> Resource:
    """Where the routes are: in a file of their own, so that changing them disturbs nothing else."""
    if not follow:
        return {"route_config": route_configuration(listener, paths)}
    directory = f"{paths.config}/rds"
    source = {"path": f"{directory}/{file_name(listener.name)}", "watched_directory": {"path": directory}}
    return {
        "rds": {
            "route_config_name": listener.name,
            "config_source": {"resource_api_version": "V3", "path_config_source": source},
        }
    }


def _tcp_listener(listener: Listener, paths: Paths) -> Resource:
    gate = listener.hosts[0].gate
    proxy: Resource = {
        "@type": TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": listener.name,
        "weighted_clusters": {
            "clusters": [{"name": route.to, "weight": route.weight} for route in gate.routes if route.weight]
        },
    }
    if not proxy["weighted_clusters"]["clusters"]:
        del proxy["weighted_clusters"]
        proxy["cluster"] = "no route has a weight"
    return _listener(listener, "envoy.filters.network.tcp_proxy", proxy, paths)


def _listener(listener: Listener, name: str, configuration: Resource, paths: Paths) -> Resource:
    chain: Resource = {"filters": [{"name": name, "typed_config": configuration}]}
    if listener.tls is not None:
        chain["transport_socket"] = transport_socket(listener, listener.tls, paths)
    found: Resource = {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": listener.name,
        "address": address_of(listener.address, listener.port),
        "per_connection_buffer_limit_bytes": REPLAY_LIMIT,
        "filter_chains": [chain],
    }
    if filters := _listener_filters(listener):
        found["listener_filters"] = filters
    return found


def _listener_filters(listener: Listener) -> list[Resource]:
    """What reads the first bytes of a connection, before anybody else does."""
    found = []
    if listener.proxy_protocol:
        found.append(
            {
                "name": "envoy.filters.listener.proxy_protocol",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
                },
            }
        )
    if fingerprints := _fingerprints(listener):
        found.append(
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                    "enable_ja3_fingerprinting": KeyKind.JA3 in fingerprints,
                    "enable_ja4_fingerprinting": KeyKind.JA4 in fingerprints,
                },
            }
        )
    return found


def _fingerprints(listener: Listener) -> set[KeyKind]:
    """The kinds of TLS fingerprints that something goes by, where there is TLS."""
    return _wanted_fingerprints(listener) if listener.tls is not None else set()


def _wanted_fingerprints(listener: Listener) -> set[KeyKind]:
    keys = {key.selector.kind for gate in listener.gates if gate.isolated for key in gate.isolated.keys}
    return keys & FINGERPRINTS.keys() | counted_fingerprints(listener)


def _overwritten(listener: Listener) -> list[Resource]:
    """What TLS tells about a client, where somebody reads it: not what the client says, whether there is such
    a thing or not."""
    known, wanted = _fingerprints(listener), _wanted_fingerprints(listener)
    fingerprints: list[Resource] = [
        {"append": header(name, value)} if kind in known else {"remove": name}
        for kind, (name, value) in FINGERPRINTS.items()
        if kind in wanted
    ]
    return [*fingerprints, *({"remove": name} for name in misspelt_certificates(listener))]


def _isolates(listener: Listener) -> bool:
    return any(is_any(host.gate) for host in listener.hosts)
