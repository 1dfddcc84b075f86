"""Condition to text: the one canonical spelling, which `parse` reads back to the same tree."""

from __future__ import annotations

import re

from divertor.conditions.nodes import (
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
from divertor.conditions.parser import expand_user_agent

_PLAIN = re.compile(r"""[^ \t\r\n()'"]+""")


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
        case Not() | Constant():
            return f"not {to_text(operand)}"
        case _:
            return _operand(operand, negated=True)


def _operand(condition: Condition, negated: bool) -> str:
    has = "misses" if negated else "has"
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
        case _:
            raise AssertionError(f"not an operand: {condition!r}")


def _user_agent(value: str) -> str:
    """Quoted where the bare word would be read as a browser's name and mean something else."""
    return _quoted(value) if expand_user_agent(value) == UserAgent(value) else _in_quotes(value)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
