"""The shared-memory files' layout and the fingerprint of a key: what Python and the Envoy filter agree on.

A file is a header of 8 words and then slots of 2 words, little endian, 64 bits a word:

    word 0  magic            1  capacity (slots, a power of two)    2  live count (0: nobody, look no further)
    word 3  superseded (1: reopen the path)                          4  generation        5-7  zero
    slot    fingerprint (0: never used), expiry << 32

`expiry` is in seconds since 1970, unsigned 32 bits; `FOREVER` stands for "until removed". An aligned word is
stored whole, so a reader in another process sees the old or the new one, never half of each. This module is
pure; `envoy/filter/` is its other half, and a test runs both on the same values.
"""

from __future__ import annotations

import re
import socket
from datetime import datetime
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address

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
    """The text that is fingerprinted: an address as Envoy writes it, a network with its length, a token
    without its scheme, a handshake's fingerprint; anything else as it is.

    :raises ValueError: it is none; the text says what was expected.
    """
    match selector.kind:
        case KeyKind.ADDRESS:
            return _address(value)
        case KeyKind.PREFIX:
            return _network(selector.name, value)
        case KeyKind.BEARER:
            return _token(value)
        case KeyKind.JA3 | KeyKind.JA4:
            return _handshake(selector.kind, value)
    return value


def prefix_bits(name: str) -> tuple[int, int]:
    """The bits of an IPv4 and of an IPv6 network that a prefix selector's name (`24/64`) stands for.

    :raises ValueError: it stands for none.
    """
    four, slash, six = name.partition("/")
    if not (slash and four.isdecimal() and six.isdecimal() and int(four) <= 32 and int(six) <= 128):
        raise ValueError("two lengths such as 24/64")
    return int(four), int(six)


def readings(selector: KeySelector, value: str) -> tuple[str, ...]:
    """Everything `value` may mean to an application that reads its cookies in its own way: itself first, then
    without white space and quotes, with %XX resolved, up to a blank or comma. The filter does the same with
    what clients send, so it does not matter which of them was seen where. A user is nothing that the filter
    could see: he has none.
    """
    if selector.kind is KeyKind.USER:
        return ()
    if selector.kind not in _WRITTEN or _PLAIN.fullmatch(value):
        return (value,)
    plain = _trimmed(value.encode("utf-8", "surrogateescape"))
    found = [plain[:MAX_VALUE]]
    if selector.kind is KeyKind.COOKIE:
        base = _unquoted(plain)
        found += [base, _decoded(base), _unquoted(_cut(base))]
    if selector.kind is KeyKind.BEARER:
        found.append(_unquoted(_cut(plain)))
    texts = [value, *(each.decode("utf-8", "surrogateescape") for each in found if each)]
    return tuple(dict.fromkeys(texts))


#: Kinds of keys that a client may write in several ways.
_WRITTEN = frozenset({KeyKind.COOKIE, KeyKind.HEADER, KeyKind.BEARER})
#: A value that can be read in one way only, as nearly all are: nothing to trim, unquote, resolve or cut.
_PLAIN = re.compile(r"[!#$&'()*./0-9:<=>?@A-Z\[\]^_`a-z{|}~-]{1,4096}")
_SCHEME = b"bearer"
_JA3 = re.compile(r"[0-9a-f]{32}")
_JA4 = re.compile(r"[0-9A-Za-z]{10}(?:_[0-9a-f]{12}){2}")


def _address(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError("an IP address") from None
    address = _unmapped(address)
    if isinstance(address, IPv6Address):
        return socket.inet_ntop(socket.AF_INET6, address.packed)
    return str(address)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as an IPv6 one as itself: it is the same client."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _network(name: str, value: str) -> str:
    """The network an address is in; a network must be as long as the filter looks at."""
    four, six = prefix_bits(name)
    text, slash, length = value.partition("/")
    expected = f"an address, or a network of {four} (IPv4) or {six} (IPv6) bits"
    try:
        address = _unmapped(ip_address(text))
    except ValueError:
        raise ValueError(expected) from None
    bits = four if address.version == 4 else six
    if slash and length != str(bits):
        raise ValueError(expected)
    whole = address.max_prefixlen
    first = (int(address) >> (whole - bits) << (whole - bits)).to_bytes(whole // 8, "big")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, first)}/{bits}"


def _token(value: str) -> str:
    """`Bearer abc` or `abc`; `Bearerabc` names no scheme."""
    data = _trimmed(value.encode("utf-8", "surrogateescape"))
    rest = data[len(_SCHEME) :]
    if data[: len(_SCHEME)].lower() == _SCHEME and len(_trimmed(rest)) < len(rest):
        data = _trimmed(rest)
    return data.decode("utf-8", "surrogateescape")


def _handshake(kind: KeyKind, value: str) -> str:
    text = value.strip()
    start = 10 if kind is KeyKind.JA4 else 0
    text = text[:start] + text[start:].lower()
    if not (_JA4 if start else _JA3).fullmatch(text):
        raise ValueError("a JA4 such as t13d1516h2_8daaf6152771_e5627efa2ab1" if start else "32 hex digits")
    return text


#: Unicode's white space in UTF-8, the two of Latin-1 as bytes of their own, and JavaScript's U+FEFF.
_SPACES = [
    *(
        chr(code).encode()
        for code in (0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
    ),
    *("\ufeff".encode(), "\x85".encode(), "\xa0".encode(), b"\x85", b"\xa0", b" ", b"\t"),
]
_BEFORE = re.compile(b"(?:" + b"|".join(map(re.escape, _SPACES)) + b")+")
_ESCAPE = re.compile(rb"\\([0-3][0-7][0-7]|.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_END = re.compile(rb"[ \t,]")


def _trimmed(data: bytes) -> bytes:
    start = _BEFORE.match(data)
    data = data[start.end() :] if start else data
    while end := next((len(space) for space in _SPACES if data.endswith(space)), 0):
        data = data[:-end]
    return data


def _unquoted(data: bytes) -> bytes:
    if len(data) < 2 or not (data.startswith(b'"') and data.endswith(b'"')):
        return data[:MAX_VALUE]
    return _ESCAPE.sub(_character, data[1:-1])[:MAX_VALUE]


def _cut(data: bytes) -> bytes:
    if data.startswith(b'"'):
        found = _QUOTED.match(data)
        return found[0] if found else data
    return _END.split(data, maxsplit=1)[0]


def _character(escape: re.Match[bytes]) -> bytes:
    said = escape[1]
    return said if len(said) == 1 else bytes([int(said, 8)])


def _decoded(data: bytes) -> bytes:
    return _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), data.replace(b"+", b" "))[:MAX_VALUE]
