"""The load: wrk, on one thread, as a browser's requests on connections that are kept; and what it reports."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.contenders import LOAD_CORES, Contender, pinned

CONNECTIONS = 16
SESSION = "0123456789abcdef0123456789abcdef"
#: What a browser sends along: a key lookup has to find the session among other cookies.
HEADERS = (
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-encoding: gzip, deflate, br",
    "accept-language: en-GB,en;q=0.7,nl;q=0.3",
    "referer: https://shop.example/catalogue?page=2",
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: requests per second, milliseconds at p50 and p99, CPU microseconds of the contender per
    request, and the share of its core that the contender was busy (0 to 1)."""

    rate: float
    p50: float
    p99: float
    cpu: float
    busy: float


def run(contender: Contender, seconds: int, session: str = SESSION) -> Sample:
    """One run of the load against a contender.

    :raises RuntimeError: an answer was an error, or there was none.
    """
    before = contender.cpu_seconds()
    url = f"http://127.0.0.1:{contender.port}/shop/basket?item=42&size=m"
    with pinned(LOAD_CORES):
        told = subprocess.run(
            [*command(session), f"-d{seconds}", "--latency", url], capture_output=True, text=True, check=True
        ).stdout
    spent = contender.cpu_seconds() - before
    requests = int(found(r"(\d+) requests in", told))
    if "Non-2xx" in told or "Socket errors" in told or not requests:
        raise RuntimeError(f"{contender.name} answered with errors, or not at all:\n{told}")
    return Sample(
        rate=float(found(r"Requests/sec:\s+([\d.]+)", told)),
        p50=milliseconds(told, "50%"),
        p99=milliseconds(told, "99%"),
        cpu=spent / requests * 1e6,
        busy=spent / seconds,
    )


def command(session: str, more: Sequence[str] = ()) -> list[str]:
    """wrk with a browser's headers."""
    headers = (*HEADERS, f"cookie: theme=dark; session={session}; lang=en", *more)
    return [
        program("wrk"),
        "-t1",
        f"-c{CONNECTIONS}",
        *(part for header in headers for part in ("-H", header)),
    ]


def ratio(ours: list[Sample], theirs: list[Sample], figure: Callable[[Sample], float]) -> float:
    """The median of the ratios within each round: what the neighbours do meets both."""
    return median(figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True))


def require(*programs: str) -> str:
    """What to install so that these programs are there; empty when they all are."""
    missing = [program for program in programs if shutil.which(program, path=SEARCH) is None]
    return (
        f"this benchmark needs {', '.join(missing)}: apt-get install {' '.join(missing)}" if missing else ""
    )


#: Debian keeps servers where an ordinary user's PATH does not look.
SEARCH = ":".join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"))


def program(name: str) -> str:
    """The path of an installed program."""
    at = shutil.which(name, path=SEARCH)
    assert at is not None, name
    return at


def found(pattern: str, told: str) -> str:
    """The first group of the first match.

    :raises RuntimeError: there is none.
    """
    match = re.search(pattern, told)
    if match is None:
        raise RuntimeError(f"wrk did not say {pattern!r}:\n{told}")
    return match[1]


def milliseconds(told: str, percentile: str) -> float:
    """A percentile (`50%`) of wrk's latencies.

    :raises RuntimeError: wrk did not say it.
    """
    match = re.search(rf"\s{percentile}\s+([\d.]+)(us|ms|s|m)\b", told)
    if match is None:
        raise RuntimeError(f"wrk did not say its {percentile}:\n{told}")
    return float(match[1]) * _UNITS[match[2]]
