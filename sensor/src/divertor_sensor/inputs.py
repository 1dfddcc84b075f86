"""Turns the parts of a request's head into the list of values an attacker controls.

Pure: text in, `Input` values out, nothing is read from a socket and no clock is used. Bodies are
`divertor_sensor.bodies`'s. Everything is bounded, at most `MAX_INPUTS` values. A bound that was hit is told
(`Inputs.complete` is False): nothing is learned from a partial view, and a statement that it cannot clear
does not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from divertor_sensor.derived import base64_text, readings, text_readings

MAX_INPUTS = 2048
#: Path segments whose tails (what a catch-all route captures) are looked at; a longer path is incomplete.
MAX_SEGMENTS = 64

_COOKIE_ESCAPE = re.compile(r"\\(?:([0-3][0-7]{2})|(.))")


class Input(NamedTuple):
    """One value of a request: where it came in (`query`, `form`, `json`, `cookie`, …), its name, its text."""

    source: str
    name: str
    value: str


@dataclass(slots=True)
class Inputs:
    """The values of a request, in the order they are looked at. `complete` is False once a bound was hit.

    `cut_content` is True when only the content of a long part of a form was left out: its names and all
    short values are there.
    """

    values: list[Input] = field(default_factory=list)
    complete: bool = True
    cut_content: bool = False

    def add(self, source: str, name: str, value: str) -> bool:
        """Append a value; False when the list is full. Empty values are dropped: they change nothing."""
        if not value:
            return True
        if len(self.values) >= MAX_INPUTS:
            self.complete = False
            return False
        self.values.append(Input(source, name, value))
        return True

    def add_all(self, source: str, name: str, values: Iterable[str]) -> bool:
        """Append each of several readings of one value; False when the list is full."""
        return all([self.add(source, name, value) for value in values])


def read_pairs(into: Inputs, source: str, text: str) -> None:
    """`a=1&b=2`, percent-encoded, as ASCII or Latin-1 text: values under their names, and odd names too."""
    for piece in re.finditer(r"[^&]+", text):
        name, _, value = piece[0].partition("=")
        names = _decoded(name)
        if not into.add_all(source, names[0], _decoded(value)):
            return
        if not names[0].isidentifier():
            into.add_all(source, names[0], names)


def _decoded(text: str) -> list[str]:
    if "%" not in text and "+" not in text and text.isascii():
        return [text]
    raw = text.encode("utf-8" if not _is_latin(text) else "latin-1", "surrogateescape")
    found = readings(unquote_to_bytes(raw.replace(b"+", b" ")))
    return found + readings(unquote_to_bytes(raw)) if b"+" in raw else found


def _is_latin(text: str) -> bool:
    return not text or max(text) <= "\xff"


def read_cookies(into: Inputs, header: str) -> None:
    """The values of a `Cookie` header."""
    for name, value in cookie_pairs(header):
        if not into.add_all("cookie", name, text_readings(value)):
            return
        if "'" in name or '"' in name:
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
        if not into.add_all("header", name, text_readings(value)):
            return
        if name == "authorization":
            _read_credentials(into, value)


def _read_credentials(into: Inputs, value: str) -> None:
    scheme, _, encoded = value.strip().partition(" ")
    if scheme.lower() == "basic":
        user, _, password = base64_text(encoded.strip()).partition(":")
        into.add("header", "authorization", user)
        into.add("header", "authorization", password)


def read_path(into: Inputs, path: str) -> None:
    """The segments of a decoded path, and each tail of several segments (what a catch-all route captures)."""
    segments = path.lstrip("/").split("/")
    if len(segments) > MAX_SEGMENTS:
        into.complete = False
    for index, segment in enumerate(segments[:MAX_INPUTS]):
        into.add_all("path", str(index), text_readings(segment))
    for index in range(min(len(segments) - 1, MAX_SEGMENTS)):
        into.add_all("path", f"{index}-", text_readings("/".join(segments[index:])))
