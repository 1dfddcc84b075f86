"""Names as keys of the key-value bucket, and back.

The broker's keys take few characters, names are arbitrary text (some of it an attacker's). Everything but
ASCII letters, digits, `-`, `_` and `/` is written `=XX`, one per byte of its UTF-8.
"""

from __future__ import annotations

import re

from divertor.errors import InputError, Position

#: Longest encoded name, in characters; the broker's limit for a whole subject line is 4096 bytes.
MAX_LENGTH = 2048

_KIND = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")
#: The empty name; no other name ends in a bare equals sign.
_EMPTY = "="


def key_of(kind: str, name: str) -> str:
    """`<kind>.<encoded name>`.

    :raises InputError: the name is too long to be a key.
    :raises ValueError: `kind` is not a short lower-case word.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{kind!r} is no kind of state")
    encoded = "".join(map(_encoded, name.encode("utf-8", "surrogatepass"))) or _EMPTY
    if len(encoded) > MAX_LENGTH:
        raise InputError(
            "the name is too long", Position(f"{kind} {name[:40]}…"), f"{MAX_LENGTH} encoded characters"
        )
    return f"{kind}.{encoded}"


def name_of(key: str) -> tuple[str, str]:
    """Kind and name of a key that `key_of` made.

    :raises ValueError: it was made by somebody else.
    """
    kind, dot, encoded = key.partition(".")
    if not dot or not encoded:
        raise ValueError(f"{key!r} is no key of the state")
    if encoded == _EMPTY:
        return kind, ""
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), encoded.encode("ascii"))
    return kind, raw.decode("utf-8", "surrogatepass")


def _encoded(byte: int) -> str:
    return chr(byte) if byte in _PLAIN else f"={byte:02X}"
