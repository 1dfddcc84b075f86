"""Turns the raw parts of a request into the list of values an attacker controls.

Pure: bytes and text in, `Input` values out, nothing is read from a socket and no clock is used. Everything is
bounded: at most `MAX_INPUTS` values, JSON no deeper than `MAX_DEPTH`, multipart no more than `MAX_PARTS`
parts. A bound that was hit is told (`Inputs.complete` is False), so that nothing is learned from a partial
view.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

MAX_INPUTS = 512
MAX_DEPTH = 32
MAX_PARTS = 128
#: A text part of a form longer than this is taken as an uploaded file's content, and not as a value.
MAX_PART = 256 * 1024
_MAX_DERIVED_FROM = 16 * 1024
_MAX_PIECES = 8

_BOUNDARY = re.compile(r'boundary="?([^";]{1,200})"?', re.IGNORECASE)
_DISPOSITION = re.compile(r'(file)?name(\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_COOKIE_ESCAPE = re.compile(r"\\(?:([0-3][0-7]{2})|(.))")
_SEPARATORS = re.compile(r"[|,;\n]")
_SPACES = re.compile(r"[\t\n\r\f\v]| {2,}")


class Input(NamedTuple):
    """One value of a request: where it came in (`query`, `form`, `json`, `cookie`, …), its name, its text."""

    source: str
    name: str
    value: str


@dataclass(slots=True)
class Inputs:
    """The values of a request, in the order they are looked at. `complete` is False once a bound was hit."""

    values: list[Input] = field(default_factory=list)
    complete: bool = True

    def add(self, source: str, name: str, value: str) -> bool:
        """Append a value; False when the list is full. Empty values are dropped: they change nothing."""
        if len(self.values) >= MAX_INPUTS:
            self.complete = False
            return False
        if value:
            self.values.append(Input(source, name, value))
        return True


def read_pairs(into: Inputs, source: str, text: str) -> None:
    """`a=1&b=2`, percent-encoded: values under their names, and the names themselves."""
    for piece in text.split("&", MAX_INPUTS + 1)[: MAX_INPUTS + 1]:
        if not piece:
            continue
        name, _, value = piece.partition("=")
        name = _decoded(name)
        if not into.add(source, name, _decoded(value)):
            return
        if not name.isidentifier():
            into.add(source, name, name)


def read_cookies(into: Inputs, header: str) -> None:
    """The values of a `Cookie` header."""
    for name, value in cookie_pairs(header):
        if not into.add("cookie", name, value):
            return


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
    """Header values; `cookie` has its own reader and the gateway's own headers are no input."""
    for name, value in headers:
        if name == "cookie" or name.startswith("x-divertor-"):
            continue
        if not into.add("header", name, value):
            return


def read_path(into: Inputs, path: str) -> None:
    """The segments of a decoded path, and each tail of several segments (what a catch-all route captures)."""
    segments = path.lstrip("/").split("/")[:32]
    for index, segment in enumerate(segments):
        into.add("path", str(index), segment)
    for index in range(len(segments) - 1):
        into.add("path", f"{index}-", "/".join(segments[index:]))


def read_body(into: Inputs, content_type: str, body: bytes, whole: bool) -> None:
    """What the app has read of the body so far, by its content type; `whole` is False for a cut recording."""
    if not whole:
        into.complete = False
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        _read_multipart(into, content_type, body)
        return
    text = body.decode("utf-8", "replace")
    if kind.endswith("json") or text.lstrip()[:1] in {"{", "["}:
        _read_json(into, text)
    elif kind == "application/x-www-form-urlencoded" or not kind:
        read_pairs(into, "form", text)
    else:
        into.add("form", "(body)", text)


def _read_json(into: Inputs, text: str) -> None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Cut, or not JSON after all: every quoted string in it is still something the app may have used.
        for match in _JSON_STRING.finditer(text):
            if not into.add("json", "", _json_unescaped(match[1])):
                return
        return
    _walk_json(into, "", document, 0)


def _json_unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _walk_json(into: Inputs, name: str, node: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        into.complete = False
    elif isinstance(node, str):
        into.add("json", name, node)
    elif isinstance(node, dict):
        for key, value in node.items():
            if len(into.values) >= MAX_INPUTS:
                into.complete = False
                return
            if not key.isidentifier():
                into.add("json", f"{name}.{key}".lstrip("."), key)
            _walk_json(into, f"{name}.{key}".lstrip("."), value, depth + 1)
    elif isinstance(node, list):
        for index, value in enumerate(node[: MAX_INPUTS + 1]):
            _walk_json(into, f"{name}[{index}]", value, depth + 1)


def _read_multipart(into: Inputs, content_type: str, body: bytes) -> None:
    match = _BOUNDARY.search(content_type)
    if match is None:
        into.complete = False
        return
    parts = body.split(b"--" + match[1].encode("latin-1", "replace"), MAX_PARTS + 1)
    if len(parts) > MAX_PARTS:
        into.complete = False
    for part in parts[1 : MAX_PARTS + 1]:
        _read_part(into, part)


def _read_part(into: Inputs, part: bytes) -> None:
    head, found, content = part.partition(b"\r\n\r\n")
    if not found:
        return
    name, filename = _disposition(head.decode("utf-8", "replace"))
    if filename is not None:
        into.add("file", name, filename)
    elif len(content) <= MAX_PART:
        into.add("form", name, content.removesuffix(b"\r\n").decode("utf-8", "replace"))
    else:
        into.complete = False


def _disposition(head: str) -> tuple[str, str | None]:
    name, filename = "", None
    for line in head.splitlines():
        if not line.lower().startswith("content-disposition:"):
            continue
        for is_file, extended, quoted, bare in _DISPOSITION.findall(line):
            value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare
            value = unquote(value.rpartition("'")[2]) if extended else value
            if is_file:
                filename = value
            else:
                name = value
    return name, filename


def _decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def derived_values(value: str) -> list[str]:
    """The value, and the forms common code turns it into before using it.

    Trimmed, white space collapsed, percent-decoded once more, quotes escaped with a backslash, the pieces
    of a list, base64 undone, the strings of JSON inside a parameter. Deeper transformations are not
    followed.
    """
    if len(value) > _MAX_DERIVED_FROM:
        return [value]
    forms = [value]
    stripped = value.strip()
    if stripped != value:
        forms.append(stripped)
    if "%" in value:
        forms.append(unquote_plus(value))
    if _SPACES.search(stripped):
        forms.append(" ".join(stripped.split()))
    if "'" in value or '"' in value:
        forms.extend(_quoted_forms(value))
    elif _BASE64.fullmatch(value):
        forms.extend(_base64_forms(value))
    return [form for form in dict.fromkeys(forms) if form]


def _quoted_forms(value: str) -> Iterator[str]:
    yield re.sub(r"(['\"\\])", r"\\\1", value)
    pieces = _SEPARATORS.split(value, _MAX_PIECES)
    if len(pieces) > 1:
        yield from (piece.strip() for piece in pieces if "'" in piece or '"' in piece)
    if value.lstrip()[:1] in {"{", "["}:
        inner = Inputs()
        _read_json(inner, value)
        yield from (found.value for found in inner.values[:_MAX_PIECES])


def _base64_forms(value: str) -> Iterator[str]:
    try:
        raw = base64.b64decode(
            value + "=" * (-len(value) % 4), altchars=b"-_" if set("-_") & set(value) else None
        )
        text = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return
    if text.isprintable() and not text.isalnum():
        yield text
