"""Values in a charset that the client names and that is no superset of ASCII (UTF-7, UTF-16, EBCDIC, …).

Pure. Frameworks that believe a content type's `charset` (Django, aiohttp) make other text of the same bytes
than everybody else; what they make of it is an input as well. Charsets in which ASCII is ASCII need nothing
of this: `sources.derived.readings` gives their readings.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from divertor_sensor.sources.inputs import Input

_CHARSET = re.compile(r"charset\*?\s*=\s*[\"']?(?:[\w-]*'[\w-]*')?([\w.:+-]{1,40})", re.IGNORECASE)
#: All of ASCII, and a quote as UTF-7 and Python's escapes write it.
_ASCII = bytes(range(128)) + rb"+ACc- \x27"

# Loaded now: an app's own first use of one opens a file, and judging that must not need the same codec.
for _codec in (
    "cp037 cp273 cp424 cp500 cp875 cp1026 cp1140 hz idna iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004"
    " iso2022_jp_3 iso2022_jp_ext iso2022_kr punycode raw_unicode_escape unicode_escape utf_7 utf_16"
    " utf_16_be utf_16_le utf_32 utf_32_be utf_32_le"
).split():
    codecs.lookup(_codec)


def foreign_charset(header: str) -> str:
    """The charset named in a header in which ASCII does not stand for itself; nothing for any other."""
    match = _CHARSET.search(header) if "charset" in header.lower() else None
    return match[1].lower() if match is not None and _is_foreign(match[1].lower()) else ""


@lru_cache(maxsize=64)
def _is_foreign(name: str) -> bool:
    try:
        return _ASCII.decode(name, "replace") != _ASCII.decode("ascii")
    except (LookupError, ValueError):  # no codec, none for text, or a name that cannot be one
        return False


def decoded(raw: bytes, charset: str) -> str:
    """The bytes as text in `charset`; nothing when its codec cannot make any."""
    try:
        return raw.decode(charset, "replace")
    except (LookupError, ValueError):
        return ""


def reread(values: Iterable[Input], charset: str) -> Iterator[Input]:
    """What values mean whose bytes were read one character each, or as ASCII."""
    for found in values:
        try:
            text = decoded(found.value.encode("latin-1"), charset)
        except UnicodeEncodeError:
            continue
        if text and text != found.value:
            yield Input(found.source, found.name, text)
