"""A snapshot's upstreams as Envoy clusters and endpoints. Pure; listeners and routes: `resources.py`."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from divertor.envoy.following import follows_endpoints, is_named
from divertor.envoy.plan import Check, Endpoint, Gate, Paths, Snapshot, Upstream
from divertor.envoy.traffic import seconds
from divertor.model.traffic import CircuitBreaker, OutlierDetection

Resource = dict[str, Any]

#: The largest request that can be replayed against another version, bytes. A larger attack is refused.
REPLAY_LIMIT = 1 << 20
CONNECT_TIMEOUT = "1s"
#: Application servers close idle connections, some after two seconds; one that is reused at that very moment
#: fails a request. So ours are given up first.
UPSTREAM_IDLE_TIMEOUT = "1.5s"

#: Of how many instances, drawn at random, the least busy one is taken. Of two that are drawn with
#: replacement, the busier would still be taken in one case of four.
COMPARED = 10

_TYPE = "type.googleapis.com/"
_POLICIES = {"roundrobin": "ROUND_ROBIN", "leastconn": "LEAST_REQUEST", "random": "RANDOM"}


def clusters(snapshot: Snapshot, paths: Paths) -> list[Resource]:
    """One cluster per upstream; endpoints come by EDS, so that scaling does not disturb it. Only host names
    are part of the cluster, because EDS takes none: they are looked up by Envoy, again and again."""
    follow = follows_endpoints(snapshot)
    resources = [_cluster(upstream, paths, follow) for upstream in snapshot.upstreams]
    gates = (gate for listener in snapshot.listeners for gate in listener.gates)
    opened = {gate.name: gate for gate in gates if gate.isolated and gate.isolated.open}
    return [*resources, *(_open_cluster(gate) for gate in opened.values())]


def endpoints(snapshot: Snapshot) -> dict[str, Resource]:
    """The endpoints of each upstream, by its name: Envoy wants a file of its own for each."""
    if not follows_endpoints(snapshot):
        return {}
    return {
        upstream.name: {
            "@type": _TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
            **_assignment(upstream),
        }
        for upstream in snapshot.upstreams
        if not is_named(upstream)
    }


def file_name(name: str) -> str:
    """The file a listener's routes or an upstream's endpoints are kept in: names are arbitrary text."""
    return f"{blake2b(name.encode(), digest_size=10).hexdigest()}.json"


def _assignment(upstream: Upstream) -> Resource:
    return {
        "cluster_name": upstream.name,
        "endpoints": [{"lb_endpoints": [_endpoint(at) for at in upstream.endpoints]}],
    }


def _discovery(upstream: Upstream, paths: Paths, follow: bool) -> Resource:
    if is_named(upstream):
        return {
            "type": "STRICT_DNS",
            "dns_lookup_family": "V4_PREFERRED",
            "load_assignment": _assignment(upstream),
        }
    if not follow:
        return {"type": "STATIC", "load_assignment": _assignment(upstream)}
    return {
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": f"{paths.config}/eds/{file_name(upstream.name)}",
                    "watched_directory": {"path": f"{paths.config}/eds"},
                },
            }
        },
    }


def _endpoint(at: Endpoint) -> Resource:
    return {"endpoint": {"address": address_of(at.address, at.port)}}


def address_of(address: str, port: int) -> Resource:
    """Where something listens, in Envoy's words."""
    return {"socket_address": {"address": address, "port_value": port}}


def _cluster(upstream: Upstream, paths: Paths, follow: bool) -> Resource:
    resource: Resource = {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": upstream.name,
        **_discovery(upstream, paths, follow),
        "connect_timeout": CONNECT_TIMEOUT,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE_TIMEOUT},
                "explicit_http_config": {_protocol(upstream): {}},
            }
        },
        **_balancing(upstream),
        "per_connection_buffer_limit_bytes": REPLAY_LIMIT,
        "common_lb_config": {
            # With no healthy instance the answer is 503, never a draw among the dead.
            "healthy_panic_threshold": {"value": 0},
            # By default the workers hear of an instance's health up to a second late.
            "update_merge_window": "0s",
        },
        "circuit_breakers": {"thresholds": [_thresholds(upstream.breaker or CircuitBreaker())]},
    }
    if upstream.outliers is not None:
        resource["outlier_detection"] = _outlier_detection(upstream.outliers)
    if upstream.check is not None:
        resource["health_checks"] = [_health_check(upstream.check, upstream.http2)]
        resource["ignore_health_on_host_removal"] = True
    return resource


def _balancing(upstream: Upstream) -> Resource:
    if upstream.by_instance:
        return {"lb_policy": "MAGLEV"}
    least = {"least_request_lb_config": {"choice_count": COMPARED}}
    return {"lb_policy": _POLICIES[upstream.balance], **(least if upstream.balance == "leastconn" else {})}


def _protocol(upstream: Upstream) -> str:
    return "http2_protocol_options" if upstream.http2 else "http_protocol_options"


def _thresholds(breaker: CircuitBreaker) -> Resource:
    """Without `track_remaining`: a gauge that is written at every request costs more than it tells."""
    return {
        "max_connections": breaker.connections,
        "max_pending_requests": breaker.pending,
        "max_requests": breaker.requests,
        "max_retries": breaker.retries,
    }


def _outlier_detection(outliers: OutlierDetection) -> Resource:
    """Errors in a row, and nothing else: Envoy would also compare instances with each other, and let one back
    in early whose health check succeeds while its answers fail."""
    return {
        "consecutive_5xx": outliers.errors,
        "interval": seconds(outliers.interval),
        "base_ejection_time": seconds(outliers.ejection),
        "max_ejection_time": seconds(max(outliers.ejection * 10, 300)),
        "max_ejection_percent": outliers.maximum,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 0,
        "successful_active_health_check_uneject_host": False,
    }


def _health_check(check: Check, http2: bool) -> Resource:
    return {
        "timeout": seconds(check.timeout),
        "interval": seconds(check.interval),
        "no_traffic_interval": seconds(check.interval),
        # While an instance is down it is asked twice a second: back as soon as it can serve.
        "unhealthy_interval": "0.5s",
        "unhealthy_threshold": check.failures,
        "healthy_threshold": 1,
        "http_health_check": {
            "path": check.path,
            "expected_statuses": [{"start": 200, "end": 400}],
            **({"codec_client_type": "HTTP2"} if http2 else {}),
        },
    }


def open_name(gate: Gate) -> str:
    """The cluster of isolated traffic that falls back. Each gate has its own, because each falls back on
    what it gives its customers."""
    return f"{gate.name}?open"


def _open_cluster(gate: Gate) -> Resource:
    """Fail open, by choice: without the audited version, isolated traffic gets the newest one."""
    assert gate.isolated is not None
    audited = gate.isolated.upstream
    others = [route for route in gate.routes if isinstance(route.to, str) and route.to != audited]
    newest = sorted(others, key=lambda route: -route.weight)[:1]
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": open_name(gate),
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": [audited, *(route.to for route in newest)],
            },
        },
    }
