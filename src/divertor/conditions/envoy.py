r"""Condition to Envoy: an `xds.type.matcher.v3.Matcher.MatcherList.Predicate` as a JSON-ready dict.

Nothing here knows routes; who builds them puts the predicate into a virtual host's matcher.
Envoy matches regular expressions against the whole value, byte by byte (RE2 in Latin-1 mode), so a
pattern is written in bytes: letters and digits as they are, everything else as `\xhh`. Where requests are
routed Envoy lets a matcher ask for headers only: the client's address comes from the header in which Envoy
itself writes it (and overwrites a client's), a query parameter is read out of `:path`.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

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
    Share,
    UserAgent,
)
from divertor.conditions.readings import reading
from divertor.conditions.regexp import to_re2
from divertor.conditions.shares import WHOLE, threshold

#: Envoy sets it on each request, from its own view of the client (`use_remote_address`, trusted proxies).
CLIENT_HEADER = "x-envoy-external-address"

_HEADER_INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_MATCHERS = "type.googleapis.com/envoy.extensions.matching.input_matchers."
_ANYTHING = "(?s).*"


def to_envoy(condition: Condition) -> dict[str, Any]:
    """The predicate that Envoy evaluates to the same answer as `matches`."""
    match condition:
        case And(operands):
            return {"and_matcher": {"predicate": [to_envoy(operand) for operand in operands]}}
        case Or(operands):
            return {"or_matcher": {"predicate": [to_envoy(operand) for operand in operands]}}
        case Not(operand):
            return {"not_matcher": to_envoy(operand)}
        case Constant(value):
            return _always() if value else {"not_matcher": _always()}
        case _:
            return _operand(condition)


def _operand(condition: Condition) -> dict[str, Any]:
    match condition:
        case UserAgent(value):
            return _header("user-agent", {"contains": value})
        case Host(value):
            return _header(":authority", _regex(_host_pattern(value)))
        case HeaderPresent(name):
            return _header(_header_name(name), _regex(_ANYTHING))
        case HeaderContains(name, value):
            return _header(_header_name(name), {"contains": value})
        case CookiePresent(name):
            return _header("cookie", _regex(f"{_cookie_pattern(name)}.*"))
        case CookieContains(name, value):
            return _header("cookie", _regex(f"{_cookie_pattern(name)}[^;]*{_literal(value)}.*"))
        case HeaderIs(name, value):
            return _header(_header_name(name), {"exact": value})
        case Method(names):
            return _header(":method", _regex("|".join(map(_literal, names))))
        case ClientAddress(networks):
            return _custom(CLIENT_HEADER, "ip.v3.Ip", _ranges(networks))
        case Share(millionths, header):
            source = CLIENT_HEADER if header is None else _header_name(header)
            settings = {"threshold": threshold(millionths), "modulo": WHOLE}
            return _custom(source, "consistent_hashing.v3.ConsistentHashing", settings)
        case _:
            source, tree = reading(condition)
            return _header(_header_name(source), _regex(to_re2(tree)))


def _header(name: str, value_match: dict[str, Any]) -> dict[str, Any]:
    return {"single_predicate": {"input": _input(name), "value_match": value_match}}


def _custom(name: str, matcher: str, settings: dict[str, Any]) -> dict[str, Any]:
    custom = {"name": matcher, "typed_config": {"@type": _MATCHERS + matcher, **settings}}
    return {"single_predicate": {"input": _input(name), "custom_match": custom}}


def _input(name: str) -> dict[str, Any]:
    return {"name": "request_header", "typed_config": {"@type": _HEADER_INPUT, "header_name": name}}


def _ranges(networks: tuple[Network, ...]) -> dict[str, Any]:
    """IPv4 networks also in the form in which IPv6 sockets have them."""
    found = [(str(network.network_address), network.prefixlen) for network in networks]
    found += [
        (f"::ffff:{network.network_address}", network.prefixlen + 96)
        for network in networks
        if isinstance(network, IPv4Network)
    ]
    ranges = [{"address_prefix": address, "prefix_len": length} for address, length in found]
    return {"cidr_ranges": ranges, "stat_prefix": "client"}


def _header_name(name: str) -> str:
    lower = name.lower()
    return ":authority" if lower == "host" else lower


def _always() -> dict[str, Any]:
    """There is no constant predicate; every request has a method."""
    return _header(":method", _regex(_ANYTHING))


def _regex(pattern: str) -> dict[str, Any]:
    return {"safe_regex": {"google_re2": {}, "regex": pattern}}


def _host_pattern(host: str) -> str:
    letters = (f"[{c.lower()}{c.upper()}]" if c.isalpha() else _literal(c) for c in host)
    shape = HOST.fullmatch(host)
    has_port = shape is not None and shape["port"] is not None
    return "".join(letters) + ("" if has_port else "(?::[0-9]*)?")


def _cookie_pattern(name: str) -> str:
    """Up to and including a cookie's `=`; see `predicate` for where a cookie begins and ends."""
    return rf"(?s)(?:.*[;,])?[ \t]*{_literal(name)}[ \t]*="


def _literal(text: str) -> str:
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\x{byte:02x}" for byte in text.encode("utf-8")
    )
