"""A stable share: the same value is always in or always out, and a larger share keeps all of a smaller one.

It is decided as Envoy's consistent-hashing matcher decides it: XXH64 of the value (seed 0), modulo a million,
is at least a threshold. Anybody can compute it, so it divides customers, but keeps nobody out.
"""

from __future__ import annotations

#: One is a ten-thousandth of a per cent.
WHOLE = 1_000_000

_MASK = (1 << 64) - 1
#: The five primes of XXH64 (xxHash's specification, "XXH64 algorithm description").
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def threshold(millionths: int) -> int:
    """The least remainder that is in."""
    return WHOLE - millionths


def is_in_share(value: bytes, millionths: int) -> bool:
    """Whether `value` belongs to the share of `millionths`."""
    return xxh64(value) % WHOLE >= threshold(millionths)


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0."""
    words = len(data) & ~7
    stripes = len(data) & ~31
    state = (_stripes(data[:stripes]) if stripes else _P5) + len(data) & _MASK
    for at in range(stripes, words, 8):
        state = _rotated(state ^ _round(0, _word(data, at, 8)), 27) * _P1 + _P4 & _MASK
    at = words
    if len(data) - at >= 4:
        state = _rotated(state ^ (_word(data, at, 4) * _P1 & _MASK), 23) * _P2 + _P3 & _MASK
        at += 4
    for byte in data[at:]:
        state = _rotated(state ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    return _mixed(state)


def _stripes(data: bytes) -> int:
    lanes = [_P1 + _P2 & _MASK, _P2, 0, -_P1 & _MASK]
    for at in range(0, len(data), 32):
        lanes = [_round(lane, _word(data, at + 8 * index, 8)) for index, lane in enumerate(lanes)]
    turns = zip(lanes, (1, 7, 12, 18), strict=True)
    state = sum(_rotated(lane, turn) for lane, turn in turns) & _MASK
    for lane in lanes:
        state = (state ^ _round(0, lane)) * _P1 + _P4 & _MASK
    return state


def _mixed(state: int) -> int:
    state = (state ^ state >> 33) * _P2 & _MASK
    state = (state ^ state >> 29) * _P3 & _MASK
    return state ^ state >> 32


def _round(lane: int, word: int) -> int:
    return _rotated(lane + word * _P2 & _MASK, 31) * _P1 & _MASK


def _rotated(word: int, turn: int) -> int:
    return (word << turn | word >> 64 - turn) & _MASK


def _word(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
