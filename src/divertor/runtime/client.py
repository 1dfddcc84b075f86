"""The control plane's side of the supervisor's socket.

Requests that may be repeated without harm are sent again once after a lost connection; the others are not. It
knows nothing of deployments.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from divertor.errors import (
    ConflictError,
    DivertorError,
    InputError,
    NotFoundError,
    Position,
    UnavailableError,
)
from divertor.runtime.control import MAX_LINE, socket_address
from divertor.runtime.process import ProcessSpec, ProcessStatus

#: Seconds a request may take, and the waits between attempts to reach a supervisor that is not there.
TIMEOUT = 10.0
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0


class SupervisorClient:
    """Talks to the supervisor of `run_dir`. Safe to share between tasks; requests go one after another."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        self._connection: _Connection | None = None

    async def apply(self, group: str, specs: Iterable[ProcessSpec]) -> list[ProcessStatus]:
        """Makes `specs` the processes of `group`; see `Supervisor.apply`.

        :raises ConflictError: as there.
        :raises UnavailableError: the supervisor does not answer.
        """
        processes = [spec.to_json() for spec in specs]
        result = await self._ask({"op": "apply", "group": group, "processes": processes}, repeat=True)
        return [ProcessStatus.from_json(item) for item in result]

    async def restart(self, name: str) -> ProcessStatus:
        """Restarts `name` now.

        :raises NotFoundError: there is no such process.
        :raises UnavailableError: the supervisor does not answer.
        """
        return ProcessStatus.from_json(await self._ask({"op": "restart", "name": name}))

    async def signal(self, name: str, number: int) -> ProcessStatus:
        """Sends the signal `number` to the process `name`.

        :raises NotFoundError: there is no such process.
        :raises ConflictError: it does not run.
        :raises UnavailableError: the supervisor does not answer.
        """
        return ProcessStatus.from_json(await self._ask({"op": "signal", "name": name, "signal": int(number)}))

    async def status(self) -> list[ProcessStatus]:
        """Every process of the supervisor.

        :raises UnavailableError: the supervisor does not answer.
        """
        return [ProcessStatus.from_json(item) for item in await self._ask({"op": "status"}, repeat=True)]

    async def changes(self) -> AsyncIterator[ProcessStatus]:
        """The status of every process, then every change as it happens, for ever.

        After a lost connection it connects again and starts over with every status; changes in between are
        seen only by their outcome, and a process that is gone by then is not mentioned.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                async for status in self._one_subscription():
                    wait = _FIRST_WAIT
                    yield status
            except UnavailableError:
                await asyncio.sleep(wait)
                wait = min(_LONGEST_WAIT, wait * 2)

    async def close(self) -> None:
        """Closes the connection; another request would open it again."""
        async with self._turn:
            self._drop()

    async def _one_subscription(self) -> AsyncIterator[ProcessStatus]:
        connection = await _connect(self._run_dir)
        try:
            for item in await _bounded(connection.exchange({"id": next(self._ids), "op": "subscribe"})):
                yield ProcessStatus.from_json(item)
            while True:
                yield ProcessStatus.from_json((await connection.receive())["change"])
        finally:
            connection.close()

    async def _ask(self, request: dict[str, Any], *, repeat: bool = False) -> Any:
        async with self._turn:
            try:
                return await self._ask_once(request)
            except UnavailableError:
                if not repeat:
                    raise
            return await self._ask_once(request)

    async def _ask_once(self, request: dict[str, Any]) -> Any:
        if self._connection is None or self._connection.is_lost():
            self._drop()
            self._connection = await _connect(self._run_dir)
        try:
            return await _bounded(self._connection.exchange({"id": next(self._ids), **request}))
        except (UnavailableError, asyncio.CancelledError):
            # An answer that is still to come must not be taken for the next request's.
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def is_lost(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    async def exchange(self, request: dict[str, Any]) -> Any:
        """Sends `request` and returns the result of its answer, skipping changes that come before it."""
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        except OSError as problem:
            raise UnavailableError(f"the supervisor is gone: {problem}") from problem
        while True:
            answer = await self.receive()
            if "change" not in answer:
                return _result(answer)

    async def receive(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except (OSError, ValueError) as problem:
            raise UnavailableError(f"the supervisor is gone: {problem}") from problem
        if not line.endswith(b"\n"):
            raise UnavailableError("the supervisor closed the connection")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


async def _connect(run_dir: Path) -> _Connection:
    try:
        with socket_address(run_dir) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=MAX_LINE)
    except OSError as problem:
        raise UnavailableError(f"no supervisor answers in {run_dir}: {problem.strerror}") from problem
    return _Connection(reader, writer)


async def _bounded(answer: Any) -> Any:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await answer
    except TimeoutError:
        raise UnavailableError(f"the supervisor did not answer within {TIMEOUT:g} s") from None


def _result(answer: dict[str, Any]) -> Any:
    if answer.get("ok"):
        return answer.get("result")
    raise _error(str(answer.get("kind")), str(answer.get("error")))


def _error(kind: str, message: str) -> DivertorError:
    if kind == "input":
        return InputError(message, Position("process"))
    if kind == "not-found":
        return NotFoundError(message)
    return ConflictError(message) if kind == "conflict" else UnavailableError(message)
