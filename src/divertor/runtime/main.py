"""`divertor up` after its preparations: the small foreground process that owns a stack and shows its log.

It starts the members in waves, waits until the stack serves, says where everything is, and then prints the
live log until it is asked to stop. It decides nothing about deployments. It imports the standard library
only, so that it stays small for as long as the stack runs.

Run as `python -m divertor.runtime.main STATE FD`, where FD is an open file with the plan; `command_line`
prepares exactly that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divertor.errors import DivertorError, UnavailableError
from divertor.runtime.logs import tail
from divertor.runtime.process import ProcessSpec, ProcessState, ProcessStatus
from divertor.runtime.serving import Gate, Missing, Sources, serving
from divertor.runtime.supervisor import STATIC, Supervisor

#: Seconds between two looks at the live log, and two questions to a stack that does not serve yet.
LOOK = 0.1
#: Seconds the stack may take to serve, once everything is started.
SERVE_TIMEOUT = 90.0
#: An instance that ended so often without its gateway ever serving will not come up.
MAX_ENDS = 3
#: What stands for the applications' addresses in an announcement.
APPS = "@apps@"
#: Bytes of the live log printed at once; a flood is cut, not queued.
MAX_CHUNK = 256 * 1024

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")
_DOWN = frozenset({ProcessState.BACKING_OFF, ProcessState.FAILED})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Waves start one after another, the members of one together.

    `announce` is printed when the stack serves, which `sources` tell: `APPS` in it becomes the gateways'
    addresses (as a JSON list where it is a whole JSON text). From then on `live_log` is followed, unless it
    is empty. `quiet` prints nothing but `announce` and errors.
    """

    waves: tuple[tuple[ProcessSpec, ...], ...]
    sources: Sources | None = None
    announce: str = ""
    live_log: str = ""
    quiet: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "waves": [[spec.to_json() for spec in wave] for wave in self.waves],
            "sources": None if self.sources is None else self.sources.to_json(),
            "announce": self.announce,
            "live_log": self.live_log,
            "quiet": self.quiet,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`.

        :raises ValueError: a process cannot be understood.
        """
        return cls(
            tuple(tuple(ProcessSpec.from_json(item) for item in wave) for wave in data["waves"]),
            None if data["sources"] is None else Sources.from_json(data["sources"]),
            str(data["announce"]),
            str(data["live_log"]),
            bool(data["quiet"]),
        )


def command_line(run_dir: Path, plan: Plan, python: str = sys.executable) -> tuple[list[str], int]:
    """The command that runs `plan`, and the descriptor it must inherit (it is inheritable already).

    To become it: `os.execv(argv[0], argv)`. The descriptor is a file in memory only, because environments
    hold secrets.
    """
    descriptor = os.memfd_create("divertor-plan", 0)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(json.dumps(plan.to_json()).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return [python, "-m", "divertor.runtime.main", str(run_dir), str(descriptor)], descriptor


async def run(run_dir: Path, plan: Plan, say: Callable[[str], None]) -> int:
    """Runs `plan` until SIGINT, SIGTERM or SIGHUP; a second signal kills what still stops.

    The exit code: 0, or 1 with the reason on standard error when the stack did not come up; nothing is left
    running then.
    """
    stop = asyncio.Event()
    tell = (lambda _: None) if plan.quiet else say
    already = _size(plan.live_log)
    try:
        async with Supervisor(run_dir) as supervisor:
            _stop_on_signals(stop, supervisor, tell)
            gates: list[Gate] = []
            if await _unless(stop, _start(supervisor, plan, gates)):
                say(_announcement(plan.announce, gates))
                with _told(supervisor, tell):
                    await _unless(stop, _follow(plan.live_log, already, tell))
    except DivertorError as problem:
        _print_error(f"divertor: {problem}")
        return 1
    tell("Everything is stopped.")
    return 0


async def _start(supervisor: Supervisor, plan: Plan, gates: list[Gate]) -> None:
    for wave in plan.waves:
        # All of a wave are waited for, so that none is being started while the first failure is told.
        results = await asyncio.gather(*map(supervisor.start, wave), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
    if plan.sources is not None:
        gates += await _until_serving(supervisor, plan.sources)


async def _until_serving(supervisor: Supervisor, sources: Sources) -> Sequence[Gate]:
    """:raises UnavailableError: the stack does not serve in time, or what it needs keeps ending."""
    missing = "it to start"
    try:
        async with asyncio.timeout(SERVE_TIMEOUT):
            while True:
                try:
                    return await serving(sources)
                except Missing as waited:
                    missing = waited.what
                _require_life(supervisor)
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise UnavailableError(
            f"the stack does not serve: waited {SERVE_TIMEOUT:g} s for {missing}{_all_tails(supervisor)}"
        ) from None


def _announcement(text: str, gates: Sequence[Gate]) -> str:
    urls = [gate.url for gate in gates]
    return text.replace(json.dumps(APPS), json.dumps(urls)).replace(APPS, ", ".join(urls) or "has no port")


def _require_life(supervisor: Supervisor) -> None:
    """:raises UnavailableError: an instance does not stay up; the message quotes the end of its log."""
    for status in supervisor.status():
        if status.state in _DOWN and status.restarts + 1 >= MAX_ENDS:
            raise UnavailableError(f"{status.name}: {status.error}{_tail(supervisor, status)}")


def _all_tails(supervisor: Supervisor) -> str:
    return "".join(_tail(supervisor, each) for each in supervisor.status() if each.name != "envoy")


def _tail(supervisor: Supervisor, status: ProcessStatus) -> str:
    log = supervisor.log(status.name)
    text = tail(log) if log else ""
    return f"\nThe log {log} ends:\n{text}" if text else ""


def _stop_on_signals(stop: asyncio.Event, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
    def on_signal() -> None:
        if stop.is_set():
            tell("Killing what is left …")
            supervisor.hurry()
        else:
            tell("\nStopping … (again to kill)")
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` leaves it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


async def _unless(stop: asyncio.Event, work: Any) -> bool:
    """Does `work` until `stop`; whether it came to its end. Its errors are raised here."""
    doing = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await doing
            return False
        doing.result()
        return not stop.is_set()
    finally:
        stopped.cancel()


@contextlib.contextmanager
def _told(supervisor: Supervisor, tell: Callable[[str], None]) -> Iterator[None]:
    """Says when a member of the stack itself ended, and when it is back."""
    away: set[str] = set()

    def changed(status: ProcessStatus) -> None:
        if status.group != STATIC:
            return
        now = time.strftime("%H:%M:%S")
        if status.state in _DOWN and status.name not in away:
            away.add(status.name)
            tell(f"{now} {status.name} {status.error}; starting it again")
        elif status.state is ProcessState.RUNNING and status.name in away:
            away.discard(status.name)
            tell(f"{now} {status.name} is back (pid {status.pid})")

    end = supervisor.subscribe(changed)
    try:
        yield
    finally:
        end()


async def _follow(path: str, position: int, tell: Callable[[str], None]) -> None:
    """Prints what the file holds beyond `position` and what is added; it may be cut or replaced."""
    rest = b""
    while True:
        await asyncio.sleep(LOOK)
        size = _size(path)
        if size == position:
            continue
        if size < position:
            position, rest = 0, b""
        data, position = _read(path, max(position, size - MAX_CHUNK))
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            tell(printable(line.decode("utf-8", "replace")))
        rest = rest[-MAX_CHUNK:]


def printable(line: str) -> str:
    """A line of the live log with its colours and nothing else that a terminal would act upon."""
    parts, end = [], 0
    for colour in _COLOUR.finditer(line):
        parts += [_spelt(line[end : colour.start()]), colour.group()]
        end = colour.end()
    return "".join([*parts, _spelt(line[end:])])


def _spelt(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if path else 0
    except OSError:
        return 0


def _read(path: str, position: int) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            file.seek(position)
            data = file.read(MAX_CHUNK)
    except OSError:
        return b"", position
    return data, position + len(data)


def _print(text: str) -> None:
    # The terminal may be gone; the stack must not go with it before it is stopped in order.
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def _print_error(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _read_plan(descriptor: int) -> Plan:
    with os.fdopen(descriptor, "rb") as file:
        return Plan.from_json(json.load(file))


def main(arguments: Sequence[str]) -> int:
    """The foreground process: `RUN_DIR FD`."""
    if len(arguments) != 2 or not arguments[1].isdecimal():
        _print_error("usage: python -m divertor.runtime.main RUN_DIR FD")
        return 2
    try:
        plan = _read_plan(int(arguments[1]))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        _print_error(f"divertor: cannot read what to run: {problem}")
        return 2
    return asyncio.run(run(Path(arguments[0]), plan, _print))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
