"""The shared-memory files' layout and the fingerprint of a key: what Python and the Envoy filter agree on.

A file is a header of 8 words and then slots of 2 words, little endian, 64 bits a word:

    word 0  magic            1  capacity (slots, a power of two)    2  live count (0: nobody, look no further)
    word 3  superseded (1: reopen the path)                          4  generation        5-7  zero
    slot    fingerprint (0: never used), expiry << 32

`expiry` is in seconds since 1970, unsigned 32 bits; `FOREVER` stands for "until removed". An aligned word is
stored whole, so a reader in another process sees the old or the new one, never half of each. This module is
pure; `isolation.lua` is its other half, and a test runs both on the same values.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

import siphash24

from divertor.model.isolation import KeyKind, KeySelector

TABLE_MAGIC = int.from_bytes(b"DVTBL001", "little")
RECENT_MAGIC = int.from_bytes(b"DVREC001", "little")
MAGIC, CAPACITY, COUNT, SUPERSEDED, GENERATION = range(5)
HEADER_WORDS = 8
SLOT_WORDS = 2
WORD_BYTES = 8
#: Slots an attacker may take in the recent file: a small set-associative cache.
WAYS = 4
#: Bytes of a key that count: a browser's limit for one cookie.
MAX_VALUE = 4096
FOREVER = 0xFFFFFFFF


def scope_key(secret: bytes, scope: str, selector: KeySelector) -> bytes:
    """The 16-byte SipHash key for one scope and selector, derived from the installation's secret.

    The same session value in another application, or in another header, is somebody else.
    """
    text = "\0".join((scope, selector.kind.value, selector.name)).encode()
    return blake2b(text, key=secret, digest_size=16).digest()


def fingerprint(key: bytes, value: str) -> int:
    """SipHash-1-3 of the first `MAX_VALUE` bytes of `value`: 64 bits, never 0."""
    data = value.encode("utf-8", "surrogateescape")[:MAX_VALUE]
    digest = int(siphash24.siphash13(data, key=key).intdigest()) & 0xFFFFFFFFFFFFFFFF
    return digest or 1


def key_words(key: bytes) -> tuple[str, str]:
    """A scope key as the filter reads it: two words of 16 hexadecimal digits."""
    return key[:8][::-1].hex(), key[8:][::-1].hex()


def expiry_second(expires: datetime | None) -> int:
    """The second from which the isolation no longer holds."""
    if expires is None:
        return FOREVER
    return max(0, min(int(expires.timestamp()) + 1, FOREVER - 1))


def meta(expiry: int) -> int:
    """The second word of a slot."""
    return expiry << 32


def canonical_value(selector: KeySelector, value: str) -> str:
    """The text that is fingerprinted: an address in its shortest form, anything else as it is.

    :raises ValueError: an address that is none.
    """
    if selector.kind is not KeyKind.ADDRESS:
        return value
    from ipaddress import ip_address

    return str(ip_address(value))
