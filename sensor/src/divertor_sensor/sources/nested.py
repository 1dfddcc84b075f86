"""Values inside a value: JSON, a signed token, GraphQL, or XML in a parameter, a cookie, a header or a body.

Pure. What an app parses out of a value is not the value itself, so its parts are inputs of their own. Each
value is asked one cheap question first (`may_hold`); most are nothing but themselves. Three levels are
followed (a token in a JSON text in a form, say), values up to `_MAX_LENGTH`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from divertor_sensor.sources.derived import base64_text
from divertor_sensor.sources.documents import read_json
from divertor_sensor.sources.graphql import is_graphql, read_graphql
from divertor_sensor.sources.markup import read_xml

if TYPE_CHECKING:
    from divertor_sensor.sources.inputs import Inputs

_MAX_DEPTH = 3
_MAX_LENGTH = 256 * 1024
_MAX_TOKENS = 8
#: What opens JSON and XML, blanks before them, and the base64 of `<`.
_OPENERS = frozenset('{["<P \t\r\n')
#: Base64 of an opening brace and what may follow it, and the further parts of a signed token (RFC 7519).
_TOKEN = re.compile(r"(?<![\w+/-])e[wy][\w+/-]{4,}+=*+(?:\.[\w+/-]*+=*+){0,2}")
_ENCODED_XML = re.compile(r"P[C-H][\w+/\s-]{20,}+=*+\s*+")


def may_hold(value: str) -> bool:
    """Whether a value (not empty) could hold others; False for nearly every value there is."""
    return value[0] in _OPENERS or "ey" in value or "ew" in value or ('"' in value and "{" in value)


def read_nested(into: Inputs, source: str, name: str, value: str) -> None:
    """Take the values inside `value`, which `may_hold` some."""
    if into.depth >= _MAX_DEPTH or len(value) > _MAX_LENGTH:
        return
    into.depth += 1
    try:
        _read(into, source, name, value)
    finally:
        into.depth -= 1


def _read(into: Inputs, source: str, name: str, value: str) -> None:
    opening = value.lstrip()[:1]
    if opening and opening in '{["' and len(value) > 2 and read_json(into, source, name, value):
        return
    if opening == "<":
        read_xml(into, source, name, value)
    elif opening == "P" and _ENCODED_XML.fullmatch(value):
        _read_encoded_xml(into, source, name, value)
    if is_graphql(value):
        read_graphql(into, value)
    if "ey" in value or "ew" in value:
        for count, match in enumerate(_TOKEN.finditer(value)):
            if count >= _MAX_TOKENS:
                break
            read_token(into, name, match[0])


def read_token(into: Inputs, name: str, token: str) -> None:
    """Take the claims and header fields of a JSON web token, or of JSON in base64; nothing is verified."""
    for part in token.split(".")[:3]:
        text = base64_text(part)
        if text.lstrip()[:1] == "{":
            read_json(into, "jwt", name, text)


def _read_encoded_xml(into: Inputs, source: str, name: str, value: str) -> None:
    text = base64_text("".join(value.split()))
    if text.startswith("<"):
        read_xml(into, source, name, text)
