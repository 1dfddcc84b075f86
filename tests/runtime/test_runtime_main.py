"""The foreground process: real children, a real terminal's signals, a live log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import divertor
from divertor.runtime.main import Plan, command_line, printable
from divertor.runtime.process import ProcessSpec, ReadyCheck, ReadyKind
from divertor.runtime.serving import Sources

Start = Callable[[Plan], subprocess.Popen[str]]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs a plan; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(plan: Plan) -> subprocess.Popen[str]:
        argv, descriptor = command_line(tmp_path / "run", plan)
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(argv, stdout=pipe, stderr=pipe, pass_fds=[descriptor], text=True))
        os.close(descriptor)
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., ProcessSpec]:
    def make(name: str = "child", code: str = "import time; time.sleep(60)") -> ProcessSpec:
        python = (sys.executable, "-c", code)
        return ProcessSpec(name, python, {"PATH": os.environ["PATH"]}, log=str(tmp_path / f"{name}.log"))

    return make


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_it_announces_and_stops_everything_when_asked(
    start: Start, child: Callable[..., ProcessSpec]
) -> None:
    process = start(Plan(((child("a"),), (child("b"), child("c"))), announce="Up."))
    assert line(process) == "Up."
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out == "\nStopping … (again to kill)\nEverything is stopped.\n"


def test_a_second_signal_kills(start: Start, child: Callable[..., ProcessSpec]) -> None:
    process = start(Plan(((child("stubborn", STUBBORN),),), announce="Up."))
    line(process)
    process.send_signal(signal.SIGINT)
    assert [line(process), line(process)] == ["", "Stopping … (again to kill)"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5)[0] == "Killing what is left …\nEverything is stopped.\n"


def test_a_start_that_fails_tells_why_and_leaves_nothing(
    start: Start, child: Callable[..., ProcessSpec], carriers: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    broken = child("broken", "print('no such table'); raise SystemExit(3)")
    process = start(Plan(((child("a"),), (_waits(broken),)), announce="Up."))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("divertor: broken ended with exit code 3; its log") and "no such table" in err
    assert carriers(tmp_path / "run") == []


def test_the_live_log_is_followed_from_the_start(
    start: Start, child: Callable[..., ProcessSpec], tmp_path: Path
) -> None:
    log = tmp_path / "live.log"
    log.write_text("of yesterday\n")
    process = start(Plan(((child(),),), announce="Up.", live_log=str(log)))
    assert line(process) == "Up."
    with log.open("a") as file:
        file.write("now \x1b[1mbold\x1b[0m \x1b[2Jgone\n")
    assert line(process) == "now \x1b[1mbold\x1b[0m \\x1b[2Jgone"


def test_a_live_log_that_was_cut_is_followed_on(
    start: Start, child: Callable[..., ProcessSpec], tmp_path: Path
) -> None:
    log = tmp_path / "live.log"
    log.write_text("a long line of yesterday\n")
    process = start(Plan(((child(),),), announce="Up.", live_log=str(log)))
    line(process)
    log.write_text("short\n")
    assert line(process) == "short"


def test_a_member_that_was_killed_is_told_and_back(start: Start, child: Callable[..., ProcessSpec]) -> None:
    process = start(
        Plan(((child("a", "import os, time; time.sleep(1); os.kill(os.getpid(), 9)"),),), announce="Up.")
    )
    line(process)
    assert "a ended with signal 9 (SIGKILL); starting it again" in line(process)
    assert "a is back (pid" in line(process)


def test_quiet_prints_the_announcement_only(start: Start, child: Callable[..., ProcessSpec]) -> None:
    process = start(Plan(((child(),),), announce="{}", quiet=True))
    assert line(process) == "{}"
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")


def test_a_plan_survives_its_way() -> None:
    spec = ProcessSpec("a", ("x",))
    plan = Plan(((spec,), ()), Sources(1, "token", "/socket", "127.0.0.1"), "Up.", "/log", True)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_wrong_call_is_told() -> None:
    done = subprocess.run([sys.executable, "-m", "divertor.runtime.main"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage:")


@given(st.text())
def test_a_printable_line_steers_no_terminal(text: str) -> None:
    assert printable(text).replace("\x1b[0m", "").isprintable() or "\x1b[" in text


def test_it_imports_the_standard_library_only() -> None:
    program = (
        "import sys; import divertor.runtime.main; "
        "ours = {name for name in sys.modules if name.split('.')[0] not in sys.stdlib_module_names}; "
        "print(sorted({name.split('.')[0] for name in ours} - {'divertor', '__main__'}))"
    )
    # -S: what an installation puts into every interpreter is not this module's.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_sources())}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def _sources() -> list[str]:
    return [str(Path(divertor.__file__).resolve().parents[1])]


def _waits(spec: ProcessSpec) -> ProcessSpec:
    return replace(spec, ready=ReadyCheck(ReadyKind.FILE, path="/nonexistent", timeout=10.0))
