"""Condition to text: the one canonical spelling, which `parse` reads back to the same tree."""

from __future__ import annotations

import re

from divertor.conditions.nodes import (
    And,
    ClientAddress,
    Condition,
    Constant,
    CookieContains,
    CookieIs,
    CookieMatches,
    CookiePresent,
    HeaderContains,
    HeaderIs,
    HeaderMatches,
    HeaderPresent,
    Host,
    Method,
    Network,
    Not,
    Or,
    PathContains,
    PathIs,
    PathMatches,
    PathStartsWith,
    QueryContains,
    QueryIs,
    QueryMatches,
    QueryPresent,
    Share,
    UserAgent,
)
from divertor.conditions.parser import QUERY_MARKS, expand_user_agent
from divertor.conditions.shares import WHOLE

_PLAIN = re.compile(r"""[^ \t\r\n()'"]+""")
_PLAIN_ITEM = re.compile(r"""[^ \t\r\n()'",]+""")
#: What has no negated form of its own.
_WITHOUT_OPPOSITE = (
    Not,
    Constant,
    HeaderMatches,
    CookieMatches,
    PathStartsWith,
    PathMatches,
    QueryMatches,
    Share,
)


def to_text(condition: Condition) -> str:
    """The condition in its own language; `parse` of the result equals `condition`."""
    match condition:
        case And(operands):
            return " and ".join(_nested(operand, And | Or) for operand in operands)
        case Or(operands):
            return " or ".join(_nested(operand, Or) for operand in operands)
        case Not(operand):
            return _negation(operand)
        case Constant(value):
            return "true" if value else "false"
        case _:
            return _operand(condition, negated=False)


def _nested(condition: Condition, needs_parentheses: type | object) -> str:
    text = to_text(condition)
    return f"({text})" if isinstance(condition, needs_parentheses) else text  # type: ignore[arg-type]


def _negation(operand: Condition) -> str:
    match operand:
        case And() | Or():
            return f"not ({to_text(operand)})"
        case _ if isinstance(operand, _WITHOUT_OPPOSITE):
            return f"not {to_text(operand)}"
        case _:
            return _operand(operand, negated=True)


def _operand(condition: Condition, negated: bool) -> str:
    has, is_ = ("misses", "is not") if negated else ("has", "is")
    match condition:
        case UserAgent(value):
            return f"user-agent {'!=' if negated else '=='} {_user_agent(value)}"
        case Host(value):
            return f"host {'!=' if negated else '=='} {_quoted(value)}"
        case HeaderPresent(name):
            return f"{has} header {_quoted(name)}"
        case CookiePresent(name):
            return f"{has} cookie {_quoted(name)}"
        case HeaderContains(name, value):
            return f"header {_quoted(name)} {has} {_quoted(value)}"
        case CookieContains(name, value):
            return f"cookie {_quoted(name)} {has} {_quoted(value)}"
        case HeaderIs(name, value):
            return f"header {_quoted(name)} {is_} {_quoted(value)}"
        case CookieIs(name, value):
            return f"cookie {_quoted(name)} {is_} {_quoted(value)}"
        case Method(names):
            return f"method {_list(names, negated)}"
        case ClientAddress(networks):
            return f"client address {_list(tuple(map(_network, networks)), negated)}"
        case PathIs(value):
            return f"path {is_} {_quoted(value)}"
        case PathContains(value):
            return f"path {has} {_quoted(value)}"
        case QueryPresent(name):
            return f"{has} query {_parameter(name)}"
        case QueryIs(name, value):
            return f"query {_parameter(name)} {is_} {_quoted(value)}"
        case QueryContains(name, value):
            return f"query {_parameter(name)} {has} {_quoted(value)}"
        case _:
            return _without_opposite(condition)


def _without_opposite(condition: Condition) -> str:
    match condition:
        case HeaderMatches(name, pattern):
            return f"header {_quoted(name)} matches {_quoted(pattern)}"
        case CookieMatches(name, pattern):
            return f"cookie {_quoted(name)} matches {_quoted(pattern)}"
        case PathStartsWith(value):
            return f"path starts with {_quoted(value)}"
        case PathMatches(pattern):
            return f"path matches {_quoted(pattern)}"
        case QueryMatches(name, pattern):
            return f"query {_parameter(name)} matches {_quoted(pattern)}"
        case Share(millionths, header):
            by = "of clients" if header is None else f"by header {_quoted(header)}"
            return f"{_percent(millionths)}% {by}"
        case _:
            raise AssertionError(f"not an operand: {condition!r}")


def _list(items: tuple[str, ...], negated: bool) -> str:
    word = ("is not" if negated else "is") if len(items) == 1 else ("not in" if negated else "in")
    written = (item if _PLAIN_ITEM.fullmatch(item) else _in_quotes(item) for item in items)
    return f"{word} {', '.join(written)}"


def _network(network: Network) -> str:
    """A single address without the length of its prefix."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _percent(millionths: int) -> str:
    """Without a trailing zero or point: 25, 0.5, 0.0001."""
    whole, rest = divmod(millionths, WHOLE // 100)
    return f"{whole}.{rest:04}".rstrip("0").rstrip(".")


def _user_agent(value: str) -> str:
    """Quoted where the bare word would be read as a browser's name and mean something else."""
    return _quoted(value) if expand_user_agent(value) == UserAgent(value) else _in_quotes(value)


def _parameter(name: str) -> str:
    return _in_quotes(name) if QUERY_MARKS.search(name) else _quoted(name)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
