"""The apps under real servers: started together, loaded in rounds whose order is shuffled, ended."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.contenders import LOAD_CORES, Contender, new_port, pinned, running
from bench.sensor import browser
from bench.sensor.variants import SERVERS, Variant, command, environment

CONNECTIONS = 4
#: Server, variant and route.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: requests per second, milliseconds at p50 and p99, CPU microseconds of all processes per
    request.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One server that runs under one sensor."""

    server: str
    variant: Variant
    contender: Contender


@contextmanager
def serving(
    folder: Path, variants: Sequence[Variant], python: Path, services: str, taken: set[int]
) -> Iterator[list[Entry]]:
    """Every server under every sensor, on the last core."""
    with ExitStack() as stack:
        entries = []
        for server, arguments in SERVERS.items():
            for variant in variants:
                port = new_port(taken)
                argv = command(
                    variant, python, tuple(each.replace("{port}", str(port)) for each in arguments)
                )
                log = folder / f"{server.partition(',')[0]}-{variant.name}.log"
                name = f"{server}, {variant.title}"
                started = running(name, port, argv, environment(variant, services), log=log)
                entries.append(Entry(server, variant, stack.enter_context(started)))
        yield entries


def measure(
    folder: Path, entries: Sequence[Entry], rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[dict[Key, list[Sample]], dict[tuple[str, str], float]]:
    """Runs of each server, sensor and route; the order is another one in each round. And the memory of each
    server under each sensor, in MB, when it has served honest requests only.
    """
    scripts = {route: folder / f"{route}.lua" for route in browser.ROUTES}
    for route, path in scripts.items():
        path.write_text(browser.script(route))
    samples: dict[Key, list[Sample]] = {}
    order = [(entry, route) for entry in entries for route in scripts]
    for entry, route in order:
        if route != browser.ATTACK:
            _run(entry.contender, scripts[route], 1)
    memory = footprint(entries)
    for turn in range(rounds):
        random.shuffle(order)
        for at, (entry, route) in enumerate(order):
            say(f"round {turn + 1} of {rounds}, {at + 1} of {len(order)}: {entry.contender.name}, {route}")
            key = (entry.server, entry.variant.name, route)
            samples.setdefault(key, []).append(_run(entry.contender, scripts[route], seconds))
    return samples, memory


def footprint(entries: Sequence[Entry]) -> dict[tuple[str, str], float]:
    """The memory of each server under each sensor, all its processes together, in MB."""
    return {(entry.server, entry.variant.name): entry.contender.memory() for entry in entries}


def _run(contender: Contender, script: Path, seconds: int) -> Sample:
    headers = [f"{name}: {value}" for name, value in browser.HEADERS.items()]
    argv = [load.program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", str(script)]
    for header in [*headers, f"cookie: {browser.COOKIE}"]:
        argv += ["-H", header]
    before = contender.cpu_seconds()
    with pinned(LOAD_CORES):
        told = subprocess.run(
            [*argv, f"http://127.0.0.1:{contender.port}/"], capture_output=True, text=True, check=True
        ).stdout
    spent = contender.cpu_seconds() - before
    requests = int(load.found(r"(\d+) requests in", told))
    if "Non-2xx" in told or not requests:
        raise RuntimeError(f"{contender.name} answered with errors, or not at all:\n{told}")
    return Sample(
        rate=float(load.found(r"Requests/sec:\s+([\d.]+)", told)),
        p50=load.milliseconds(told, "50%"),
        p99=load.milliseconds(told, "99%"),
        cpu=spent / requests * 1e6,
    )
