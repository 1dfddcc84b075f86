"""Percent-encoding undone in long texts, in little memory.

Pure. The standard library's function makes an object of each escape: forty times the length of a body that is
nothing else, for a moment, and a hostile client decides on how many such moments there are at once.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

#: Bytes that are looked at together.
PORTION = 64 * 1024


def unquoted(raw: bytes) -> bytes:
    """What `urllib.parse.unquote_to_bytes` gives."""
    if len(raw) <= PORTION:
        return unquote_to_bytes(raw)
    found, at = bytearray(), 0
    while at < len(raw):
        end = at + PORTION
        if end < len(raw):  # no escape is cut in two
            begun = raw.rfind(b"%", end - 2, end)
            end = end if begun < 0 else begun
        found += unquote_to_bytes(raw[at:end])
        at = end
    return bytes(found)
