"""What cleans up after a supervisor that was killed and could not do it itself.

Two nets. The guardian, a shell of about 1 MB in its own session, is told of every process group and kills
them all as soon as its input ends, which is when the supervisor dies, however it dies. The sweep, at the next
start, kills whatever still carries the run directory's mark in its environment: a process that left its
group, or one that outlived supervisor and guardian killed together.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from divertor.runtime.spawn import MARK

# Reads "+ PGID" and "- PGID" lines; at the end of input kills the groups it knows. `kill` is the shell's own.
_SCRIPT = """
trap '' INT TERM HUP QUIT
groups=' '
while read -r change group; do
  case "$change" in
    +) groups="$groups$group " ;;
    -) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
  esac
done
for group in $groups; do kill -9 -"$group" 2>/dev/null; done
exit 0
"""


class Guardian:
    """Kills the groups it was told of when the process that made it is gone.

    It is a second line of defence: when it cannot be started, or was itself killed, supervision goes on
    without it and it is started again with the next change.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def watch(self, group: int) -> None:
        """`group` is to be killed with the supervisor."""
        self._groups.add(group)
        self._tell(f"+ {group}\n")

    def forget(self, group: int) -> None:
        """`group` has ended."""
        if group in self._groups:
            self._groups.discard(group)
            self._tell(f"- {group}\n")

    def close(self) -> None:
        """Lets it end; it kills whatever was not forgotten."""
        if self._process is not None:
            _close_input(self._process)
            self._reap(self._process)

    def _tell(self, line: str) -> None:
        if self._process is not None:
            if _write(self._process, line):
                return
            # Killed before its input is closed: the end of input would make it do its work.
            self._process.kill()
            _close_input(self._process)
            self._reap(self._process)
        self._process = _start_guardian()
        if self._process is not None:
            _write(self._process, "".join(f"+ {group}\n" for group in sorted(self._groups)))

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write(process: subprocess.Popen[bytes], text: str) -> bool:
    """Whether all of `text` went into its input, which never blocks."""
    assert process.stdin is not None
    data = text.encode()
    try:
        return process.stdin.write(data) == len(data)
    except OSError:
        return False


def _close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _start_guardian() -> subprocess.Popen[bytes] | None:
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            env={},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
    except OSError:
        return None
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process


def sweep(mark: str) -> list[int]:
    """Kills every process that carries `mark`, except this one; their ids.

    Only this user's processes can be read, and so be found.
    """
    wanted = f"{MARK}={mark}".encode()
    found = [pid for pid in _processes() if pid != os.getpid() and wanted in _environment(pid)]
    return [pid for pid in found if _kill(pid)]


def _processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
