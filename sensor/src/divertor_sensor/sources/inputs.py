"""Turns the parts of a request's head into the list of values an attacker controls.

Pure: text in, `Input` values out, nothing is read from a socket and no clock is used. Bodies are
`sources.bodies`'s. Everything is bounded, at most `MAX_INPUTS` values. A bound that was hit is told
(`Inputs.complete` is False): nothing is learned from a partial view, and a statement that it cannot clear
does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_plus

from divertor_sensor.sources.derived import base64_text, readings, text_readings
from divertor_sensor.sources.documents import read_brackets
from divertor_sensor.sources.escapes import unquoted
from divertor_sensor.sources.nested import may_hold, read_nested, read_token

MAX_INPUTS = 2048
#: Path segments whose tails (what a catch-all route captures) are looked at; a longer path is incomplete.
MAX_SEGMENTS = 64

#: HTTP's own methods (RFC 9110, RFC 5789): plain words.
METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT".split())
#: Where a name in an encoded form begins with `$`, or goes on with `[$`.
_OPERATOR_NAME = re.compile(r"(?:\A|&|\[|%5b)(?:\$|%24)", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[\w.-]*", re.ASCII)
_COOKIE_ESCAPE = re.compile(r"\\(?:([0-3][0-7]{2})|(.))")


class Input(NamedTuple):
    """One value of a request: where it came in (`query`, `form`, `json`, `cookie`, …), its name, its text."""

    source: str
    name: str
    value: str


@dataclass(slots=True)
class Inputs:
    """The values of a request, in the order they are looked at. `complete` is False once a bound was hit.

    `cut_content` is True when the content of a long uploaded file was left out, and only that.
    """

    values: list[Input] = field(default_factory=list)
    complete: bool = True
    cut_content: bool = False
    #: How deep inside other values the value is that is being read (`sources.nested`).
    depth: int = 0

    def add(self, source: str, name: str, value: str) -> bool:
        """Append a value; False when the list is full. Empty values are dropped: they change nothing."""
        if not value:
            return True
        is_room = self.add_leaf(source, name, value)
        if is_room and may_hold(value):
            read_nested(self, source, name, value)
        return is_room

    def add_leaf(self, source: str, name: str, value: str) -> bool:
        """Append a value that holds no others; False when the list is full."""
        if len(self.values) >= MAX_INPUTS:
            self.complete = False
            return False
        self.values.append(Input(source, name, value))
        return True

    def is_full(self) -> bool:
        """Whether there is no room for another value, although there is another."""
        if len(self.values) >= MAX_INPUTS:
            self.complete = False
        return len(self.values) >= MAX_INPUTS

    def add_plain(self, source: str, name: str, value: str) -> bool:
        """Append a value that no decoder changes; False, and nothing is done, for any other."""
        if "%" in value or "+" in value or not value.isascii():
            return False
        self.add(source, name, value)
        return True

    def add_all(self, source: str, name: str, values: Iterable[str]) -> bool:
        """Append each of several readings of one value; False when the list is full."""
        is_room = True
        for value in values:
            is_room = self.add(source, name, value)
        return is_room


def read_pairs(into: Inputs, source: str, text: str) -> None:
    """`a=1&b=2`, percent-encoded, as ASCII or Latin-1 text: values under their names, and odd names too."""
    for piece in filter(None, text.split("&")):
        if into.is_full():
            return
        name, _, value = piece.partition("=")
        if name.isidentifier() and into.add_plain(source, name, value):
            continue
        names = _decoded(name)
        into.add_all(source, names[0], _decoded(value))
        if not names[0].isidentifier():
            into.add_all(source, names[0], names)
    if ("$" in text or "%24" in text) and _OPERATOR_NAME.search(text):
        read_brackets(into, source, _decoded_pairs(text))


def _decoded_pairs(text: str) -> Iterator[tuple[str, str]]:
    for piece in filter(None, text.split("&")):
        name, _, value = piece.partition("=")
        yield unquote_plus(name), unquote_plus(value)


def _decoded(text: str) -> list[str]:
    """Every reading of an encoded piece; `+` is a blank to most decoders, and itself to some."""
    if "%" not in text and text.isascii():
        found = [text.replace("+", " ")]
        kept = [text]
    else:
        raw = text.encode("latin-1" if max(text) <= "\xff" else "utf-8", "surrogateescape")
        found = readings(unquoted(raw.replace(b"+", b" ")))
        kept = readings(unquoted(raw)) if b"+" in raw else found
    # Words with a plus between them do nothing anywhere.
    if kept == found or kept[0].replace("+", "").isalnum():
        return found
    return found + kept


def read_cookies(into: Inputs, header: str) -> None:
    """The values of a `Cookie` header."""
    for name, value in cookie_pairs(header):
        if value.isascii():
            into.add("cookie", name, value)
        else:
            into.add_all("cookie", name, text_readings(value))
        if not name.isidentifier() and not _PLAIN_NAME.fullmatch(name):
            into.add_all("cookie", name, text_readings(name))
            into.add_all("cookie", name, text_readings(f"{name}={value}"))


def cookie_pairs(header: str) -> Iterator[tuple[str, str]]:
    """Names and values of a `Cookie` header in order; quoted ones as Python's cookie writers quote them."""
    for piece in header.split(";"):
        name, found, value = piece.strip().partition("=")
        if not found:
            continue
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = _COOKIE_ESCAPE.sub(_cookie_character, value[1:-1])
        yield name, value


def _cookie_character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8)) if match[1] else str(match[2])


def read_headers(into: Inputs, headers: Iterable[tuple[str, str]]) -> None:
    """Header values, and what `Authorization: Basic` holds; `cookie` has its own reader and the gateway's
    own headers are no input.
    """
    for name, value in headers:
        if name == "cookie" or name.startswith("x-divertor-"):
            continue
        if value.isascii():
            into.add("header", name, value)
        else:
            into.add_all("header", name, text_readings(value))
        if name == "authorization":
            _read_credentials(into, value)
        if not _PLAIN_NAME.fullmatch(name):
            into.add("header", name, name)


def _read_credentials(into: Inputs, value: str) -> None:
    scheme, _, encoded = value.strip().partition(" ")
    if scheme.lower() == "bearer" and "." in encoded:
        read_token(into, "authorization", encoded.strip())
    elif scheme.lower() == "basic":
        user, _, password = base64_text(encoded.strip()).partition(":")
        into.add("header", "authorization", user)
        into.add("header", "authorization", password)


def read_path(into: Inputs, path: str) -> None:
    """The segments of a decoded path, and each tail of several segments (what a catch-all route captures)."""
    segments = path.lstrip("/").split("/")
    if len(segments) > MAX_SEGMENTS:
        into.complete = False
    read = text_readings if not path.isascii() else _itself
    for index, segment in enumerate(segments[:MAX_INPUTS]):
        into.add_all("path", str(index), read(segment))
    # The tails repeat each other: each reading is made once, of the whole.
    for text in read(path):
        parts = text.lstrip("/").split("/")
        for index in range(min(len(parts) - 1, MAX_SEGMENTS)):
            into.add("path", f"{index}-", "/".join(parts[index:]))


def read_line(into: Inputs, method: str, raw_path: str) -> None:
    """What the request line holds beside the query: the path as it came, not decoded, and its segments
    decoded one by one, where that differs; and a method that is none of HTTP's own.
    """
    if method not in METHODS:
        into.add("method", "", method)
    if "%" not in raw_path:
        return
    into.add("path", "(raw)", raw_path)
    for index, segment in enumerate(raw_path.lstrip("/").split("/")[:MAX_SEGMENTS]):
        if "%2f" in segment.lower():
            into.add_all("path", str(index), _decoded(segment))


def _itself(text: str) -> tuple[str]:
    return (text,)
