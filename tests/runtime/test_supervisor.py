"""The supervisor with real processes: what runs goes on running, what is stopped is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from divertor.errors import ConflictError, NotFoundError, UnavailableError
from divertor.runtime import child, ports, supervisor
from divertor.runtime.process import (
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    ReadyCheck,
    ReadyKind,
    RestartPolicy,
)
from divertor.runtime.spawn import Running
from divertor.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from .conftest import Eventually, Program

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
#: Starts a process of its own and prints that one's id.
PARENT = "import os, time\nchild = os.fork()\nif child: print(child)\ntime.sleep(600)"


def _one(states: list[ProcessStatus], name: str) -> ProcessStatus:
    return next(status for status in states if status.name == name)


def _printed_pid(log: str) -> int:
    text = Path(log).read_text() if os.path.exists(log) else ""
    return int(text) if text.endswith("\n") else 0


def test_a_member_is_started_when_its_port_accepts(tmp_path: Path, program: Program) -> None:
    port = ports.pick_port(low=21000 + os.getpid() % 5000)
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"

    async def scenario() -> ProcessState:
        async with Supervisor(tmp_path / "run") as owner:
            ready = ReadyCheck(ReadyKind.TCP, port=port)
            status = await owner.start(program("server", code, ready=ready, listens=(port,)))
            socket.create_connection(("127.0.0.1", port)).close()
            return status.state

    assert asyncio.run(scenario()) is ProcessState.RUNNING


def test_a_killed_process_is_running_again_at_once(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    async def scenario() -> tuple[float, list[ProcessState], ProcessStatus]:
        seen: list[ProcessStatus] = []
        async with Supervisor(tmp_path / "run") as owner:
            first = await owner.start(program("member"))
            owner.subscribe(seen.append)
            killed = time.monotonic()
            os.kill(first.pid, signal.SIGKILL)
            again = await eventually(lambda: next((s for s in seen if s.restarts == 1), None))
            took = time.monotonic() - killed
            return took, [status.state for status in seen], again

    took, states, again = asyncio.run(scenario())
    assert states == [ProcessState.BACKING_OFF, ProcessState.RUNNING]
    assert again.exit_signal == signal.SIGKILL
    assert took < 1.0  # measured: under 0.02 on two idle cores


def test_the_files_of_a_process_are_as_private_as_its_spec_says(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    made = tmp_path / "made"
    code = f"import os, time; os.close(os.open({str(made)!r}, os.O_CREAT, 0o644)); time.sleep(600)"

    async def scenario() -> int:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("g", [replace(program("writer", code), umask=0o077)])
            await eventually(made.exists)
            return made.stat().st_mode & 0o777

    assert asyncio.run(scenario()) == 0o600


def test_one_that_keeps_ending_backs_off(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    async def scenario() -> ProcessStatus:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [program("short", "raise SystemExit(3)")])
            await eventually(lambda: owner.status()[0].restarts >= 2)
            await eventually(lambda: owner.status()[0].state is ProcessState.BACKING_OFF)
            return owner.status()[0]

    status = asyncio.run(scenario())
    assert (status.exit_code, status.error) == (3, "ended with exit code 3")
    assert status.next_retry is not None


def test_applying_the_same_again_leaves_it_alone(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    async def scenario() -> tuple[int, int]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [program("a")])
            first = await eventually(lambda: owner.status()[0].pid)
            await owner.apply("apps", [program("a")])
            await asyncio.sleep(0)
            return first, owner.status()[0].pid

    first, second = asyncio.run(scenario())
    assert first == second


def test_applying_a_changed_spec_replaces_the_process(
    tmp_path: Path, program: Program, eventually: Eventually, alive: Callable[[int], bool]
) -> None:
    async def scenario() -> tuple[int, int]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [program("a")])
            first = await eventually(lambda: owner.status()[0].pid)
            await owner.apply("apps", [replace(program("a"), env={"CHANGED": "1"})])
            return first, await eventually(lambda: owner.status()[0].pid not in (0, first) and first)

    first, _ = asyncio.run(scenario())
    assert not alive(first)


def test_applying_without_it_stops_it(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    async def scenario() -> list[str]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [program("a"), program("b")])
            await eventually(lambda: all(status.pid for status in owner.status()))
            await owner.apply("apps", [program("b")])
            await eventually(lambda: len(owner.status()) == 1)
            return [status.name for status in owner.status()]

    assert asyncio.run(scenario()) == ["b"]


def test_one_that_comes_back_while_it_stops_runs_again(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    spec = program("a", STUBBORN, stop_grace=0.2)

    async def scenario() -> bool:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [spec])
            first = await eventually(lambda: owner.status()[0].pid)
            await owner.apply("apps", [])
            await owner.apply("apps", [spec])
            return bool(await eventually(lambda: owner.status()[0].pid not in (0, first)))

    assert asyncio.run(scenario())


def test_a_stubborn_process_is_killed_after_its_grace(
    tmp_path: Path, program: Program, eventually: Eventually, alive: Callable[[int], bool]
) -> None:
    spec = program("stubborn", STUBBORN, stop_grace=0.3)

    async def scenario() -> tuple[int, float]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [spec])
            await eventually(lambda: os.path.exists(spec.log) and Path(spec.log).read_text())
            pid = owner.status()[0].pid
            asked = time.monotonic()
            await owner.stop_all()
            return pid, time.monotonic() - asked

    pid, took = asyncio.run(scenario())
    assert not alive(pid)
    assert took >= 0.3


def test_hurry_kills_without_the_grace(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    spec = program("stubborn", STUBBORN, stop_grace=60.0)

    async def scenario() -> float:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [spec])
            await eventually(lambda: os.path.exists(spec.log) and Path(spec.log).read_text())
            asked = time.monotonic()
            stopping = asyncio.create_task(owner.stop_all())
            owner.hurry()
            await stopping
            return time.monotonic() - asked

    assert asyncio.run(scenario()) < 5.0


def test_stopping_leaves_no_process(
    tmp_path: Path, program: Program, eventually: Eventually, carriers: Callable[[Path], list[int]]
) -> None:
    async def scenario() -> int:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(program("member"))
            parent = program("parent", PARENT)
            await owner.apply("apps", [parent, program("other")])
            await eventually(lambda: _printed_pid(parent.log))
            return len(carriers(tmp_path / "run"))

    assert asyncio.run(scenario()) == 4
    assert carriers(tmp_path / "run") == []


def test_what_a_killed_process_had_started_dies_with_it(
    tmp_path: Path, program: Program, eventually: Eventually, alive: Callable[[int], bool]
) -> None:
    spec = program("parent", PARENT)

    async def scenario() -> bool:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.apply("apps", [spec])
            grandchild = await eventually(lambda: _printed_pid(spec.log))
            os.kill(owner.status()[0].pid, signal.SIGKILL)
            return bool(await eventually(lambda: not alive(grandchild)))

    assert asyncio.run(scenario())


def test_a_member_that_ends_before_it_is_ready_is_an_error_with_the_end_of_its_log(
    tmp_path: Path, program: Program, carriers: Callable[[Path], list[int]]
) -> None:
    ready = ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "never"))
    spec = program("bad", "print('config.yaml:3: unknown key'); raise SystemExit(2)", ready=ready)

    async def scenario() -> str:
        async with Supervisor(tmp_path / "run") as owner:
            with pytest.raises(UnavailableError) as problem:
                await owner.start(spec)
            assert owner.status() == []
            return str(problem.value)

    assert asyncio.run(scenario()) == (
        f"bad ended with exit code 2; its log {spec.log} ends:\nconfig.yaml:3: unknown key"
    )


def test_a_member_that_is_never_ready_is_killed_and_an_error(tmp_path: Path, program: Program) -> None:
    ready = ReadyCheck(ReadyKind.FILE, path=str(tmp_path / "never"), timeout=0.2)

    async def scenario() -> str:
        async with Supervisor(tmp_path / "run") as owner:
            with pytest.raises(UnavailableError) as problem:
                await owner.start(program("slow", ready=ready))
            return str(problem.value)

    assert asyncio.run(scenario()).startswith(f"slow not ready within 0.2 s: {tmp_path}/never exists did not")


def test_a_missing_binary_is_an_error_that_names_it(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with Supervisor(tmp_path / "run") as owner:
            with pytest.raises(UnavailableError) as problem:
                await owner.start(ProcessSpec("envoy", ("/nowhere/envoy",)))
            return str(problem.value)

    assert asyncio.run(scenario()) == (
        "envoy: cannot run /nowhere/envoy: No such file or directory: /nowhere/envoy"
    )


def test_a_port_in_use_is_an_error_that_names_the_holder(tmp_path: Path, program: Program) -> None:
    async def scenario() -> str:
        async with Supervisor(tmp_path / "run") as owner:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(ConflictError) as problem:
                    await owner.start(program("server", listens=(port,)))
            return str(problem.value).replace(str(port), "PORT")

    message = asyncio.run(scenario())
    assert message.startswith("port PORT on 127.0.0.1 is in use by ")
    assert message.endswith(f"(pid {os.getpid()})")


def test_an_instance_that_cannot_be_executed_is_failed_and_tried_again(
    tmp_path: Path, program: Program, eventually: Eventually
) -> None:
    directory = tmp_path / "later"
    fast = RestartPolicy(initial=0.05, maximum=0.05)

    async def scenario() -> list[ProcessState]:
        seen: list[ProcessStatus] = []
        async with Supervisor(tmp_path / "run") as owner:
            owner.subscribe(seen.append)
            await owner.apply("apps", [program("late", cwd=str(directory), restart=fast)])
            await eventually(lambda: seen)
            directory.mkdir()
            await eventually(lambda: seen[-1].state is ProcessState.RUNNING)
        return [seen[0].state]

    assert asyncio.run(scenario()) == [ProcessState.FAILED]


def test_a_fault_of_the_supervisor_does_not_end_the_supervision(
    tmp_path: Path, program: Program, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_spec: ProcessSpec, _mark: str) -> Running:
        raise RuntimeError("a bug")

    async def scenario() -> str:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: faults.append(context["message"])
        )
        async with Supervisor(tmp_path / "run") as owner:
            with monkeypatch.context() as patch:
                patch.setattr(child, "spawn", broken)
                await owner.apply("apps", [program("a", restart=RestartPolicy(0.05, 0.05))])
                await eventually(lambda: owner.status()[0].state is ProcessState.FAILED)
            error = owner.status()[0].error
            await eventually(lambda: owner.status()[0].state is ProcessState.RUNNING)
        assert faults[0] == "the supervision of a failed"
        return error

    assert asyncio.run(scenario()) == "a: the supervisor failed: RuntimeError('a bug')"


def test_restart_gives_a_new_process(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    async def scenario() -> bool:
        async with Supervisor(tmp_path / "run") as owner:
            first = await owner.start(program("member"))
            owner.restart("member")
            return bool(await eventually(lambda: owner.status()[0].pid not in (0, first.pid)))

    assert asyncio.run(scenario())


def test_a_signal_reaches_the_process(tmp_path: Path, program: Program, eventually: Eventually) -> None:
    handler = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: print('got it')); print('up')"
    spec = program("listener", handler + "\nwhile True: time.sleep(600)")

    async def scenario() -> bool:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(spec)
            await eventually(lambda: "up" in Path(spec.log).read_text())
            owner.signal("listener", signal.SIGUSR1)
            return bool(await eventually(lambda: "got it" in Path(spec.log).read_text()))

    assert asyncio.run(scenario())


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Supervisor(tmp_path / "run") as owner:
            with pytest.raises(NotFoundError, match="no process named ghost"):
                owner.restart("ghost")

    asyncio.run(scenario())


def test_the_stacks_own_group_cannot_be_replaced(tmp_path: Path, program: Program) -> None:
    async def scenario() -> list[str]:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(program("nats"))
            for group, specs in (("static", []), ("apps", [program("nats")])):
                with pytest.raises(ConflictError):
                    await owner.apply(group, specs)
            return [status.name for status in owner.status()]

    assert asyncio.run(scenario()) == ["nats"]


def test_a_second_supervisor_of_a_directory_is_refused(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with Supervisor(tmp_path / "run"):
            with pytest.raises(ConflictError) as problem:
                await Supervisor(tmp_path / "run").__aenter__()
            return str(problem.value)

    assert asyncio.run(scenario()) == (
        f"another supervisor (pid {os.getpid()}) already runs in {tmp_path / 'run'}"
    )


def test_an_unusable_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scenario() -> None:
        with pytest.raises(
            UnavailableError, match="cannot use the run directory .*/file/run: Not a directory"
        ):
            await Supervisor(tmp_path / "file" / "run").__aenter__()

    asyncio.run(scenario())


def test_a_stray_of_an_earlier_run_is_swept_away(
    tmp_path: Path, program: Program, eventually: Eventually, carriers: Callable[[Path], list[int]]
) -> None:
    """One that left its session, which no group signal reaches."""
    escapee = program("escapee", "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(600)")

    async def scenario() -> None:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(escapee)
            await eventually(lambda: len(carriers(tmp_path / "run")) == 2)

    asyncio.run(scenario())
    assert carriers(tmp_path / "run") == []


def test_a_log_stays_bounded_while_the_process_runs(
    tmp_path: Path, program: Program, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_CHECK", 0.02)
    spec = program(
        "chatty", "import time\nwhile True: print('x' * 1000); time.sleep(0.001)", log_limit=20_000
    )

    async def scenario() -> None:
        async with Supervisor(tmp_path / "run") as owner:
            await owner.start(spec)
            await eventually(lambda: os.path.exists(spec.log + ".1"))

    asyncio.run(scenario())
    assert os.path.getsize(spec.log + ".1") == 20_000


def test_the_supervisor_imports_nothing_but_the_standard_library_and_itself() -> None:
    import subprocess

    script = (
        "import sys; before = set(sys.modules); import divertor.runtime.supervisor; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"divertor"}
