"""Protocol Buffers' wire format, only as far as reading a message's fields goes.

Pure. It knows no schema; `otlp_protobuf` does. The encoding is at https://protobuf.dev/programming-guides/encoding.
Written by hand because the generated classes cannot bound what a hostile message makes them build, and
would bring a package of several megabytes for the four shapes needed here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from divertor.errors import InputError, Position

#: A field's value: a number for the fixed and variable widths, bytes for everything else.
Value: TypeAlias = int | bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: struct.Struct("<Q"), _FIXED32: struct.Struct("<I")}
_WHERE = Position("protobuf body")


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in order: number and value.

    :raises InputError: the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise _malformed(at, "a field without a number")
        if kind == _BYTES:
            size, at = _varint(data, at)
            if size > end - at:
                raise _malformed(at, "a field longer than its message")
            yield number, data[at : at + size]
            at += size
        elif kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif kind in _FIXED:
            shape = _FIXED[kind]
            if shape.size > end - at:
                raise _malformed(at, "a number longer than its message")
            yield number, shape.unpack_from(data, at)[0]
            at += shape.size
        else:
            raise _malformed(at, f"the unknown wire type {kind}")


def signed(number: int) -> int:
    """A 64-bit variable-width number as the signed one it stands for."""
    return number - (1 << 64) if number >= 1 << 63 else number


def double(bits: int) -> float:
    """The floating-point number behind a fixed 64-bit one."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
            if shift > 63:
                raise _malformed(at, "a number of more than 64 bits")
    except IndexError:
        raise _malformed(at, "a number longer than its message") from None


def _malformed(at: int, what: str) -> InputError:
    return InputError(f"malformed at byte {at}: {what}", _WHERE)
