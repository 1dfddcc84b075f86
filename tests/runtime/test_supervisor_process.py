"""The supervisor as its own process: signals, a failed start, and being killed outright."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from divertor.runtime.main import Plan, command_line
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind

if TYPE_CHECKING:
    from .conftest import Program

Launch: TypeAlias = Callable[..., subprocess.Popen[bytes]]
Until: TypeAlias = Callable[[Callable[[], Any]], Any]
Carriers: TypeAlias = Callable[[Path], list[int]]

PARENT = "import os, time\nos.fork()\ntime.sleep(600)"


@pytest.fixture
def supervise(launch: Launch, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def start(*members: ProcessSpec) -> subprocess.Popen[bytes]:
        argv, descriptor = command_line(tmp_path / "run", Plan((members,), announce="all up", quiet=True))
        try:
            return launch(argv, pass_fds=[descriptor], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        finally:
            os.close(descriptor)

    return start


def test_it_announces_when_all_are_ready_and_ends_cleanly_on_sigterm(
    supervise: Launch, program: Program, carriers: Carriers, tmp_path: Path
) -> None:
    process = supervise(program("one"), program("two"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"all up\n"
    assert len(carriers(tmp_path / "run")) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert carriers(tmp_path / "run") == []


def test_killing_it_outright_takes_every_process_with_it(
    supervise: Launch, program: Program, carriers: Carriers, until: Until, tmp_path: Path
) -> None:
    """The children by the kernel's death signal, what they had started by the guardian."""
    process = supervise(program("one"), program("parent", PARENT))
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: len(carriers(tmp_path / "run")) == 3)
    process.kill()
    until(lambda: carriers(tmp_path / "run") == [])


def test_a_failed_start_leaves_nothing_running_and_says_why(
    supervise: Launch, program: Program, carriers: Carriers, tmp_path: Path
) -> None:
    ready = ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "never"))
    bad = program("bad", "print('no such listener'); raise SystemExit(1)", ready=ready)
    process = supervise(program("good"), bad)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, b"")
    assert errors.decode().splitlines()[0].startswith("divertor: bad ended with exit code 1; its log ")
    assert errors.decode().splitlines()[1] == "no such listener"
    assert carriers(tmp_path / "run") == []


def test_a_stop_while_it_starts_is_obeyed(
    supervise: Launch, program: Program, carriers: Carriers, until: Until, tmp_path: Path
) -> None:
    never = ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "never"), timeout=300)
    process = supervise(program("slow", ready=never))
    until(lambda: carriers(tmp_path / "run"))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert carriers(tmp_path / "run") == []


def test_the_next_one_starts_over_what_a_killed_one_left(
    supervise: Launch, program: Program, tmp_path: Path
) -> None:
    first = supervise(program("one"))
    assert first.stdout is not None
    first.stdout.readline()
    first.kill()
    first.wait()
    second = supervise(program("one"))
    assert second.stdout is not None
    assert second.stdout.readline() == b"all up\n"


def test_it_stays_under_30_mb(supervise: Launch, program: Program) -> None:
    process = supervise(program("one"))
    assert process.stdout is not None
    process.stdout.readline()
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    assert resident < 30_000


def test_an_unreadable_plan_is_told() -> None:
    argv = [sys.executable, "-m", "divertor.runtime.main", "run", "99"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "divertor: cannot read what to run: [Errno 9] Bad file descriptor\n"
