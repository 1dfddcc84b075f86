"""The condition as a value: an immutable tree, and the request it is asked about.

Only what can be decided exactly can be built: an empty value, an invisible character or a name that no
HTTP message can carry is refused by the constructor, so whoever turns a tree into something else (text,
an Envoy matcher, an answer) need not check again. Nothing here reads text; `parser` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

#: RFC 9110, section 5.1: what a field name is made of.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 6265 asks for a token; browsers and frameworks also use brackets and the like. What separates
#: cookies (`;`, and `,` in old servers) or a name from its value (`=`) can never be part of a name.
COOKIE_NAME = re.compile(r"[!#-+\--:<>-~]+")

#: A name, an IPv4 address or a bracketed IPv6 address, with or without a port; other alphabets as `xn--`.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?P<port>:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Constant:
    """Always or never."""

    value: bool


@dataclass(frozen=True, slots=True)
class UserAgent:
    """The `User-Agent` contains `value` (case-sensitive)."""

    value: str

    def __post_init__(self) -> None:
        _check_value(self.value)


@dataclass(frozen=True, slots=True)
class Host:
    """The host asked for is `value`, whatever the case.

    The port counts only when `value` ends in one (`shop.example:8080`). There are no wildcards.
    """

    value: str

    def __post_init__(self) -> None:
        if not HOST.fullmatch(self.value):
            raise ValueError(f"not a host: {self.value!r}")


@dataclass(frozen=True, slots=True)
class HeaderPresent:
    """A header `name` (whatever its case) is there, with any value."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name, HEADER_NAME, "header")


@dataclass(frozen=True, slots=True)
class HeaderContains:
    """Header `name` contains `value` (case-sensitive); repeated headers are read as one, joined by commas."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_name(self.name, HEADER_NAME, "header")
        _check_value(self.value)


@dataclass(frozen=True, slots=True)
class CookiePresent:
    """A cookie `name` (case-sensitive) is there, with any value."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name, COOKIE_NAME, "cookie")


@dataclass(frozen=True, slots=True)
class CookieContains:
    """The value of a cookie `name` contains `value`; of several cookies of that name, any."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_name(self.name, COOKIE_NAME, "cookie")
        _check_value(self.value)
        if ";" in self.value:
            raise ValueError("a cookie's value never contains ';'")


@dataclass(frozen=True, slots=True)
class Not:
    """`operand` does not hold."""

    operand: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two operands hold."""

    operands: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _check_operands(self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """One of at least two operands holds."""

    operands: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _check_operands(self.operands)


#: A question about one request. Hashable and comparable; `parse` and `to_text` are its text form.
Condition: TypeAlias = (
    And
    | Or
    | Not
    | Constant
    | UserAgent
    | Host
    | HeaderPresent
    | HeaderContains
    | CookiePresent
    | CookieContains
)


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a condition may ask about.

    `host` is the `Host` header (or `:authority`) as it came, with its port if it had one. `headers` are
    (lower-case name, value) in order, repeated headers repeated. Texts hold one character per byte
    (latin-1), as WSGI, ASGI and `http.client` have them.
    """

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def is_visible(text: str) -> bool:
    """Whether `text` holds only characters that can be seen, or spaces, so that nothing hides in it."""
    return text.isprintable()


def _check_value(value: str) -> None:
    if not value or not is_visible(value):
        raise ValueError(f"not a value to look for: {value!r}")


def _check_name(name: str, allowed: re.Pattern[str], what: str) -> None:
    if not allowed.fullmatch(name):
        raise ValueError(f"not a {what} name: {name!r}")


def _check_operands(operands: tuple[Condition, ...]) -> None:
    if len(operands) < 2:
        raise ValueError("at least two operands are needed")
