"""The forms that common code turns an input into before using it, and the ways bytes can be read as text.

Pure. Every form costs time in proportion to the value's length. What is followed is listed at
`derived_values`; any other rewriting hides an input from the detectors.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

_DECODINGS = 3
_MAX_PIECES = 8
_MAX_RUNS = 64
#: A shorter run of ASCII between other characters would meet statements by chance.
_MIN_RUN = 4
_MIN_BASE64_TEXT = 6
_MAX_JSON = 64 * 1024

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_SEPARATORS = re.compile(r"[|,;\n\t&]|(?<=\w)-(?=')|:")
_SPACES = re.compile(r"[\t\n\r\f\v]| {2,}")
_ASCII_RUN = re.compile(rf"[\x00-\x7f]{{{_MIN_RUN},}}")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"?', re.DOTALL)


def readings(raw: bytes) -> list[str]:
    """The texts that different decoders make of `raw`: UTF-8 first, with what it cannot decode replaced,
    kept, or left percent-encoded; Latin-1; and the runs of ASCII in between, which every decoder agrees on.
    """
    if raw.isascii():
        return [raw.decode("ascii")]
    kept = raw.decode("utf-8", "surrogateescape")
    texts = [raw.decode("utf-8", "replace")]
    if _UNDECODABLE.search(kept):
        texts += [kept, _UNDECODABLE.sub(_requoted, kept)]
    texts.append(raw.decode("latin-1"))
    return list(dict.fromkeys([*texts, *ascii_runs(kept)]))


def text_readings(text: str) -> list[str]:
    """The readings of text that a protocol library decoded: as it is, and as the bytes it stands for."""
    if text.isascii():
        return [text]
    try:
        return list(dict.fromkeys([text, *readings(text.encode("latin-1"))]))
    except UnicodeEncodeError:
        return [text, *ascii_runs(text)]


def ascii_runs(text: str) -> list[str]:
    """The longer runs of ASCII in `text` that hold more than a word."""
    if text.isascii():
        return []
    found: list[str] = []
    for match in _ASCII_RUN.finditer(text):
        run = match[0]
        if not run.replace(" ", "").isalnum():
            found.append(run)
            if len(found) >= _MAX_RUNS:
                # Whatever comes later is looked at as one more piece, up to the end.
                found.append(text[match.end() :])
                break
    return found


def _requoted(match: re.Match[str]) -> str:
    return f"%{ord(match[0]) - 0xDC00:02X}"


def derived_values(value: str) -> list[str]:
    """The value, and the forms common code turns it into before using it.

    Trimmed, white space collapsed, percent-decoded up to three times more, HTML entities resolved, NFKC
    normalised, quotes escaped with a backslash, the pieces of a list, base64 of printable text undone, the
    strings of JSON inside a parameter. Deeper transformations are not followed.
    """
    forms = dict.fromkeys([value])
    forms.update(dict.fromkeys(_decoded_forms(value)))
    if "'" in value or '"' in value:
        forms.update(dict.fromkeys(_quoted_forms(value)))
    else:
        forms.update(dict.fromkeys(_base64_forms(value)))
    for form in list(forms):
        stripped = form.strip()
        forms[stripped] = None
        if _SPACES.search(stripped):
            forms[" ".join(stripped.split())] = None
    return [form for form in forms if form]


def _decoded_forms(value: str) -> Iterator[str]:
    text = value
    for _ in range(_DECODINGS):
        if "%" not in text:
            break
        decoded = unquote_plus(text)
        yield decoded
        if "+" in text:
            decoded = unquote(text)
            yield decoded
        text = decoded
    if "&" in text:
        text = html.unescape(text)
        yield text
    if not text.isascii():
        yield unicodedata.normalize("NFKC", text)


def _quoted_forms(value: str) -> Iterator[str]:
    yield re.sub(r"(['\"\\])", r"\\\1", value)
    pieces = _SEPARATORS.split(value, _MAX_PIECES)
    if len(pieces) > 1:
        yield from (piece.strip() for piece in pieces if "'" in piece or '"' in piece)
    yield from _tails(value)
    if value.lstrip()[:1] in {"{", "[", '"'}:
        yield from _json_strings(value)


def _tails(value: str) -> Iterator[str]:
    """What follows the first separators: an app that splits once keeps it whole."""
    for separator in ("-", ":", ",", ";", "|", "=", "/", "@"):
        head, found, tail = value.partition(separator)
        if found and "'" not in head and '"' not in head:
            yield tail


def _json_strings(value: str) -> Iterator[str]:
    for count, match in enumerate(JSON_STRING.finditer(value[:_MAX_JSON])):
        if count >= _MAX_PIECES * 2:
            return
        yield json_unescaped(match[1])


def json_unescaped(text: str) -> str:
    """The text that a JSON string's inside stands for; as it is when it stands for none."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _base64_forms(value: str) -> Iterator[str]:
    compact = "".join(value.split())
    if not _BASE64.fullmatch(compact):
        return
    text = base64_text(compact)
    if len(text) >= _MIN_BASE64_TEXT and not text.isalnum():
        yield text


def base64_text(value: str) -> str:
    """The printable text that `value` encodes; empty when it does not."""
    padded = value.rstrip("=")
    padded += "=" * (-len(padded) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_" if set("-_") & set(value) else None)
        text = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    return text if "".join(text.split()).isprintable() else ""
