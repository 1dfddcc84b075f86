"""One listener per port: what it accepts, and the filters every request passes. Pure; routes: `routes.py`."""

from __future__ import annotations

from divertor.envoy.isolating import is_any, isolation_filter
from divertor.envoy.logging import logs
from divertor.envoy.names import TYPE, Resource
from divertor.envoy.plan import Listener, Paths, Snapshot
from divertor.envoy.upstreams import REPLAY_LIMIT, address_of, file_name

#: Seconds an idle request may take; long polls and slow uploads live, dead peers do not.
STREAM_IDLE_TIMEOUT = "300s"


def listeners(snapshot: Snapshot, paths: Paths) -> list[Resource]:
    """One listener per gateway; its routes come by RDS, so that a change of weights drains nothing."""
    return [
        _http_listener(listener, paths, snapshot.sampled)
        if listener.protocol == "http"
        else _tcp_listener(listener)
        for listener in snapshot.listeners
    ]


def _http_listener(listener: Listener, paths: Paths, sampled: float) -> Resource:
    manager: Resource = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
            *([isolation_filter()] if _isolates(listener) else []),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    if wanted := logs(paths, listener.name, sampled, _isolates(listener)):
        manager["access_log"] = wanted
    return _listener(listener, "envoy.filters.network.http_connection_manager", manager)


def _tcp_listener(listener: Listener) -> Resource:
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
    return _listener(listener, "envoy.filters.network.tcp_proxy", proxy)


def _listener(listener: Listener, name: str, configuration: Resource) -> Resource:
    return {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": listener.name,
        "address": address_of(listener.address, listener.port),
        "per_connection_buffer_limit_bytes": REPLAY_LIMIT,
        "filter_chains": [{"filters": [{"name": name, "typed_config": configuration}]}],
    }


def _isolates(listener: Listener) -> bool:
    return any(is_any(host.gate) for host in listener.hosts)
