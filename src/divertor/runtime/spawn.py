"""Starting one operating-system process so that it can be watched, stopped whole, and never outlives its
starter.

Each process leads its own session and process group, so a signal reaches what it started as well, and Ctrl-C
in the terminal reaches only the supervisor. It asks the kernel for SIGKILL when its starter dies. Nothing
here decides when to start or stop anything. Must be called from the main thread of a single-threaded process:
the kernel ties the death signal to the thread that forked, and code runs between fork and exec.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys

from divertor.errors import UnavailableError
from divertor.runtime.logs import open_log
from divertor.runtime.process import ProcessSpec

#: The environment variable that every process started here carries: the run directory it belongs to.
MARK = "DIVERTOR_SUPERVISOR"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Running:
    """A process that was started. `exited` resolves, after its whole group was killed and it was reaped, to
    its return code: an exit code, or a signal's number negated.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(process.pid)
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        """Sends `number` to the process alone; nothing once it ended."""
        if not self.exited.done():
            signal.pidfd_send_signal(self._pidfd, number)

    def signal_group(self, number: int) -> None:
        """Sends `number` to the process and everything it started in its group; nothing once it ended."""
        if not self.exited.done():
            _signal_group(self.pid, number)

    def kill_now(self) -> None:
        """Kills the group and waits for the end without yielding; for the last moment of a supervisor."""
        if not self.exited.done():
            _signal_group(self.pid, signal.SIGKILL)
            self._process.wait()
            self._reap()

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The dead leader still holds its number, so the group's number cannot be anybody else's yet.
        _signal_group(self.pid, signal.SIGKILL)
        code = self._process.wait()
        if not self.exited.done():
            self.exited.set_result(code)


def spawn(spec: ProcessSpec, mark: str) -> Running:
    """Executes `spec` with `mark` in its environment.

    :raises UnavailableError: it cannot be executed, or its log cannot be opened.
    """
    try:
        log = open_log(spec.log) if spec.log else os.dup(1)
    except OSError as problem:
        raise UnavailableError(
            f"{spec.name}: cannot open the log {spec.log}: {problem.strerror}"
        ) from problem
    parent = os.getpid()
    try:
        process = subprocess.Popen(
            spec.argv,
            env={**spec.env, MARK: mark},
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if spec.log else None,
            start_new_session=True,
            umask=spec.umask,
            preexec_fn=lambda: die_with(parent),
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise UnavailableError(f"{spec.name}: cannot run {spec.argv[0]}: {_reason(problem)}") from problem
    finally:
        os.close(log)
    try:
        return Running(process)
    except OSError as problem:
        process.kill()
        process.wait()
        raise UnavailableError(f"{spec.name}: cannot watch it: {problem.strerror}") from problem


def group_is_empty(pgid: int) -> bool:
    """Whether no living process of the group is left; the dead that nobody has reaped yet do not count."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    with os.scandir("/proc") as entries:
        return not any(_lives_in_group(entry.path, pgid) for entry in entries if entry.name.isdecimal())


def _lives_in_group(directory: str, pgid: int) -> bool:
    try:
        with open(f"{directory}/stat") as file:
            state, _parent, group = file.read().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(group) == pgid and state not in "ZX"


def die_with(parent: int) -> None:
    """The calling process is killed when `parent`, which forked it, dies; called in the child."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the starter died before the request was in place


def _signal_group(pgid: int, number: int) -> None:
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        # Gone, or it changed its user: then only its leader's own end can be awaited.
        return


def _reason(problem: OSError | subprocess.SubprocessError) -> str:
    if not isinstance(problem, OSError):
        return str(problem)
    return f"{problem.strerror}: {problem.filename}" if problem.filename else str(problem.strerror)


if not sys.platform.startswith("linux"):
    raise ImportError("processes are supervised through pidfd and prctl, which only Linux has")
