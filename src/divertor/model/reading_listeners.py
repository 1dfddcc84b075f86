"""Nodes to what only a gateway with a port of its own has: host names, encryption, who is in front, rates."""

from __future__ import annotations

import re
from ipaddress import ip_network

from divertor.model.documents import MappingNode, Node, Scalar
from divertor.model.fields import Fields, choice_of, fail, items_of, parsed, text_of
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.quantities import parse_key_selector, parse_seconds, whole_number
from divertor.model.traffic import RateLimit, Tls

#: What these readers read, of a gateway.
LISTENER_FIELDS = ("tls", "proxy_protocol", "trusted_proxies", "rate_limits")
#: Far beyond any real installation; each name is looked at for every request.
MAX_NAMES = 100
MAX_NETWORKS = 100
MAX_LIMITS = 16
#: Envoy fills its buckets at most every 50 ms.
SHORTEST = 0.05
LONGEST = 86400
MOST = 1_000_000_000

_HOST = re.compile(
    r"(?:\*\.)?[0-9a-z](?:[0-9a-z_-]{0,62}(?<!-))(?:\.[0-9a-z](?:[0-9a-z_-]{0,62}(?<!-)))*", re.IGNORECASE
)
_RATE = re.compile(
    r"(?P<requests>[0-9]{1,10})\s*/\s*(?P<every>[0-9.]*\s*[a-z]+)(?:\s+per\s+(?P<per>.+))?", re.I
)
_MINIMUM = {"1.2": "1.2", "1.3": "1.3", "tls 1.2": "1.2", "tls 1.3": "1.3"}


def read_virtual_hosts(node: Node | None) -> tuple[str, ...]:
    """Host names in lower case, one or a list; `*.x` for all names below `x`."""
    names = tuple(parsed(item, "host name", _host) for item in items_of(node))
    if node is not None and len(set(names)) < len(names):
        fail(node, "a host name given twice", "each once, whatever its case")
    if node is not None and len(names) > MAX_NAMES:
        fail(node, f"{len(names)} host names", f"at most {MAX_NAMES}")
    return names


def read_trusted_proxies(node: Node | None) -> tuple[str, ...]:
    """Networks, as CIDR or single addresses."""
    networks = tuple(parsed(item, "network", _network) for item in items_of(node))
    if node is not None and len(networks) > MAX_NETWORKS:
        fail(node, f"{len(networks)} networks", f"at most {MAX_NETWORKS}")
    return tuple(dict.fromkeys(networks))


def read_tls(node: Node | None) -> Tls | None:
    """`{certificate, key, client_ca, optional, minimum}`: absolute paths of PEM files."""
    if node is None:
        return None
    fields = Fields(node, "tls", ("certificate", "key", "client_ca", "optional", "minimum"))
    ca, minimum, optional = fields.get("client_ca"), fields.get("minimum"), read_flag(fields, "optional")
    if optional and ca is None:
        fail(node, "an optional client certificate that nobody checks", "client_ca")
    return Tls(
        certificate=_file(fields.require("certificate")),
        key=_file(fields.require("key")),
        client_ca="" if ca is None else _file(ca),
        optional=optional,
        minimum="1.2" if minimum is None else choice_of(minimum, "version of TLS", _MINIMUM),
    )


def read_flag(fields: Fields, name: str) -> bool:
    """`true` or `false`; false when nothing is said."""
    node = fields.get(name)
    if node is None:
        return False
    if not isinstance(node, Scalar) or not isinstance(node.value, bool):
        fail(node, f"{name!r} is neither true nor false", "true or false")
    return node.value


def read_rate_limits(node: Node | None) -> tuple[RateLimit, ...]:
    """`{requests, every, per, burst}` or `100/minute per client address`, one or a list."""
    limits = tuple(_rate_limit(item) for item in items_of(node))
    if node is not None and len(limits) > MAX_LIMITS:
        fail(node, f"{len(limits)} rate limits", f"at most {MAX_LIMITS}")
    return limits


def _rate_limit(node: Node) -> RateLimit:
    if not isinstance(node, MappingNode):
        return parsed(node, "rate limit", _rate)
    fields = Fields(node, "a rate limit", ("requests", "every", "per", "burst"))
    every, per, burst = fields.get("every"), fields.get("per"), fields.get("burst")
    return RateLimit(
        requests=parsed(fields.require("requests"), "number of requests", whole_number(1, MOST)),
        seconds=1.0 if every is None else parsed(every, "period", _every),
        per=None if per is None else parsed(per, "key", _per),
        burst=None if burst is None else parsed(burst, "number of requests", whole_number(1, MOST)),
    )


def _rate(text: str) -> RateLimit:
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError("such as 100/minute, or 10/s per client address")
    every, per = found["every"].strip(), found["per"]
    return RateLimit(
        requests=whole_number(1, MOST)(found["requests"]),
        seconds=_every(every if every[0].isdigit() else f"1{every}"),
        per=None if per is None else _per(per),
    )


def _every(text: str) -> float:
    seconds = parse_seconds(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError("a period from 50ms to 1d")
    return seconds


def _per(text: str) -> KeySelector:
    selector = parse_key_selector(text)
    if selector.kind is KeyKind.USER:
        raise ValueError("a key that requests carry: a user's requests are told apart by their session")
    return selector


def _host(text: str) -> str:
    name = text.strip().lower()
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise ValueError("a name such as shop.example or *.shop.example, without a port")
    return name


def _network(text: str) -> str:
    try:
        if "%" in text:  # an interface of this machine's, which no peer's address has
            raise ValueError
        return str(ip_network(text.strip()))
    except ValueError:
        raise ValueError("an address or a network such as 10.0.0.0/8") from None


def _file(node: Node) -> str:
    path = text_of(node, "a file")
    if not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        fail(node, f"{path[:80]!r} is no file", "an absolute path")
    return path
