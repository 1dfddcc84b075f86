"""The condition as a value: an immutable tree, and the request it is asked about.

Only what can be decided exactly can be built: an empty value, an invisible character or a name that no
HTTP message can carry is refused by the constructor, so whoever turns a tree into something else (text,
an Envoy matcher, an answer) need not check again. Nothing here reads text; `parser` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

from divertor.conditions.regexp import read_pattern
from divertor.conditions.shares import WHOLE

#: RFC 9110, section 5.1: what a field name is made of.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 6265 asks for a token; browsers and frameworks also use brackets and the like. What separates
#: cookies (`;`, and `,` in old servers) or a name from its value (`=`) can never be part of a name.
COOKIE_NAME = re.compile(r"[!#-+\--:<>-~]+")

#: A name, an IPv4 address or a bracketed IPv6 address, with or without a port; other alphabets as `xn--`.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?P<port>:[0-9]+)?")

#: RFC 9110, section 9.1: a token, case-sensitive, and by custom in capitals.
METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
#: Characters of a name or value that is looked for in all ways it may be written; each becomes a few states.
MAX_ENCODED = 1024
#: The same for a cookie's value: what browsers keep of one. (To look for 50,000 bytes in as many takes RE2
#: ten seconds: each byte may be where they begin.)
MAX_COOKIE = 4096

Network: TypeAlias = IPv4Network | IPv6Network


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
        _check_cookie_value(self.value)


@dataclass(frozen=True, slots=True)
class HeaderIs:
    """Header `name` is `value` and nothing more (case-sensitive); repeated headers as in `HeaderContains`."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_name(self.name, HEADER_NAME, "header")
        _check_value(self.value)


@dataclass(frozen=True, slots=True)
class HeaderMatches:
    """The regular expression `pattern` covers header `name`; repeated headers as in `HeaderContains`."""

    name: str
    pattern: str

    def __post_init__(self) -> None:
        _check_name(self.name, HEADER_NAME, "header")
        _check_pattern(self.pattern)


@dataclass(frozen=True, slots=True)
class CookieIs:
    """A cookie `name` has `value`, in any way a server may read it: up to `;` or `,`, with or without spaces
    and double quotes around it; of several cookies of that name, any."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_name(self.name, COOKIE_NAME, "cookie")
        _check_length(self.name, MAX_ENCODED)
        _check_cookie_value(self.value)


@dataclass(frozen=True, slots=True)
class CookieMatches:
    """The regular expression `pattern` covers the value of a cookie `name`, read as in `CookieIs`."""

    name: str
    pattern: str

    def __post_init__(self) -> None:
        _check_name(self.name, COOKIE_NAME, "cookie")
        _check_length(self.name, MAX_ENCODED)
        _check_pattern(self.pattern)


@dataclass(frozen=True, slots=True)
class Method:
    """The request's method is one of `names`."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("no method")
        for name in self.names:
            if not METHOD.fullmatch(name):
                raise ValueError(f"not a method: {name!r} (methods are written in capitals)")


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """The client's address, as the gateway derives it, is in one of `networks`.

    IPv4 networks also hold the IPv6 form of their addresses (`::ffff:192.0.2.1`).
    """

    networks: tuple[Network, ...]

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("no address")
        for network in self.networks:
            if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
                raise ValueError(f"{network} is an IPv4 network; write it as one")


@dataclass(frozen=True, slots=True)
class PathIs:
    """The path (without the query) is `value`; each character as itself or percent-encoded."""

    value: str

    def __post_init__(self) -> None:
        _check_path(self.value)
        _check_slash(self.value)


@dataclass(frozen=True, slots=True)
class PathStartsWith:
    """The path begins with the characters of `value`, encoded as in `PathIs`."""

    value: str

    def __post_init__(self) -> None:
        _check_path(self.value)
        _check_slash(self.value)


@dataclass(frozen=True, slots=True)
class PathContains:
    """The path contains `value`, encoded as in `PathIs`."""

    value: str

    def __post_init__(self) -> None:
        _check_path(self.value)


@dataclass(frozen=True, slots=True)
class PathMatches:
    """The regular expression `pattern` covers the path, encoded as in `PathIs`."""

    pattern: str

    def __post_init__(self) -> None:
        _check_pattern(self.pattern)


@dataclass(frozen=True, slots=True)
class QueryPresent:
    """A query parameter `name` is there, with or without a value.

    Names and values may be sent as they are or percent-encoded, a space also as `+`; parameters are separated
    by `&` or, as old servers read it, by `;`.
    """

    name: str

    def __post_init__(self) -> None:
        _check_encoded(self.name)


@dataclass(frozen=True, slots=True)
class QueryIs:
    """A query parameter `name` is `value`, read as in `QueryPresent`; of several of that name, any."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_encoded(self.name)
        _check_encoded(self.value)


@dataclass(frozen=True, slots=True)
class QueryContains:
    """The value of a query parameter `name` contains `value`, as in `QueryIs`."""

    name: str
    value: str

    def __post_init__(self) -> None:
        _check_encoded(self.name)
        _check_encoded(self.value)


@dataclass(frozen=True, slots=True)
class QueryMatches:
    """The regular expression `pattern` covers the value of a query parameter `name`, as in `QueryIs`."""

    name: str
    pattern: str

    def __post_init__(self) -> None:
        _check_encoded(self.name)
        _check_pattern(self.pattern)


@dataclass(frozen=True, slots=True)
class Share:
    """A stable share of `millionths`, by client address or by the whole value of header `header`.

    The same value is always in or always out, in every gateway; without the header a request is out.
    """

    millionths: int
    header: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.millionths <= WHOLE:
            raise ValueError("a share is from 0% to 100%")
        if self.header is not None:
            _check_name(self.header, HEADER_NAME, "header")


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
    | HeaderIs
    | HeaderMatches
    | CookieIs
    | CookieMatches
    | Method
    | ClientAddress
    | PathIs
    | PathStartsWith
    | PathContains
    | PathMatches
    | QueryPresent
    | QueryIs
    | QueryContains
    | QueryMatches
    | Share
)


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a condition may ask about, as the gateway has it.

    `path` is the request target with its query, after the gateway has resolved dot segments. `host` is the
    `Host` header (or `:authority`) as it came, with its port if it had one. `headers` are (lower-case name,
    value) in order, repeated headers repeated. Texts hold one character per byte (latin-1), as WSGI, ASGI and
    `http.client` have them. `client` is the client's address as the gateway derives and writes it, without a
    port; empty when it is not known.
    """

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    client: str = ""


def is_visible(text: str) -> bool:
    """Whether `text` holds only characters that can be seen, or spaces, so that nothing hides in it."""
    return text.isprintable()


def _check_value(value: str) -> None:
    if not value or not is_visible(value):
        raise ValueError(f"not a value to look for: {value!r}")


def _check_cookie_value(value: str) -> None:
    _check_value(value)
    if ";" in value:
        raise ValueError("a cookie's value never contains ';'")
    _check_length(value, MAX_COOKIE)


def _check_encoded(value: str) -> None:
    _check_value(value)
    _check_length(value, MAX_ENCODED)


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise ValueError(f"longer than {most} characters")


def _check_path(value: str) -> None:
    _check_encoded(value)
    if "?" in value or "#" in value:
        raise ValueError("a path ends before '?' and '#'; what follows is asked for with query")


def _check_slash(value: str) -> None:
    if not value.startswith("/"):
        raise ValueError("a path begins with '/'")


def _check_pattern(pattern: str) -> None:
    _check_value(pattern)
    read_pattern(pattern)


def _check_name(name: str, allowed: re.Pattern[str], what: str) -> None:
    if not allowed.fullmatch(name):
        raise ValueError(f"not a {what} name: {name!r}")


def _check_operands(operands: tuple[Condition, ...]) -> None:
    if len(operands) < 2:
        raise ValueError("at least two operands are needed")
