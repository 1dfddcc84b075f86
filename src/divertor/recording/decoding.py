"""Compressed bodies, made readable within bounds: a body of a few bytes may claim to be gigabytes. Pure.

A body that was cut short gives what its beginning says. Brotli is read when the package `brotli` is there.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping

#: Bytes a body may have when it is decoded, and encodings that may lie above each other.
MAX_DECODED = 4 << 20
MAX_LAYERS = 3

Decoder = Callable[[bytes, int], bytes | None]


def decoded(data: bytes, content_encoding: str, limit: int = MAX_DECODED) -> bytes | None:
    """`data` without its encodings (the header's text, the outermost last); None when that cannot be done
    within `limit` bytes, or at all.
    """
    layers = [name for part in content_encoding.lower().split(",") if (name := part.strip())]
    layers = [name for name in layers if name != "identity"]
    if len(layers) > MAX_LAYERS:
        return None
    found: bytes | None = data
    for name in reversed(layers):
        decoder = _DECODERS.get(name)
        if decoder is None or found is None:
            return None
        found = decoder(found, limit)
    return found


def _gzip(data: bytes, limit: int) -> bytes | None:
    """Several members may follow each other; each costs at least its header, so their number is bounded."""
    parts: list[bytes] = []
    room = limit
    while data:
        part, rest = _inflate(data, 31, room)
        if part is None:
            return None
        parts.append(part)
        room -= len(part)
        data = rest
    return b"".join(parts)


def _deflate(data: bytes, limit: int) -> bytes | None:
    """With zlib's header, as it should be, or without, as some send it."""
    found = _inflate(data, 15, limit)[0]
    return found if found is not None else _inflate(data, -15, limit)[0]


def _inflate(data: bytes, window: int, limit: int) -> tuple[bytes | None, bytes]:
    stream = zlib.decompressobj(window)
    try:
        found = stream.decompress(data, limit + 1)
    except zlib.error:
        return None, b""
    return (found if len(found) <= limit else None), stream.unused_data


def _brotli() -> Decoder | None:
    try:
        module = importlib.import_module("brotli")
    except ImportError:
        return None
    if not hasattr(module.Decompressor, "can_accept_more_data"):
        return None  # too old to be told how much is enough

    def decode(data: bytes, limit: int) -> bytes | None:
        try:
            found: bytes = module.Decompressor().process(data, output_buffer_limit=limit + 1)
        except module.error:
            return None
        return found if len(found) <= limit else None

    return decode


def _decoders() -> Mapping[str, Decoder]:
    brotli = _brotli()
    found: dict[str, Decoder] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
    return found if brotli is None else {**found, "br": brotli}


_DECODERS = _decoders()
