"""A snapshot as Envoy resources: dicts, ready for JSON. What the rest of Divertor asks this package for."""

from __future__ import annotations

from divertor.envoy.bootstrap import bootstrap
from divertor.envoy.following import is_named
from divertor.envoy.listeners import listeners
from divertor.envoy.names import MODULE
from divertor.envoy.routes import route_configuration, routes
from divertor.envoy.tls import secret_names
from divertor.envoy.upstreams import clusters, endpoints, file_name

__all__ = [
    "MODULE",
    "bootstrap",
    "clusters",
    "endpoints",
    "file_name",
    "is_named",
    "listeners",
    "route_configuration",
    "routes",
    "secret_names",
]
