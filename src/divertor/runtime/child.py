"""One supervised process as an actor: a task that alone starts, watches, restarts and stops it.

Others say what they want (`want`, `restart`, `retire`) and read `status`; the task does it. The rules of
restarting are `RestartTracker`'s; this module performs them. It must run in the main thread's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from divertor.errors import DivertorError, UnavailableError
from divertor.runtime.logs import tail
from divertor.runtime.orphans import Guardian
from divertor.runtime.ports import require_free
from divertor.runtime.process import ProcessSpec, ProcessState, ProcessStatus, RestartTracker
from divertor.runtime.ready import wait_ready
from divertor.runtime.spawn import Running, group_is_empty, spawn

#: How long, in seconds, the rest of a killed group may take to vanish before its successor is started anyway.
_GROUP_END = 0.5


@dataclass(frozen=True, slots=True)
class World:
    """What a child needs from around it: clocks (seconds), guardian, mark, whom to tell, and haste."""

    steady: Callable[[], float]
    wall: Callable[[], float]
    guardian: Guardian
    mark: str
    changed: Callable[[ProcessStatus], None]
    hurry: asyncio.Event


class Child:
    """A process that is kept running until it is retired.

    With `must_start`, a first run that ends or cannot begin before it is ready is final: `first_ready` raises
    `UnavailableError` or `ConflictError` and nothing is tried again. Otherwise `first_ready` resolves
    whenever it first is ready.
    """

    def __init__(self, spec: ProcessSpec, group: str, world: World, *, must_start: bool = False) -> None:
        self.name = spec.name
        self.group = group
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._spec: ProcessSpec | None = spec
        self._world = world
        self._must_start = must_start
        self._tracker = RestartTracker(spec.restart)
        self._interrupt = asyncio.Event()
        self._running: Running | None = None
        self.status = ProcessStatus(spec.name, group, ProcessState.STARTING, listens=spec.listens)
        self.log = spec.log
        self.log_limit = spec.log_limit

    def want(self, spec: ProcessSpec) -> None:
        """`spec` is what should run; equal to what runs already, nothing happens."""
        if spec != self._spec:
            self._spec = spec
            self._interrupt.set()

    def restart(self) -> None:
        """Stop it and start it again; start it now when it waits to be retried."""
        self._interrupt.set()

    def retire(self) -> None:
        """Stop it for good; the task ends when it is gone."""
        self._spec = None
        self._interrupt.set()

    @property
    def is_retired(self) -> bool:
        return self._spec is None

    def signal(self, number: int) -> bool:
        """Sends `number` to the process itself; False when none runs."""
        if self._running is None:
            return False
        self._running.signal(number)
        return True

    async def run(self) -> None:
        """The task: returns when the process was retired and is gone; a cancellation kills it."""
        try:
            while (spec := self._spec) is not None:
                self._interrupt.clear()
                try:
                    await self._live(spec)
                except Exception as bug:
                    await self._survive(bug)
        finally:
            self._abandon()
            self._tell(self._tracker.stopped(), pid=0, started=None)
            if not self.first_ready.done():
                self.first_ready.cancel()

    async def _survive(self, bug: Exception) -> None:
        """A fault of ours ends this run and is told, but does not end the supervision of the process."""
        self._abandon()
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"the supervision of {self.name} failed", "exception": bug}
        )
        error = UnavailableError(f"{self.name}: the supervisor failed: {bug!r}")
        await self._after_refusal(error)

    async def _live(self, spec: ProcessSpec) -> None:
        """One run: from the start to the moment the next one may begin."""
        self._tracker = replace(self._tracker, policy=spec.restart)
        self.status = replace(self.status, listens=spec.listens)
        self.log, self.log_limit = spec.log, spec.log_limit
        try:
            self._start(spec)
        except DivertorError as problem:
            await self._after_refusal(problem)
            return
        running = self._running
        assert running is not None
        await self._until_ended_or_interrupted(running, spec)
        if running.exited.done():
            await self._after_end(running, spec)
            return
        await self._stop(running, spec)
        self._clear(running)
        self._tell(self._tracker.stopped(), pid=0, started=None, error="", **_exit(running.exited.result()))

    def _start(self, spec: ProcessSpec) -> None:
        for port in spec.listens:
            require_free(port)
        self._running = spawn(spec, self._world.mark)
        self._world.guardian.watch(self._running.pid)
        tracker = self._tracker.spawned(self._world.steady(), awaits_ready=spec.ready is not None)
        self._tell(tracker, pid=self._running.pid, started=self._world.wall(), error="")

    async def _until_ended_or_interrupted(self, running: Running, spec: ProcessSpec) -> None:
        async with _background(self._become_ready(running, spec)):
            await self._first_of(running.exited, self._interrupt.wait())

    async def _become_ready(self, running: Running, spec: ProcessSpec) -> None:
        if spec.ready is not None and not await wait_ready(spec.ready):
            problem = f"not ready within {spec.ready.timeout:g} s: {spec.ready} did not hold"
            self.status = replace(self.status, error=problem)
            running.signal_group(signal.SIGKILL)
            return
        if running.exited.done():
            return
        if spec.ready is not None:
            self._tell(self._tracker.became_ready())
        if not self.first_ready.done():
            self.first_ready.set_result(None)

    async def _after_refusal(self, problem: DivertorError) -> None:
        if self._gives_up(problem):
            return
        self._tell(self._tracker.refused(self._world.steady()), pid=0, started=None, error=str(problem))
        await self._pause()

    async def _after_end(self, running: Running, spec: ProcessSpec) -> None:
        self._clear(running)
        code = running.exited.result()
        why = self.status.error or f"ended with {_in_words(code)}"
        if self._gives_up(UnavailableError(f"{spec.name} {why}{_quote(spec)}")):
            self._tell(self._tracker.stopped(), pid=0, started=None, error=why, **_exit(code))
            return
        tracker = self._tracker.ended(self._world.steady())
        self._tell(tracker, pid=0, started=None, error=why, **_exit(code))
        await self._until_group_is_gone(running.pid)
        await self._pause()

    def _gives_up(self, problem: DivertorError) -> bool:
        """Whether this was the one try that it had."""
        if not self._must_start or self.first_ready.done():
            return False
        self._spec = None
        self.first_ready.set_exception(problem)
        return True

    async def _stop(self, running: Running, spec: ProcessSpec) -> None:
        """Asks the whole group to end; insists after the grace, or at once in a hurry."""
        running.signal_group(spec.stop_signal)
        await self._first_of(running.exited, self._world.hurry.wait(), timeout=spec.stop_grace)
        running.signal_group(signal.SIGKILL)
        await asyncio.wait([running.exited])
        await self._until_group_is_gone(running.pid)

    async def _until_group_is_gone(self, pgid: int) -> None:
        """Others of the group were killed with the leader but may hold its port for another moment."""
        deadline = self._world.steady() + _GROUP_END
        while self._world.steady() < deadline:
            if group_is_empty(pgid):
                return
            await asyncio.sleep(0.01)

    async def _pause(self) -> None:
        due = self._tracker.retry_at
        delay = 0.0 if due is None else due - self._world.steady()
        if delay > 0:
            await self._first_of(self._interrupt.wait(), timeout=delay)
        if self._interrupt.is_set():
            # Somebody changed something: what failed before says nothing about what comes now.
            self._tracker = replace(self._tracker, failures=0)

    async def _first_of(
        self, *events: asyncio.Future[int] | Coroutine[Any, Any, Any], timeout: float | None = None
    ) -> None:
        """Waits for any of `events`; futures are left as they are, coroutines end with the wait."""
        waits = {asyncio.ensure_future(event) for event in events}
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                if isinstance(wait, asyncio.Task):
                    wait.cancel()

    def _clear(self, running: Running) -> None:
        self._world.guardian.forget(running.pid)
        self._running = None

    def _abandon(self) -> None:
        if self._running is not None:
            self._running.kill_now()
            self._clear(self._running)

    def _tell(self, tracker: RestartTracker, **changes: Any) -> None:
        self._tracker = tracker
        retry = tracker.retry_at
        self.status = replace(
            self.status,
            state=tracker.state,
            restarts=tracker.restarts,
            next_retry=None if retry is None else self._world.wall() + max(0.0, retry - self._world.steady()),
            **changes,
        )
        self._world.changed(self.status)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` beside the block and cancels what is left of it; its bugs are raised here."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _exit(code: int) -> dict[str, int | None]:
    if code < 0:
        return {"exit_code": None, "exit_signal": -code}
    return {"exit_code": code, "exit_signal": None}


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _quote(spec: ProcessSpec) -> str:
    """The end of its log, as the reason a user can act upon."""
    text = tail(spec.log) if spec.log else ""
    return f"; its log {spec.log} ends:\n{text}" if text else "; it logged nothing" if spec.log else ""
