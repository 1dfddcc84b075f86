"""Which of Envoy's files are followed one by one. Pure.

Routes and endpoints in files of their own change without disturbing anything else. But each file that Envoy
follows takes one of the user's inotify instances, and when there are none left Envoy aborts (the kernel's
default is 128 for all of a user's processes, `fs.inotify.max_user_instances`). So of very many upstreams the
endpoints stand in their clusters, and of very many gateways the routes in their listeners.
"""

from __future__ import annotations

from ipaddress import ip_address

from divertor.envoy.plan import Snapshot, Upstream

#: Files with routes or certificates, and all files together.
MAX_ROUTES, MAX_FILES = 40, 64


def follows_routes(snapshot: Snapshot) -> bool:
    """Whether each gateway's routes have a file of their own."""
    return _gateway_files(snapshot) <= MAX_ROUTES


def follows_endpoints(snapshot: Snapshot) -> bool:
    """Whether each upstream's endpoints have a file of their own."""
    numeric = sum(not is_named(upstream) for upstream in snapshot.upstreams)
    routes = _gateway_files(snapshot) if follows_routes(snapshot) else 0
    return routes + numeric <= MAX_FILES


def is_named(upstream: Upstream) -> bool:
    """Whether Envoy has to look up where an upstream is: then there is nothing for a file to say."""
    return not all(_is_numeric(at.address) for at in upstream.endpoints)


def _gateway_files(snapshot: Snapshot) -> int:
    """Routes of each http gateway; a certificate, and perhaps an authority, where there is TLS."""
    http = sum(listener.protocol == "http" for listener in snapshot.listeners)
    return http + 2 * sum(listener.tls is not None for listener in snapshot.listeners)


def _is_numeric(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
