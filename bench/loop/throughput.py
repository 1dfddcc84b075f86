"""Requests per second, latency and CPU time per request: Divertor's gateway beside a bare Envoy."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.loop import envoys
from divertor.runtime.ports import pick_port

#: A browser's request: a session cookie among others.
HEADERS = ("cookie: theme=dark; session=0123456789abcdef0123456789abcdef; lang=en", "accept: text/html")
CONNECTIONS = 16
CASES = (
    ("no isolation", None),
    ("0 isolated", 0),
    ("100,000 isolated", 100_000),
    ("1,000,000 isolated", 1_000_000),
)
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: requests per second, milliseconds at p50 and p99, CPU microseconds of Envoy per request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def measure(folder: Path, rounds: int, seconds: int, say: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Every contender once per round, in a new order each time.

    :raises RuntimeError: the load generator is not installed, or an answer was not 200.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("this benchmark needs the load generator wrk (Debian: apt-get install wrk)")
    ports = _ports(6)
    found: dict[str, list[Sample]] = {}
    with ExitStack() as stack:
        stack.enter_context(envoys.running("backend", ports[0], envoys.backend(folder, ports[0])))
        contenders = [
            stack.enter_context(
                envoys.running("bare Envoy", ports[1], envoys.bare(folder, ports[1], ports[0]))
            )
        ]
        cases = (
            ("no isolation", None),
            ("0 isolated", 0),
            ("100,000 isolated", 100_000),
            ("1,000,000 isolated", 1_000_000),
        )
        for port, (name, isolated) in zip(ports[2:], cases, strict=True):
            bootstrap = envoys.divertor(folder / str(port), port, ports[0], isolated)
            contenders.append(stack.enter_context(envoys.running(f"Divertor, {name}", port, bootstrap)))
        for turn in range(rounds):
            say(f"throughput: round {turn + 1} of {rounds}")
            for contender in random.sample(contenders, len(contenders)):
                found.setdefault(contender.name, []).append(_run(contender, seconds))
    return {contender.name: found[contender.name] for contender in contenders}


def ratio(ours: list[Sample], theirs: list[Sample], figure: Callable[[Sample], float]) -> float:
    """The median of the ratios within each round: what the neighbours do meets both."""
    return median(figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True))


def _run(contender: envoys.Contender, seconds: int) -> Sample:
    before = _cpu_seconds(contender.process.pid)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency"]
    argv += [part for header in HEADERS for part in ("-H", header)]
    told = subprocess.run(
        [*argv, f"http://127.0.0.1:{contender.port}/shop"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in told:
        raise RuntimeError(f"{contender.name} answered with errors:\n{told}")
    requests = int(_found(r"(\d+) requests in", told))
    return Sample(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", told)),
        p50=_milliseconds(told, "50%"),
        p99=_milliseconds(told, "99%"),
        cpu=(_cpu_seconds(contender.process.pid) - before) / requests * 1e6,
    )


def _milliseconds(told: str, percentile: str) -> float:
    match = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", told)
    assert match is not None, told
    return float(match[1]) * _UNITS[match[2]]


def _found(pattern: str, told: str) -> str:
    match = re.search(pattern, told)
    assert match is not None, told
    return match[1]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ports(count: int) -> list[int]:
    ports: list[int] = []
    for _ in range(count):
        ports.append(pick_port(ports))
    return ports
