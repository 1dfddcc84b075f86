r"""Condition to Envoy: an `xds.type.matcher.v3.Matcher.MatcherList.Predicate` as a JSON-ready dict.

Nothing here knows routes; who builds them puts the predicate into a virtual host's matcher.
Envoy matches regular expressions against the whole value, byte by byte (RE2 in Latin-1 mode), so a
pattern is written in bytes: letters and digits as they are, everything else as `\xhh`.
"""

from __future__ import annotations

from typing import Any

from divertor.conditions.nodes import (
    HOST,
    And,
    Condition,
    Constant,
    CookieContains,
    CookiePresent,
    HeaderContains,
    HeaderPresent,
    Host,
    Not,
    Or,
    UserAgent,
)

_HEADER_INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
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
        case _:
            raise AssertionError(f"not an operand: {condition!r}")


def _header(name: str, value_match: dict[str, Any]) -> dict[str, Any]:
    source = {"name": "request_header", "typed_config": {"@type": _HEADER_INPUT, "header_name": name}}
    return {"single_predicate": {"input": source, "value_match": value_match}}


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
