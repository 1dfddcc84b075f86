"""How the control plane and a rule worker end: in order, and within a bound whatever they wait for.

The first SIGTERM or SIGINT cancels the work, which then puts everything in order. A second one ends the
process at once, and so does a clock, when something waits for a broker, a store or a receiver that says
nothing: it tells on standard error what was waited for. Nothing that was acknowledged depends on an orderly
end, only how little the next start has to do again. What is to be put in order is the work's own affair.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvloop

from divertor.errors import DivertorError

log = logging.getLogger("divertor")

#: Seconds from the first signal to the end of the process; the supervisor kills after ten.
PATIENCE = 9.0
#: Seconds that threads may still take when the work itself has ended: a delivery that hangs is made again.
LEFT = 1.0
#: Places that are named when something did not end, and bytes written about them: what a pipe takes whole.
_MOST_PLACES = 10
_PIPE = 4096


def run(work: Callable[[], Coroutine[Any, Any, None]], patience: float = PATIENCE) -> int:
    """Runs `work` until it returns or SIGTERM or SIGINT tell it to stop; must be called in the main thread.

    The exit status: 0, everything ended in order; 1, something expected went wrong, and standard error tells.
    Cut short, by a second signal or `patience` seconds after the first, the process ends with 128 + the
    signal's number, as if that had killed it. Threads that `work` left behind are not waited for: they change
    nothing of the exit status. What is not expected is a bug of ours and is raised.
    """
    ending = _Ending(patience)
    try:
        with _handled(ending.told):
            try:
                uvloop.run(ending.watch(work))
            finally:
                ending.over()
    except DivertorError as problem:
        return _refuse([problem])
    except ExceptionGroup as group:
        # What a part meets while all run.
        expected, unexpected = group.split(DivertorError)
        if expected is None or unexpected is not None:
            raise
        return _refuse(expected.exceptions)
    if ending.number:
        log.info("%s: ended in order", signal.Signals(ending.number).name)
    return 0


def leave(status: int) -> NoReturn:
    """Ends the process now: the interpreter's own end would wait for threads, and libraries talk in it."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)


def _refuse(problems: Iterable[Exception]) -> int:
    for problem in problems:
        if isinstance(problem, ExceptionGroup):
            _refuse(problem.exceptions)
        else:
            print(f"divertor: {problem}", file=sys.stderr)
    return 1


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


class _Ending:
    """What is known of the end. The handler is Python's own, not the loop's: a loop that is stuck in one
    callback must not keep the second signal waiting."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._clock: threading.Timer | None = None
        #: The signal that told it to end; 0: none did.
        self.number = 0

    def told(self, number: int, _frame: FrameType | None) -> None:
        """A signal has come."""
        if self.number:
            self._cut(f"{signal.Signals(number).name} came a second time", number)
        self.number = number
        if self._clock is None:
            self._wind_up(self._patience, self._late)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended already
                self._loop.call_soon_threadsafe(self._stop)

    def over(self) -> None:
        """Nothing is left to wait for."""
        if self._clock is not None:
            self._clock.cancel()

    async def watch(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does the work in a task of its own, which alone is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.ensure_future(self._do(work))
        if self.number:
            self._stop()
        await asyncio.wait({self._work})
        if not (self._work.cancelled() and self.number):
            self._work.result()

    async def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            self.over()
            self._wind_up(min(LEFT, self._patience), self._leave)

    def _stop(self) -> None:
        assert self._work is not None
        log.info("%s: ending, within %g s", signal.Signals(self.number).name, self._patience)
        self._work.cancel()

    def _wind_up(self, patience: float, late: Callable[[], None]) -> None:
        self._clock = threading.Timer(patience, late)
        self._clock.daemon = True
        self._clock.start()

    def _late(self) -> None:
        waiting = ""
        with suppress(Exception):  # looked at from outside, while it changes: the end matters more
            waiting = self._waiting()
        self._cut(f"not ended within {self._patience:g} s{waiting}", self.number)

    def _leave(self) -> None:
        """The work has ended; a thread that still waits for somebody, or a task, is left to its fate."""
        work, left = self._work, "without waiting for what was still under way"
        if work is not None and work.done() and not work.cancelled() and (problem := work.exception()):
            _say("ERROR", f"{problem!r}; ended {left}")
            os._exit(1)
        _say(
            "INFO",
            f"{signal.Signals(self.number).name}: ended in order, {left}" if self.number else f"ended {left}",
        )
        os._exit(0)

    def _waiting(self) -> str:
        """What is still being waited for, by place in the code."""
        tasks = () if self._loop is None else asyncio.all_tasks(self._loop)
        places = sorted({_place(task) for task in tasks})[:_MOST_PLACES]
        return f", waiting in {', '.join(places)}" if places else ""

    def _cut(self, why: str, number: int) -> NoReturn:
        _say("ERROR", f"{why}: cut short")
        os._exit(128 + number if number else 1)


def _place(task: asyncio.Task[Any]) -> str:
    """Where the innermost coroutine of a task is."""
    at: Any = task.get_coro()
    while (inner := _first(at, "cr_await", "ag_await", "gi_yieldfrom")) is not None:
        if _first(inner, "cr_frame", "ag_frame", "gi_frame") is None:
            break
        at = inner
    frame = _first(at, "cr_frame", "ag_frame", "gi_frame")
    return "nowhere" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _first(of: Any, *names: str) -> Any:
    found = (getattr(of, name, None) for name in names)
    return next((each for each in found if each is not None), None)


def _say(level: str, text: str) -> None:
    """The last line, past the log, whose lock somebody may hold; left out where nobody takes it."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')},000 {level} divertor: {text}\n".encode("ascii", "replace")
    try:
        if select.select([], [2], [], 0)[1]:
            os.write(2, line[-_PIPE:])
    except OSError:
        return
