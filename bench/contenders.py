"""Gateways as processes of a benchmark: started on a core of their own, asked, measured, ended.

Who is started and with which configuration is the benchmarks' business. A contender may be several processes
(nginx has a master and a worker): CPU time and memory are those of all of them. With two cores or more the
contender has the last one to itself, and the backend and the load generator share the first: otherwise the
scheduler's choices would be most of the noise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from divertor.runtime.ports import pick_port

#: Seconds a contender may take to serve: a million keys in a configuration file have to be read.
START = 120.0
#: The cores this benchmark may use.
CORES = sorted(os.sched_getaffinity(0))
#: Where the contender runs; the load generator and the backend run on `LOAD_CORES`.
CORE = CORES[-1:]
LOAD_CORES = CORES[:1]
_PAGE_KB = 1024


@dataclass(frozen=True, slots=True)
class Contender:
    """One gateway that runs: its name in the table, its port, its main process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """The main process and all below it."""
        return _family(self.process.pid)

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads; in steps of 10 ms."""
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def memory(self, without: Path | None = None) -> float:
        """Its memory in MB: pages that several of its processes share count once. `without` is a file whose
        mapped pages are left out, because they are the file's."""
        return sum(_proportional_kb(pid, without) for pid in self.pids) / _PAGE_KB


@contextmanager
def running(
    name: str,
    port: int,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cores: Sequence[int] = (),
    log: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[Contender]:
    """A process that serves HTTP on `port`, until the block is left; then it gets the signal `stop`. Its
    output goes to `log`.

    :raises RuntimeError: it ends, or does not serve in time; the message has the end of its log.
    """
    target = log or Path(os.devnull)
    with target.open("ab") as output, pinned(cores or CORE):
        process = subprocess.Popen(
            argv, env={**os.environ, **(environment or {})}, stdout=output, stderr=output
        )
    contender = Contender(name, port, process)
    try:
        _wait(contender, target)
        yield contender
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Whatever is started in this block runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def new_port(taken: set[int]) -> int:
    """A free port that nobody else of this run was given."""
    port = pick_port(taken)
    taken.add(port)
    return port


def _wait(contender: Contender, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and contender.process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{contender.port}/", timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    said = log.read_text(errors="replace")[-2000:] if log.is_file() else ""
    raise RuntimeError(f"{contender.name}: nothing serves on port {contender.port}\n{said}")


def _family(pid: int) -> list[int]:
    """A process and its children, theirs and so on; a thread's children are listed under the thread."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for each in lists for child in _read(each).split()]
    return [pid, *(found for child in children for found in _family(child))]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _proportional_kb(pid: int, without: Path | None) -> int:
    """Proportional set size: a page that n processes map counts as 1/n in each."""
    total, counted = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            counted = without is None or str(without) not in line
        elif counted and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total
