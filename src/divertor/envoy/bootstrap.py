"""Envoy's static part: who it is, where its files are, how many connections it takes. Pure."""

from __future__ import annotations

from divertor.envoy.names import TYPE, Resource
from divertor.envoy.plan import Paths

_MONITOR = TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"


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
