"""From the decision to the effect: how soon after a key is written a request of that session is diverted.

A client asks over one connection that it keeps, again and again, until the audited version answers. The time
runs from before the write to the end of that answer, so it has one whole request in it. For Divertor the
write is the agent's (`TableSink.put`); for HAProxy `add map` over its admin socket, in a session that is kept
open; for nginx a line in a file and a reload, with a new connection for each request, because a worker keeps
its configuration as long as it has connections.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

from bench.contenders import LOAD_CORES, pinned
from bench.gateway.lineup import COOKIE, SCOPE, SECRET, Entry, session
from bench.gateway.throughput import served_by
from divertor.gateway.sink import TableSink
from divertor.model.isolation import Isolation

#: The first session that is isolated here; those before are in the tables from the start.
FIRST = 100_000_000
#: Times that nginx is reloaded: it takes seconds.
RELOADS = 3
#: Entries that HAProxy is asked to change in place.
CHANGES = 10
_DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Reaction:
    """Sorted milliseconds from the write to a diverted answer, those of the write alone, and how many
    requests in all were still let through after the write."""

    effect: list[float]
    write: list[float]
    missed: int

    def row(self) -> dict[str, float]:
        return {
            "n": len(self.effect),
            "p50_ms": percentile(self.effect, 50),
            "p99_ms": percentile(self.effect, 99),
            "max_ms": round(self.effect[-1], 3),
            "write_p50_ms": percentile(self.write, 50),
            "missed": self.missed,
        }


def divertor(entry: Entry, times: int) -> Reaction:
    """The agent's own way into the table that Envoy reads."""
    sink = TableSink(entry.layout, SECRET, lambda: datetime.now(UTC))
    with closing(sink), pinned(LOAD_CORES):
        return _measured(entry.contender.port, times, lambda value: sink.put(isolation(value)))


def haproxy(entry: Entry, times: int) -> Reaction:
    """`add map` on the admin socket."""
    with closing(_Console(entry.folder / "admin.sock")) as console, pinned(LOAD_CORES):
        return _measured(
            entry.contender.port,
            times,
            lambda value: console.say(f"add map {entry.folder / 'sessions.map'} {value} 1"),
        )


def haproxy_change(entry: Entry) -> list[float]:
    """Milliseconds of `set map` for entries that are there: HAProxy searches its list for them."""
    assert entry.isolated is not None
    found = []
    with closing(_Console(entry.folder / "admin.sock")) as console, pinned(LOAD_CORES):
        for turn in range(min(CHANGES, entry.isolated)):
            value = session(turn * entry.isolated // CHANGES)
            start = time.perf_counter()
            console.say(f"set map {entry.folder / 'sessions.map'} {value} 2")
            found.append((time.perf_counter() - start) * 1e3)
    return sorted(found)


def nginx(entry: Entry) -> list[float]:
    """Milliseconds from a reload to the first diverted answer."""
    found = []
    for number in range(FIRST, FIRST + RELOADS):
        value, start = session(number), time.perf_counter()
        with (entry.folder / "sessions.map").open("a") as file:
            file.write(f"{value} 1;\n")
        os.kill(entry.contender.process.pid, signal.SIGHUP)
        while served_by(entry.contender.port, value) != "audited":
            if time.perf_counter() > start + _DEADLINE:
                raise RuntimeError("nginx does not divert after a reload")
            time.sleep(0.002)
        found.append((time.perf_counter() - start) * 1e3)
    return sorted(found)


def isolation(value: str) -> Isolation:
    """The record of one isolated session."""
    now = datetime.now(UTC)
    return Isolation(value[:12], SCOPE, COOKIE, value, "audited", now, None, "bench", "measured")


def percentile(values: list[float], which: int) -> float:
    """A percentile in the values' unit, three digits behind the point."""
    return round(quantiles(values, n=100, method="inclusive")[which - 1], 3)


def _measured(port: int, times: int, write: Callable[[str], object]) -> Reaction:
    effect, writing, missed = [], [], 0
    with closing(_Client(port)) as client:
        for number in range(FIRST, FIRST + times):
            value = session(number)
            if client.served_by(value) != "newest":
                raise RuntimeError("a session was isolated before it was")
            start = time.perf_counter()
            write(value)
            writing.append((time.perf_counter() - start) * 1e3)
            while client.served_by(value) != "audited":
                missed += 1
                if time.perf_counter() > start + _DEADLINE:
                    raise RuntimeError("an isolation does not come into effect")
            effect.append((time.perf_counter() - start) * 1e3)
    return Reaction(sorted(effect), sorted(writing), missed)


class _Client:
    """A browser with one connection; its session is another in each request."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def served_by(self, value: str) -> str | None:
        self._connection.request("GET", "/shop", headers={"cookie": f"session={value}; theme=dark"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.getheader("served-by")

    def close(self) -> None:
        self._connection.close()


class _Console:
    """HAProxy's admin socket, kept open: one command after the other."""

    _PROMPT = b"\n> "

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_DEADLINE)
        self._socket.connect(str(path))
        self.say("prompt")

    def say(self, command: str) -> str:
        self._socket.sendall(command.encode() + b"\n")
        told = b""
        while not told.endswith(self._PROMPT):
            part = self._socket.recv(4096)
            if not part:
                raise RuntimeError(f"HAProxy hung up after {command!r}: {told!r}")
            told += part
        answer = told.removesuffix(self._PROMPT).decode().strip()
        if answer:
            raise RuntimeError(f"HAProxy answered {command!r} with {answer!r}")
        return answer

    def close(self) -> None:
        self._socket.close()
