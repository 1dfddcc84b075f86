"""The supervisor: the one process that owns every other process of a stack, and does nothing else.

It starts NATS, Envoy and the control plane in order, restarts what dies, and runs the instances that the
control plane asks for through a Unix socket (`control.py`); so the control plane can be killed while
everything else goes on. It decides nothing about deployments. It stays small: the standard library only, no
model, no web framework.

Run as `python -m divertor.runtime.supervisor RUN_DIR FD`, where FD is an open file holding the JSON that
`command_line` writes; `command_line` prepares exactly that.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from divertor.errors import ConflictError, DivertorError, NotFoundError, UnavailableError
from divertor.runtime.child import Child, World
from divertor.runtime.control import ControlServer
from divertor.runtime.logs import rotate
from divertor.runtime.orphans import Guardian, sweep
from divertor.runtime.process import ProcessSpec, ProcessStatus

#: The group of the members that the stack itself consists of; no request can replace them.
STATIC = "static"
MAX_PROCESSES = 2000
#: Seconds between two looks at the size of the logs.
LOG_CHECK = 2.0


class Supervisor:
    """Owns the processes of one run directory, between `async with` and its end, which stops them all.

    Must be used in the main thread. One run directory has one supervisor at a time; entering raises
    `ConflictError` naming the other's process id, or `UnavailableError` when the directory cannot be used.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        steady: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.run_dir = run_dir.resolve()
        self._children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listeners: set[Callable[[ProcessStatus], None]] = set()
        self._stopping = False
        self._guardian = Guardian()
        self._hurry = asyncio.Event()
        self._world = World(steady, wall, self._guardian, str(self.run_dir), self._publish, self._hurry)
        self._control = ControlServer(self, self.run_dir)
        self._lock: int | None = None
        self._rotation: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Supervisor:
        self._lock = _lock(self.run_dir)
        try:
            sweep(self._world.mark)
            await self._control.start()
        except BaseException:
            self._unlock()
            raise
        self._rotation = asyncio.create_task(self._keep_logs_small())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        try:
            await self.stop_all()
        finally:
            await self._control.close()
            if self._rotation is not None:
                self._rotation.cancel()
            self._guardian.close()
            sweep(self._world.mark)
            self._unlock()

    async def start(self, spec: ProcessSpec) -> ProcessStatus:
        """Starts a member of the stack and waits until it is ready; from then on it is kept running.

        :raises ConflictError: the name is taken, or a port it listens on is in use.
        :raises UnavailableError: it cannot be executed, or ended or timed out before it was ready; the
            message quotes the end of its log. Nothing of it is left running.
        """
        self._require_room([spec], STATIC)
        if spec.name in self._children:
            raise ConflictError(f"a process named {spec.name} is there already")
        child = self._add(spec, STATIC, must_start=True)
        try:
            await child.first_ready
        except DivertorError:
            await asyncio.wait([self._tasks[spec.name]])
            raise
        return child.status

    async def apply(self, group: str, specs: Iterable[ProcessSpec]) -> list[ProcessStatus]:
        """Makes `specs` the processes of `group`: starts what is new, stops what is gone, restarts what
        changed, leaves what is equal alone. Returns the group's status without waiting for any of that to
        finish.

        :raises ConflictError: the group is the stack's own, a name is used twice or belongs to another group,
            or the supervisor is stopping. Nothing was changed.
        """
        wanted = list(specs)
        if group == STATIC or not group:
            raise ConflictError(f"the group {group!r} cannot be replaced")
        self._require_room(wanted, group)
        names = {spec.name for spec in wanted}
        for child in list(self._members(group)):
            if child.name not in names:
                child.retire()
        for spec in wanted:
            self._want(spec, group)
        return [child.status for child in self._members(group)]

    def restart(self, name: str) -> ProcessStatus:
        """Stops `name` and starts it again, or starts it now if it waits to be retried; does not wait for it.

        :raises NotFoundError: there is no such process.
        """
        child = self._find(name)
        child.restart()
        return child.status

    def signal(self, name: str, number: int) -> ProcessStatus:
        """Sends the signal `number` to the process `name` itself, not to its group.

        :raises NotFoundError: there is no such process.
        :raises ConflictError: it is not running, or there is no such signal.
        """
        child = self._find(name)
        if number not in signal.valid_signals():
            raise ConflictError(f"{number} is no signal")
        if not child.signal(number):
            raise ConflictError(f"{name} is not running")
        return child.status

    def status(self) -> list[ProcessStatus]:
        """Every process, in the order they were first started."""
        return [child.status for child in self._children.values()]

    def log(self, name: str) -> str:
        """Where `name` logs; empty when that is nowhere of its own, or there is no such process."""
        child = self._children.get(name)
        return "" if child is None else child.log

    def hurry(self) -> None:
        """From now on, whatever is being stopped is killed without a grace."""
        self._hurry.set()

    async def stop_all(self) -> None:
        """Stops every process: first those of the other groups, together, then the stack's own in reverse
        order.

        Nothing can be started afterwards.
        """
        self._stopping = True
        others = [child for child in self._children.values() if child.group != STATIC]
        await self._retire(others)
        for child in reversed([child for child in self._children.values() if child.group == STATIC]):
            await self._retire([child])

    def subscribe(self, listener: Callable[[ProcessStatus], None]) -> Callable[[], None]:
        """Calls `listener` with every change of a status until the returned function is called."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def _publish(self, status: ProcessStatus) -> None:
        for listener in list(self._listeners):
            listener(status)

    def _members(self, group: str) -> list[Child]:
        return [child for child in self._children.values() if child.group == group]

    def _find(self, name: str) -> Child:
        child = self._children.get(name)
        if child is None:
            raise NotFoundError(f"there is no process named {name}")
        return child

    def _require_room(self, wanted: Sequence[ProcessSpec], group: str) -> None:
        if self._stopping:
            raise ConflictError("the supervisor is stopping")
        names = {spec.name for spec in wanted}
        if len(names) != len(wanted):
            raise ConflictError("two processes of one group have the same name")
        for child in self._children.values():
            if child.name in names and child.group != group:
                raise ConflictError(f"the process {child.name} belongs to the group {child.group}")
        if len(names | self._children.keys()) > MAX_PROCESSES:
            raise ConflictError(f"more than {MAX_PROCESSES} processes")

    def _want(self, spec: ProcessSpec, group: str) -> None:
        child = self._children.get(spec.name)
        if child is None or self._tasks[spec.name].done():
            self._add(spec, group)
        else:
            child.want(spec)

    def _add(self, spec: ProcessSpec, group: str, *, must_start: bool = False) -> Child:
        child = Child(spec, group, self._world, must_start=must_start)
        task = asyncio.create_task(child.run(), name=f"process {spec.name}")
        self._children[spec.name] = child
        self._tasks[spec.name] = task
        task.add_done_callback(lambda _: self._drop(child))
        return child

    def _drop(self, child: Child) -> None:
        if self._children.get(child.name) is child:
            del self._children[child.name]
            del self._tasks[child.name]

    async def _retire(self, children: Iterable[Child]) -> None:
        tasks = []
        for child in children:
            child.retire()
            tasks.append(self._tasks[child.name])
        if tasks:
            await asyncio.wait(tasks)

    async def _keep_logs_small(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK)
            for child in list(self._children.values()):
                if child.log:
                    rotate(child.log, child.log_limit)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(run_dir: Path) -> int:
    """The held lock of `run_dir`, which is made private to this user; it ends with this process.

    :raises ConflictError: another supervisor holds it.
    :raises UnavailableError: the directory is somebody else's or cannot be used.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if run_dir.stat().st_uid != os.geteuid():
            raise UnavailableError(f"the run directory {run_dir} belongs to another user")
        if stat.S_IMODE(run_dir.stat().st_mode) != 0o700:
            run_dir.chmod(0o700)
        lock = os.open(run_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise UnavailableError(f"cannot use the run directory {run_dir}: {problem.strerror}") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise ConflictError(f"another supervisor (pid {owner}) already runs in {run_dir}") from None
    except OSError as problem:
        os.close(lock)
        raise UnavailableError(f"cannot use the run directory {run_dir}: {problem.strerror}") from problem
    return lock
