"""The raw request as one text, for the questions that need no parser: does this occur in it at all?

Pure. Used when the inputs could not all be extracted or judged, and before a statement is learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_plus

from divertor_sensor.sources.escapes import PORTION, unquoted

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


def raw_text(query: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
    """Query, path, header values and body as they came and as they read decoded once, in lower case."""
    found = dict.fromkeys(map(_lowered, (query, unquote_plus(query), path, *headers.values())))
    if body:
        found.update(dict.fromkeys(map(_lowered, _body_texts(body))))
    return "\n".join(found)


def _body_texts(body: bytes) -> Iterator[str]:
    """One after the other: together they take tens of times the body's length."""
    text = body.decode("utf-8", "replace")
    yield text
    if b"\\" in body:
        text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        # Each backslash gives way to the character after it, a second one included.
        yield "\\".join([piece.replace("\\", "") for piece in text.split("\\\\")])
    del text
    if b"%" in body or b"+" in body:
        yield unquoted(body.replace(b"+", b" ")).decode("utf-8", "replace")
    if b"\0" in body:
        yield body.replace(b"\0", b"").decode("utf-8", "replace")


def _lowered(text: str) -> str:
    """The text in lower case; for other text than ASCII the interpreter takes twelve bytes per character."""
    if len(text) <= PORTION or text.isascii():
        return text.lower()
    return "".join([text[at : at + PORTION].lower() for at in range(0, len(text), PORTION)])
