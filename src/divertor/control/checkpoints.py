"""Checkpoints on disk: written whole or not at all, and taken up at the next start.

A small one is pickled between two batches. A large one is written by a forked child, which sees the engine as
it was at the moment of the fork, while the parent goes on judging.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from divertor.control.judging import Judge
from divertor.errors import UnavailableError
from divertor.rules.running.checkpoint import (
    Checkpoint,
    DamagedError,
    LargeError,
    Mark,
    packed,
    parts_of,
    unpacked,
)
from divertor.runtime.spawn import die_with

log = logging.getLogger("divertor.rules")

SUFFIX = ".checkpoint"
#: Bytes up to which a checkpoint is pickled in the process itself: about two milliseconds.
SMALL = 256 * 1024
#: Largest file that is read, and seconds a child may take to write one.
MAX_BYTES = 4 * 1024**3
PATIENCE = 120.0
#: Exit code of a child that failed otherwise than at the disk.
_FAULT = 255


class Checkpoints:
    """The file of one worker in `folder`, and those of the others, from which a new worker may begin."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{SUFFIX}"
        self._draft = folder / f"{name}{SUFFIX}.new"
        self._size = SMALL + 1  # the first may be large: nobody knows yet
        # Its own: those that the process shares may all hang with somebody's delivery.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        #: Seconds for which the last one kept the events waiting.
        self.paused = 0.0

    @property
    def size(self) -> int:
        """Bytes of the last one."""
        return self._size

    async def write(self, judge: Judge) -> Mark:
        """Write a draft of what `judge` remembers now; `commit` makes it the checkpoint.

        :raises UnavailableError: the disk refuses, or the system another process.
        """
        mark = judge.mark()
        try:
            await self._write_draft(mark, judge)
        except UnavailableError:
            with suppress(OSError):
                self._draft.unlink()  # half a checkpoint must not fill what little room there is
            raise
        with suppress(OSError):
            self._size = self._draft.stat().st_size
        return mark

    async def _write_draft(self, mark: Mark, judge: Judge) -> None:
        begun = time.perf_counter()
        content = self._content(mark, judge) if self._size <= SMALL else None
        if content is not None:
            self.paused = time.perf_counter() - begun
            await self._in_thread(partial(self._write, content))
        else:
            child = self._fork(lambda: packed(mark, parts_of(judge.engine.snapshot())))
            self.paused = time.perf_counter() - begun
            await self._wait_for(child)

    def _content(self, mark: Mark, judge: Judge) -> list[bytes] | None:
        """A small checkpoint; None when much has come since the last one, so that it is small no more."""
        try:
            return list(packed(mark, parts_of(judge.engine.snapshot(), SMALL)))
        except LargeError:
            return None

    async def commit(self) -> None:
        """The draft is the checkpoint from now on.

        :raises UnavailableError: the disk refuses.
        """
        await self._in_thread(self._replace)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def read(self, epoch: str, last: int) -> Checkpoint | None:
        """The checkpoint, or, if there is none, the furthest of another worker; None: of the stream `epoch`,
        which has reached `last`, there is none. A damaged one counts as none, and is told of.
        """
        own = self._read(self._path, epoch, last)
        if own is not None:
            return own
        others = (
            self._read(path, epoch, last) for path in self._folder.glob(f"*{SUFFIX}") if path != self._path
        )
        return max((each for each in others if each), key=lambda each: each.mark.seq, default=None)

    def _read(self, path: Path, epoch: str, last: int) -> Checkpoint | None:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DamagedError("far too large")
            found = unpacked(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, DamagedError) as problem:
            log.error("the checkpoint %s is left aside: %s", path.name, problem)
            return None
        return found if found.mark.epoch == epoch and found.mark.seq <= last else None

    def _write(self, content: Iterable[bytes]) -> None:
        try:
            _write_private(self._draft, content)
        except OSError as problem:
            raise UnavailableError(f"{self._draft}: {problem.strerror}") from problem

    def _replace(self) -> None:
        try:
            self._draft.replace(self._path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as problem:
            raise UnavailableError(f"{self._path}: {problem.strerror}") from problem

    def _fork(self, content: Callable[[], Iterable[bytes]]) -> int:
        """A child that writes the draft. It touches nothing else: no event loop, no connection, no log.

        It dies with its parent, because it has a copy of all that is open there, the lock on a worker's name
        among it. Its exit code is the number of what the disk refused with.

        :raises UnavailableError: there is no room for another process.
        """
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError as problem:
            raise UnavailableError(f"{self._draft}: {problem.strerror}") from problem
        if child:
            return child
        code = _FAULT
        try:
            die_with(parent)
            signal.set_wakeup_fd(-1)  # it is the parent's: signals to the child are not to be told there
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            gc.disable()  # a collection would copy every page of the parent's memory
            os.nice(5)
            _write_private(self._draft, content())
            code = 0
        except OSError as problem:
            code = problem.errno or _FAULT
        finally:
            os._exit(code)

    async def _wait_for(self, child: int) -> None:
        """No thread waits for it: those of the process may all hang with somebody's delivery."""
        with _end_of(child) as ended:
            try:
                async with asyncio.timeout(PATIENCE):
                    await ended
            except TimeoutError:
                raise UnavailableError(f"{self._draft}: not written within {PATIENCE:g} s") from None
            finally:
                if not ended.done() or ended.cancelled():
                    os.kill(child, signal.SIGKILL)
                    self._thread.submit(_exit_code, child)  # however long it takes to let go of its memory
        if code := _exit_code(child):
            why = os.strerror(code) if 0 < code < _FAULT else f"it could not be written ({code})"
            raise UnavailableError(f"{self._draft}: {why}")


@contextmanager
def _end_of(child: int) -> Iterator[asyncio.Future[None]]:
    """Done when the process has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(child)
    loop.add_reader(descriptor, _resolve, ended)
    try:
        yield ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _exit_code(child: int) -> int:
    """What it ended with; a signal's number negated."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _write_private(path: Path, content: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        for piece in content:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
