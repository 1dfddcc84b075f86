"""The raw request as one text, for the questions that need no parser: does this occur in it at all?

Pure. Used when the inputs could not all be extracted or judged, and before a statement is learned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus, unquote_to_bytes

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


def raw_text(query: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
    """Query, path, header values and body as they came and as they read decoded once, in lower case."""
    texts = [query, unquote_plus(query), path, *headers.values()]
    if body:
        texts += _body_texts(body)
    return "\n".join(dict.fromkeys(texts)).lower()


def _body_texts(body: bytes) -> list[str]:
    text = body.decode("utf-8", "replace")
    texts = [text]
    if b"%" in body or b"+" in body:
        texts.append(unquote_to_bytes(body.replace(b"+", b" ")).decode("utf-8", "replace"))
    if b"\\" in body:
        resolved = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        # Each backslash gives way to the character after it, a second one included.
        texts.append("\\".join([piece.replace("\\", "") for piece in resolved.split("\\\\")]))
    if b"\0" in body:
        texts.append(body.replace(b"\0", b"").decode("utf-8", "replace"))
    return texts
