"""Condition and request to answer: what the gateway will decide, decided here.

`tests/conditions` compares every answer with a running Envoy, so that a backtest and the gateway agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from divertor.automaton import compile_tree
from divertor.conditions.nodes import (
    HOST,
    And,
    ClientAddress,
    Condition,
    Constant,
    CookieContains,
    CookiePresent,
    HeaderContains,
    HeaderIs,
    HeaderPresent,
    Host,
    Method,
    Network,
    Not,
    Or,
    RequestView,
    Share,
    UserAgent,
)
from divertor.conditions.readings import MAX_STATES, reading
from divertor.conditions.shares import is_in_share

_PORT = re.compile(r":[0-9]*$")


def matches(condition: Condition, request: RequestView) -> bool:
    """Whether `condition` holds for `request`."""
    match condition:
        case And(operands):
            return all(matches(operand, request) for operand in operands)
        case Or(operands):
            return any(matches(operand, request) for operand in operands)
        case Not(operand):
            return not matches(operand, request)
        case Constant(value):
            return value
        case _:
            return _operand_matches(condition, request)


def _operand_matches(condition: Condition, request: RequestView) -> bool:
    match condition:
        case UserAgent(value):
            return _header_contains(request, "user-agent", value)
        case Host(value):
            return _host_is(request.host, value)
        case HeaderPresent(name):
            return _header(request, name) is not None
        case HeaderContains(name, value):
            return _header_contains(request, name, value)
        case CookiePresent(name):
            return bool(_cookie_values(request, name))
        case CookieContains(name, value):
            return any(_wire(value) in found for found in _cookie_values(request, name))
        case HeaderIs(name, value):
            return _header(request, name) == _wire(value)
        case Method(names):
            return request.method in names
        case ClientAddress(networks):
            return _is_within(request.client, networks)
        case Share(millionths, header):
            key = request.client or None if header is None else _header(request, header)
            return key is not None and is_in_share(key.encode("latin-1"), millionths)
        case _:
            return _is_read(condition, request)


def _is_read(question: Condition, request: RequestView) -> bool:
    source, _ = reading(question)
    value = request.path if source == ":path" else _header(request, source)
    return value is not None and _compiled(question)(value)


@lru_cache(maxsize=256)
def _compiled(question: Condition) -> Callable[[str], bool]:
    _, tree = reading(question)
    return compile_tree(tree, max_states=MAX_STATES)


def _is_within(client: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(client)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(address in network or (mapped is not None and mapped in network) for network in networks)


def _header(request: RequestView, name: str) -> str | None:
    """All values of a header as one (RFC 9110, section 5.3), or None without any."""
    wanted = name.lower()
    if wanted == "host":
        return request.host or None
    found = [value for key, value in request.headers if key == wanted]
    return ",".join(found) if found else None


def _header_contains(request: RequestView, name: str, value: str) -> bool:
    found = _header(request, name)
    return found is not None and _wire(value) in found


def _host_is(host: str, wanted: str) -> bool:
    shape = HOST.fullmatch(wanted)
    has_port = shape is not None and shape["port"] is not None
    asked = host if has_port else _PORT.sub("", host)
    return asked.lower() == wanted.lower()


def _cookie_values(request: RequestView, name: str) -> list[str]:
    """Everything that a server may take for the value of cookie `name`.

    A value ends at `;`. A cookie begins at the start, after `;`, or after `,` (repeated `Cookie` headers are
    joined so, and old servers split there). Only the first beginning between two `;` counts, as its value
    holds the later ones.
    """
    begins = re.compile(rf"(?:^|,)[ \t]*{re.escape(name)}[ \t]*=")
    parts = (_header(request, "cookie") or "").split(";")
    return [part[found.end() :] for part in parts if (found := begins.search(part))]


def _wire(value: str) -> str:
    """The value as a `RequestView` holds it: one character for each byte of its UTF-8 form."""
    return value.encode("utf-8").decode("latin-1")
