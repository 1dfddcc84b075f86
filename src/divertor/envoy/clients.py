"""Whose request it is: the client's address behind proxies, told so that nobody can claim another.

Whatever stands in front, Envoy itself is an edge: it writes a new request id, takes its own control headers
out of every request, and puts the address that counts into `x-envoy-external-address`, where routing looks.
Pure.
"""

from __future__ import annotations

from ipaddress import ip_network

from divertor.envoy.arrival import arrival, native
from divertor.envoy.names import TYPE, Resource, header
from divertor.envoy.plan import Listener

_HEADERS = TYPE + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


def address_fields(listener: Listener) -> Resource:
    """How Envoy finds the client's address."""
    if not listener.trusted_proxies:
        return {"use_remote_address": True, "xff_num_trusted_hops": listener.trusted_hops}
    # The last entry is the client, and the only one that is looked at: see `arrivals`.
    return {"use_remote_address": True, "xff_num_trusted_hops": 1, "skip_xff_append": True}


def arrivals(listener: Listener) -> list[Resource]:
    """What is done to a request's headers as it arrives, in order."""
    if not listener.trusted_proxies:
        return [arrival(listener)]
    scheme = "http" if listener.tls is None else "https"
    networks = (str(ip_network(network, strict=False)) for network in listener.trusted_proxies)
    return [
        # Who is at the other end of the connection, for the next one to read.
        mutation({"append": header("x-envoy-external-address", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")}),
        native("proxies", "\n".join((scheme, *networks))),
        arrival(listener),
    ]


def mutation(*mutations: Resource) -> Resource:
    """Envoy's own way to change headers as they arrive."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _HEADERS, "mutations": list(mutations)},
    }
