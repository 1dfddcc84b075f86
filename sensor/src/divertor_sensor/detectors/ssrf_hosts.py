"""Which host a text names, however it is written, and whether an address is inside.

Pure, and no resolver: what a name leads to is the network's to say. The part of `ssrf` that knows notations:
URLs as different parsers read them, IPv4 as `inet_aton` reads it (decimal, octal, hexadecimal, short), IPv6
with IPv4 in it, full-width letters and digits, international names.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

_MAX_HOST = 300
_MAX_URLS = 64
#: Longer texts are looked through for URLs up to here.
MAX_TEXT = 64 * 1024

_INSIDE_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host (RFC 791); Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # private (RFC 1918), as the two below
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); Alibaba's metadata service is in it
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local (RFC 3927), most clouds' metadata services
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle's metadata service is in it
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_INSIDE_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "::/127",  # unspecified and loopback
        "64:ff9b:1::/48",  # local translation (RFC 8215)
        "fc00::/7",  # unique local (RFC 4193); Amazon's metadata service is in it
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
#: Where an IPv6 address holds an IPv4 one, and how many bits follow it.
_EMBEDDED = tuple(
    (ipaddress.IPv6Network(text), shift)
    for text, shift in (
        ("::ffff:0:0/96", 0),  # mapped (RFC 4291)
        ("::ffff:0:0:0/96", 0),  # translated (RFC 2765)
        ("::/96", 0),  # compatible (RFC 4291)
        ("64:ff9b::/96", 0),  # NAT64 (RFC 6052)
        ("2002::/16", 80),  # 6to4 (RFC 3056)
    )
)
#: Services that tell a machine its secrets. No web server's own name resolves to one.
_METADATA_V4 = tuple(
    ipaddress.IPv4Network(text) for text in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32")
)
_METADATA_V6 = (ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("fd00:ec2::/32"))

#: What follows two slashes (or a web scheme's colon), up to the path. Backslashes: some parsers take them for
#: slashes, so both readings are tried.
_AUTHORITY = re.compile(
    r"(?:https?:[/\\]?(?![/\\])|(?<![/\\])[/\\]{2,}+)((?:[^\s/?#@]*+@)*+[^\s<>/?#]++)", re.I
)
_STRAY = re.compile(r"[\"'`{}|^,;()<>]")
_BARE_END = re.compile(r"[/?#\\]")
_NAME_AND_PORT = re.compile(r"(.*?):(\d{1,5})?(?::.*)?", re.DOTALL)
_BRACKETED = re.compile(r"\[([^\]]{1,100})\](?::(\d{1,5}))?")
_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_MAILBOX = re.compile(r"(?:mailto:)?[\w.+-]+")
_SCHEMED = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_NUMBER = re.compile(r"0x[0-9a-f]{0,8}|[0-9]{1,11}")
_NAME = re.compile(r"(?!-)[a-z0-9_.-]{1,253}")
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
#: What parsers drop: tabs and ends of lines, and what cannot be seen (Default_Ignorable_Code_Point of
#: Unicode's DerivedCoreProperties, which the mappings of UTS 46 follow).
_UNSEEN = re.compile(
    "[\t\n\r\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
#: What can be an international name (RFC 1035, 2.3.4; encoding makes nothing shorter). Encoding one takes as
#: long as many searches, and any text in another script is asked about.
_INTERNATIONAL = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_\x80-\U0010ffff-]{1,63}(?:\.[a-z0-9_\x80-\U0010ffff-]{1,63})*+", re.DOTALL
)


class Named(NamedTuple):
    """A host that a text names; `host` is canonical. `port` is 0 when the text names none.

    `how`: `url` (behind slashes or an `@`, which make it a host for sure), `bare` (the text is a host, and
    could be something else), or `tail` (the end of a host name, from a dot on).
    """

    host: str
    port: int
    how: str


def canonical(host: str) -> str:
    """The one spelling of `host`: an address as `ipaddress` writes it (IPv4 inside IPv6 as IPv4), a name in
    lower case and ASCII without the last dot.
    """
    # What is no host for its length is not kept: it is an input, as long as a request can be.
    return (_canonical if len(host) <= _MAX_HOST else _canonical.__wrapped__)(host)


@lru_cache(maxsize=2048)
def _canonical(host: str) -> str:
    text = _plain(host)
    address = _ipv4(text) or _ipv6(text)
    if address is not None:
        return str(_embedded(address) or address)
    if text.isascii() or not _INTERNATIONAL.fullmatch(text):
        return text
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return text


def _plain(host: str) -> str:
    """A host's text without what parsers drop or undo: brackets, zone, escapes, the last dot, case, width."""
    text = host.strip("[]").lower()
    if "%" in text:
        text = text.partition("%")[0] if ":" in text else unquote(text).lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text).translate(_DOTS)).lower()
    return text.rstrip(".")


def is_numeric(text: str) -> bool:
    """Whether `text` is an address in any notation, and no name."""
    return _ipv4(text) is not None or _ipv6(text) is not None


def is_inside(address: str) -> bool:
    """Whether an address (any notation) is this machine, its network or a service of its provider. A name
    is not: what it leads to is not known here.
    """
    return locality(address) == "inside"


def locality(host: str) -> str:
    """`inside` or `outside` for an address, and nothing for a name."""
    return (_locality if len(host) <= _MAX_HOST else _locality.__wrapped__)(host)


@lru_cache(maxsize=2048)
def _locality(host: str) -> str:
    parsed = _parsed(host)
    if parsed is None:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return "inside" if any(parsed in network for network in _INSIDE_V4) else "outside"
    return "inside" if any(parsed in network for network in _INSIDE_V6) else "outside"


def is_metadata(address: str) -> bool:
    """Whether an address is link-local or a cloud's metadata service."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return any(parsed in network for network in _METADATA_V4)
    return parsed is not None and any(parsed in network for network in _METADATA_V6)


def named_hosts(text: str) -> Iterator[Named]:
    """Every host that `text` could be taken to name: in the URLs in it, and as a whole."""
    for count, match in enumerate(_AUTHORITY.finditer(text, 0, MAX_TEXT)):
        if count >= _MAX_URLS:
            break
        yield from _of_authority(match[1], "url")
    if not _AUTHORITY.match(text) and not _SCHEMED.match(text):
        yield from _of_bare(text)


def _of_bare(text: str) -> Iterator[Named]:
    """A text that an app puts behind slashes of its own."""
    host = _BARE_END.split(text.strip(), 1)[0]
    user, found, rest = host.rpartition("@")
    if not rest or len(rest) > _MAX_HOST or any(character.isspace() for character in rest):
        return
    if not found:
        yield from _of_authority(host, "bare")
    elif not _is_mail(user, rest) or len(host) < len(text.strip()):
        yield from _of_authority(rest, "url")


def _is_mail(user: str, host: str) -> bool:
    """Whether `user@host` is an address of mail, as far as its text tells."""
    if not _MAILBOX.fullmatch(user) or "." not in host or ":" in host:
        return False
    return not is_numeric(canonical(host))


def _of_authority(authority: str, how: str) -> Iterator[Named]:
    """`user@host:port` as several parsers read it: who is right is not for the sensor to know."""
    pieces = dict.fromkeys([authority, authority.partition("\\")[0], _STRAY.split(authority, 1)[0]])
    for piece in pieces:
        ends = dict.fromkeys([piece.rpartition("@")[2], piece.partition("@")[2].partition("@")[0]])
        for end in filter(None, ends):
            if len(end) <= _MAX_HOST:
                yield from _host_and_port(end, how)


def _host_and_port(text: str, how: str) -> Iterator[Named]:
    bracketed = _BRACKETED.match(text)
    if bracketed is not None:
        yield Named(canonical(bracketed[1]), int(bracketed[2] or 0), how)
        return
    if text.count(":") > 1 and is_numeric(canonical(text)):
        yield Named(canonical(text), 0, how)
        return
    parted = _NAME_AND_PORT.fullmatch(text)
    host, port = (parted[1], int(parted[2] or 0)) if parted else (text, 0)
    plain = canonical(host)
    if plain.startswith("."):
        yield Named(plain, port, "tail")
    elif _NAME.fullmatch(plain) or is_numeric(plain):
        # Any number is an address to somebody: on its own it counts as it stands only.
        is_loose = how == "bare" and _QUAD.fullmatch(_plain(host)) is None and is_numeric(plain)
        yield Named(_plain(host) if is_loose else plain, port, how)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = canonical(address)
    return _ipv4(text) or _ipv6(text)


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    """As `inet_aton`: one to four numbers, decimal, octal or hexadecimal, the last one fills what is left."""
    parts = text.split(".", 4)
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *leading, last = [_number(part) for part in parts]
    except ValueError:
        return None
    if last >= 1 << 8 * (4 - len(leading)) or any(number > 255 for number in leading):
        return None
    value = last
    for index, number in enumerate(leading):
        value |= number << 8 * (3 - index)
    return ipaddress.IPv4Address(value)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part[0] == "0" else 10)


def _ipv6(text: str) -> ipaddress.IPv6Address | None:
    if ":" not in text:
        return None
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | None:
    """The IPv4 address in an IPv6 one; `::` and `::1` hold none."""
    if isinstance(address, ipaddress.IPv4Address) or int(address) <= 1:
        return None
    for network, shift in _EMBEDDED:
        if address in network:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None
