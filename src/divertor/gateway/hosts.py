"""Virtual hosts: one shared port, on which the host a request names chooses the gateway. Pure.

Every http gateway is there under a name of its own: its path backwards, and `vamp`. So `shop/web/port` is
`port.web.shop.vamp`, and `shop/9051` is `9051.shop.vamp`. It is there too under whatever names it asks for. A
gateway that is particular about its connections (TLS, the PROXY protocol, proxies it trusts) keeps to its own
port: here it would be reached without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from divertor.envoy import plan
from divertor.errors import ConflictError
from divertor.model.artifacts import Gateway, Protocol

DOMAIN = "vamp"
#: The listener's name. It holds a blank, so that no gateway can be called so.
LISTENER = "virtual hosts"

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def automatic(name: str) -> str:
    """The host a gateway can be asked for; empty for a name that no host can have."""
    host = ".".join((*reversed(name.lower().split("/")), DOMAIN))
    return host if _HOST.fullmatch(host) else ""


def shared_listener(
    gateways: Iterable[Gateway],
    address: str,
    port: int,
    trusted_hops: int,
    host_of: Callable[[Gateway], plan.Host],
) -> plan.Listener | None:
    """The port of all virtual hosts; None when there is no gateway. `host_of` makes a gateway's gate.

    :raises ConflictError: two gateways want one host, or one wants what this port cannot give it.
    """
    hosts = []
    taken: dict[str, str] = {}
    for gateway in gateways:
        domains = _domains(gateway)
        for domain in domains:
            if taken.setdefault(domain, gateway.name) != gateway.name:
                raise ConflictError(
                    f"the gateways {taken[domain]} and {gateway.name} both want the host {domain}"
                )
        if domains:
            made = host_of(gateway)
            hosts.append(plan.Host(made.gate, domains, made.rate_limits))
    if not hosts:
        return None
    return plan.Listener(LISTENER, address, port, tuple(hosts), trusted_hops=trusted_hops)


def require_served(gateways: Iterable[Gateway], port: int) -> None:
    """:raises ConflictError: a gateway asks for virtual hosts that this installation does not serve."""
    for gateway in gateways:
        if gateway.virtual_hosts and not port:
            raise ConflictError(
                f"gateway {gateway.name} has virtual hosts, and this installation no port for them: "
                "start it with --virtual-hosts-port"
            )


def _domains(gateway: Gateway) -> tuple[str, ...]:
    if gateway.protocol is Protocol.TCP or gateway.tls or gateway.proxy_protocol or gateway.trusted_proxies:
        if gateway.virtual_hosts:
            raise ConflictError(
                f"gateway {gateway.name}: the virtual hosts' port is plain http, without TLS, the PROXY "
                "protocol and trusted proxies of a gateway's own"
            )
        return ()
    own = automatic(gateway.name)
    wanted = (*((own,) if own else ()), *(host.lower() for host in gateway.virtual_hosts))
    return tuple(dict.fromkeys(wanted))
