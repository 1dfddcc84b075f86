"""Percentages, sizes, durations and ports as people write them, and the one way they are written back.

Each `parse_*` raises ValueError whose text says what was expected.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from divertor.model.artifacts import Port, Protocol
from divertor.model.isolation import KeyKind, KeySelector

_NUMBER = r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)"
_PERCENTAGE = re.compile(r"(?P<number>[0-9]{1,3}) ?%?")
_CPU = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)|(?P<thousandths>[0-9]{1,9})m")
_MEMORY = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?P<unit>[KMGT]?)i?B?", re.IGNORECASE)
_DURATION = re.compile(_NUMBER + r" ?(?P<unit>[a-z]+)", re.IGNORECASE)
_PORT = re.compile(r"(?P<number>[0-9]{1,5})(?:/(?P<protocol>http|tcp))?", re.IGNORECASE)
_SELECTOR = re.compile(r"(?P<kind>cookie|header) +(?P<name>[!#-+\--:<>-~]+)", re.IGNORECASE)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_MEMORY_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
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
    """`10s`, `1m`, `2h`, `1d` or with the unit spelled out, in seconds."""
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
    """`8080`, `8080/http` or `5432/tcp`, from 0 to 65535."""
    found = _PORT.fullmatch(text.strip())
    if found is None or int(found["number"]) > 65535:
        raise ValueError("a port such as 8080, 8080/http or 5432/tcp, up to 65535")
    protocol = Protocol(found["protocol"].lower()) if found["protocol"] else Protocol.HTTP
    return int(found["number"]), protocol


def format_port(number: int | None, protocol: Protocol) -> str:
    return f"{number or 0}/{protocol}"


def named_port(name: str, text: str) -> Port:
    number, protocol = parse_port(text)
    return Port(name, number, protocol)


def parse_key_selector(text: str) -> KeySelector:
    """`cookie NAME`, `header NAME` (kept in lower case) or `client address`."""
    if text.strip().lower().split() == ["client", "address"]:
        return KeySelector(KeyKind.ADDRESS)
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError("cookie NAME, header NAME or client address")
    if found["kind"].lower() == KeyKind.COOKIE:
        return KeySelector(KeyKind.COOKIE, found["name"])
    if not _HEADER.fullmatch(found["name"]):
        raise ValueError("a header's name of letters, digits and '-'")
    return KeySelector(KeyKind.HEADER, found["name"].lower())
