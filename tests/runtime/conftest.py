"""Real processes for the tests of the runtime: small ones, and ways to wait for what they do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from divertor.runtime.process import ProcessSpec
from divertor.runtime.spawn import MARK

DEADLINE = 10.0


class Eventually(Protocol):
    """Waits until `condition` gives something true, which it returns; fails after the deadline."""

    async def __call__(self, condition: Callable[[], Any]) -> Any: ...


class Program(Protocol):
    """The spec of a Python child with `code`, logging into the test's directory."""

    def __call__(self, name: str, code: str = ..., **fields: Any) -> ProcessSpec: ...


@pytest.fixture
def eventually() -> Eventually:
    async def wait(condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(DEADLINE):
            while True:
                value = condition()
                if isinstance(value, Awaitable):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def make(name: str, code: str = "import time; time.sleep(600)", **fields: Any) -> ProcessSpec:
        values: dict[str, Any] = {"log": str(tmp_path / f"{name}.log"), "stop_grace": 5.0, **fields}
        return ProcessSpec(name, (sys.executable, "-S", "-u", "-c", code), **values)

    return make


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process exists and is no zombie."""

    def check(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZX"

    return check


@pytest.fixture
def carriers() -> Callable[[Path], list[int]]:
    """The ids of the living processes that carry the mark of a run directory."""

    def find(run_dir: Path) -> list[int]:
        wanted = f"{MARK}={run_dir}".encode()
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                try:
                    environment = Path(entry.path, "environ").read_bytes()
                except OSError:
                    continue
                if wanted in environment.split(b"\0"):
                    found.append(int(entry.name))
        return found

    return find


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a command and kills it at the end of the test if it still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """The same as `eventually`, for tests that run no loop."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError("the condition did not come true")
            time.sleep(0.005)
        return value

    return wait
