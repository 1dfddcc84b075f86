"""The guardian and the sweep, apart from the supervisor they work for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from divertor.runtime.orphans import Guardian, sweep
from divertor.runtime.spawn import MARK

Until: TypeAlias = Callable[[Callable[[], Any]], Any]
Start: TypeAlias = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(launch: Start) -> Start:
    def sleeper(**environment: str) -> subprocess.Popen[bytes]:
        return launch(["sleep", "600"], env={"PATH": "/bin:/usr/bin", **environment}, start_new_session=True)

    return sleeper


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    made = Guardian()
    yield made
    made.close()


def test_the_end_of_its_maker_kills_what_was_not_forgotten(start: Start, guardian: Guardian) -> None:
    kept, forgotten, other = start(), start(), start()
    for process in (kept, forgotten, other):
        guardian.watch(process.pid)
    guardian.forget(forgotten.pid)
    guardian.close()
    assert (kept.wait(5), other.wait(5)) == (-signal.SIGKILL, -signal.SIGKILL)
    assert forgotten.poll() is None


def test_a_killed_guardian_is_replaced_and_knows_everything(start: Start, guardian: Guardian) -> None:
    first, second = start(), start()
    guardian.watch(first.pid)
    killed = guardian.pid
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    guardian.watch(second.pid)
    assert guardian.pid not in (0, killed)
    assert (first.poll(), second.poll()) == (None, None)
    guardian.close()
    assert (first.wait(5), second.wait(5)) == (-signal.SIGKILL, -signal.SIGKILL)


def test_a_guardian_that_hangs_holds_nobody_up(start: Start, guardian: Guardian) -> None:
    guardian.watch(start().pid)
    os.kill(guardian.pid, signal.SIGSTOP)
    guardian.close()
    assert guardian.pid == 0


def test_a_guardian_ignores_what_the_terminal_sends(start: Start, guardian: Guardian, until: Until) -> None:
    """Its shell is in place when it has changed its handling of the signal."""
    guardian.watch(start().pid)
    status = Path(f"/proc/{guardian.pid}/status")

    def ignored() -> int:
        return int(status.read_text().split("SigIgn:")[1].split()[0], 16)

    wanted = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    assert until(lambda: ignored() & wanted == wanted)


def test_the_sweep_kills_only_what_carries_exactly_this_mark(start: Start, tmp_path: Path) -> None:
    mine, similar, plain = start(**{MARK: str(tmp_path)}), start(**{MARK: f"{tmp_path}2"}), start()
    assert sweep(str(tmp_path)) == [mine.pid]
    assert mine.wait(5) == -signal.SIGKILL
    assert (similar.poll(), plain.poll()) == (None, None)
