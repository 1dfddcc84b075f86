"""Percentages, sizes, durations and ports as people write them, and the one way they are written back.

Each `parse_*` raises ValueError whose text says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from divertor.model.artifacts import Port, Protocol
from divertor.model.isolation import KeyKind, KeySelector

_NUMBER = r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)"
_PERCENTAGE = re.compile(r"(?P<number>[0-9]{1,3}) ?%?")
_CPU = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)|(?P<thousandths>[0-9]{1,9})m")
_MEMORY = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?P<unit>[KMGT]?)i?B?", re.IGNORECASE)
_DURATION = re.compile(_NUMBER + r" ?(?P<unit>[a-z]+)", re.IGNORECASE)
_PORT = re.compile(r"(?P<number>[0-9]{1,5})(?:/(?P<protocol>http2?|grpc|tcp))?", re.IGNORECASE)
_SELECTOR = re.compile(r"(?P<kind>cookie|header) +(?P<name>[!#-+\--:<>-~]{1,200})", re.IGNORECASE)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NETWORK = re.compile(r"client address ?/ ?(?P<v4>[0-9]{1,2})(?: ?/ ?(?P<v6>[0-9]{1,3}))?")
#: What is one subscriber's in IPv6, as one address is in IPv4 (RFC 6177 gives at least that).
_V6_PREFIX = 64
_WORDS = {
    str(selector): selector
    for selector in (
        KeySelector(KeyKind.ADDRESS),
        KeySelector(KeyKind.BEARER),
        KeySelector(KeyKind.JA3),
        KeySelector(KeyKind.JA4),
        KeySelector(KeyKind.USER),
    )
}
#: What `parse_key_selector` takes.
KEYS = (
    "cookie NAME, header NAME, bearer token, client address, client address/24, tls ja3, tls ja4 or user id"
)

_MEMORY_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), Decimal("0.001")),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86400)),
}
#: Ten years; beyond it one means `forever`.
MAX_SECONDS = 3650 * 86400


def parse_percentage(text: str) -> int:
    """`50%` or `50`, a whole number from 0 to 100."""
    found = _PERCENTAGE.fullmatch(text.strip())
    if found is None or int(found["number"]) > 100:
        raise ValueError("a whole percentage from 0% to 100%")
    return int(found["number"])


def format_percentage(value: int) -> str:
    return f"{value}%"


def parse_cpu(text: str) -> float:
    """`2`, `0.2` or `500m` (thousandths), in CPUs."""
    found = _CPU.fullmatch(text.strip())
    if found is None:
        raise ValueError("a number of CPUs such as 0.5 or 500m")
    return float(found["number"]) if found["number"] else int(found["thousandths"]) / 1000


def parse_memory(text: str) -> int:
    """`512MB`, `2gb`, `120 M`, in bytes; each unit is 1024 of the one before, and a bare number is bytes."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise ValueError("a size such as 512MB")
    return int(Decimal(found["number"]) * _MEMORY_UNITS[found["unit"].upper()])


def format_memory(size: int) -> str:
    for unit in ("T", "G", "M", "K"):
        if size and size % _MEMORY_UNITS[unit] == 0:
            return f"{size // _MEMORY_UNITS[unit]}{unit}B"
    return f"{size}B"


def parse_seconds(text: str) -> float:
    """`10s`, `1m`, `2h`, `1d`, `250ms` or with the unit spelled out, in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or found["unit"].lower() not in _SECONDS:
        raise ValueError("a duration such as 30s, 10m, 24h or 7d")
    seconds = float(Decimal(found["number"]) * _SECONDS[found["unit"].lower()])
    if seconds > MAX_SECONDS:
        raise ValueError(f"at most {MAX_SECONDS // 86400}d")
    return seconds


def format_seconds(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{int(seconds) // size}{unit}"
    return f"{Decimal(str(seconds)).normalize():f}s"


def parse_duration(text: str) -> timedelta | None:
    """As `parse_seconds`, more than nothing; `forever` is None."""
    if text.strip().lower() == "forever":
        return None
    duration = timedelta(seconds=parse_seconds(text))
    if not duration:
        raise ValueError("more than 0s, or forever")
    return duration


def format_duration(duration: timedelta | None) -> str:
    return "forever" if duration is None else format_seconds(duration.total_seconds())


def parse_port(text: str) -> tuple[int, Protocol]:
    """`8080`, `8080/http`, `5432/tcp` or `8080/http2` (`grpc` is another word for it), from 0 to 65535."""
    found = _PORT.fullmatch(text.strip())
    if found is None or int(found["number"]) > 65535:
        raise ValueError("a port such as 8080, 8080/http, 8080/http2 or 5432/tcp, up to 65535")
    word = (found["protocol"] or "http").lower()
    return int(found["number"]), Protocol.HTTP2 if word == "grpc" else Protocol(word)


def parse_gateway_port(text: str) -> tuple[int, Protocol]:
    """As `parse_port`, but `http2`: a gateway's http port takes HTTP/2 as well."""
    number, protocol = parse_port(text)
    if protocol is Protocol.HTTP2:
        raise ValueError(f"{number}/http, which takes HTTP/2 and gRPC too")
    return number, protocol


def format_port(number: int | None, protocol: Protocol) -> str:
    return f"{number or 0}/{protocol}"


def named_port(name: str, text: str) -> Port:
    number, protocol = parse_port(text)
    return Port(name, number, protocol)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers within those bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text.strip()) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def parse_key_selector(text: str) -> KeySelector:
    """`cookie NAME`, `header NAME` (kept in lower case), `bearer token`, `client address`, `tls ja3`, `tls
    ja4`, `user id`; `client address/24` for its network (an IPv6 client's /64, or `client address/24/56`)."""
    words = " ".join(text.lower().split())
    if words in _WORDS:
        return _WORDS[words]
    network = _NETWORK.fullmatch(words)
    if network is not None:
        return _prefix(int(network["v4"]), int(network["v6"] or _V6_PREFIX))
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(KEYS)
    if found["kind"].lower() == KeyKind.COOKIE:
        return KeySelector(KeyKind.COOKIE, found["name"])
    if not _HEADER.fullmatch(found["name"]):
        raise ValueError("a header's name of letters, digits and '-'")
    return KeySelector(KeyKind.HEADER, found["name"].lower())


def _prefix(v4: int, v6: int) -> KeySelector:
    """Narrow enough that a network is a neighbourhood, not a continent."""
    if not 8 <= v4 <= 32 or not 16 <= v6 <= 128:
        raise ValueError("a network of 8 to 32 bits, and of 16 to 128 bits for IPv6")
    return KeySelector(KeyKind.PREFIX, f"{v4}/{v6}")
