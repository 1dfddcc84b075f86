"""The supervisor's socket: requests of this user's processes, one JSON object per line, answered in order.

A request is `{"id": …, "op": …, …}`; its answer `{"id": …, "ok": true, "result": …}` or `{"id": …, "ok":
false, "kind": …, "error": …}`. Operations: `apply` (`group`, `processes`), `restart` (`name`), `signal`
(`name`, `signal`), `status`, and `subscribe`, after whose answer (the status of everything) every change
follows as `{"change": …}`. Lines are bounded; a subscriber that does not read is cut off and may come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from divertor.errors import ConflictError, NotFoundError, UnavailableError
from divertor.runtime.process import ProcessSpec, ProcessStatus

SOCKET = "supervisor.sock"
#: The longest request, in bytes, and the most that may wait for one subscriber to read it.
MAX_LINE = 8 * 1024 * 1024
MAX_BACKLOG = 8 * 1024 * 1024


class Controlled(Protocol):
    """What the socket gives access to; see `Supervisor`."""

    async def apply(self, group: str, specs: Iterable[ProcessSpec]) -> list[ProcessStatus]: ...
    def restart(self, name: str) -> ProcessStatus: ...
    def signal(self, name: str, number: int) -> ProcessStatus: ...
    def status(self) -> list[ProcessStatus]: ...
    def subscribe(self, listener: Callable[[ProcessStatus], None]) -> Callable[[], None]: ...


@contextlib.contextmanager
def socket_address(run_dir: Path) -> Iterator[str]:
    """A name for the socket in `run_dir` that is short enough for a Unix socket however deep the directory
    lies.

    Such a name holds at most 107 bytes; through an open descriptor of the directory it is always short. It is
    valid inside the `with`.

    :raises OSError: the directory cannot be opened.
    """
    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET}"
    finally:
        os.close(directory)


class ControlServer:
    """Listens in `run_dir`, which only this user may enter, and serves this user only."""

    def __init__(self, supervisor: Controlled, run_dir: Path) -> None:
        self._supervisor = supervisor
        self._run_dir = run_dir
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts to listen; a socket that an earlier supervisor left is replaced.

        :raises UnavailableError: the socket cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            (self._run_dir / SOCKET).unlink(missing_ok=True)
            with socket_address(self._run_dir) as address:
                listener.bind(address)
        except OSError as problem:
            listener.close()
            raise UnavailableError(f"cannot listen at {self._run_dir / SOCKET}: {problem}") from problem
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_LINE)

    async def close(self) -> None:
        """Stops listening, ends every session and removes the socket."""
        if self._server is None:
            return
        self._server.close()
        for session in list(self._sessions):
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)
        (self._run_dir / SOCKET).unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            if _peer_user(writer) == os.geteuid():
                await _Session(self._supervisor, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the server closes: both end the session and nothing else
        finally:
            self._sessions.discard(task)
            writer.transport.abort()


def _peer_user(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    size = struct.calcsize("3i")
    _pid, user, _group = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


class _Session:
    """One connection."""

    def __init__(
        self, supervisor: Controlled, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._supervisor = supervisor
        self._reader = reader
        self._writer = writer
        self._unsubscribe: Callable[[], None] | None = None
        self._operations: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "apply": self._apply,
            "restart": self._restart,
            "signal": self._signal,
            "status": self._status,
            "subscribe": self._subscribe,
        }

    async def run(self) -> None:
        try:
            while line := await self._next_line():
                self._send(await self._answer(line))
                await self._writer.drain()
        finally:
            if self._unsubscribe is not None:
                self._unsubscribe()

    async def _next_line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ValueError:
            self._send({"id": None, **_failure("input", f"a request is longer than {MAX_LINE} bytes")})
            await self._writer.drain()
            return b""

    async def _answer(self, line: bytes) -> dict[str, Any]:
        request: Any = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request must be a JSON object")
            operation = self._operations.get(str(request.get("op")))
            if operation is None:
                raise ValueError(f"unknown operation; expected one of {', '.join(sorted(self._operations))}")
            answer = {"ok": True, "result": await operation(request)}
        except (ValueError, RecursionError) as problem:
            answer = _failure("input", str(problem))
        except NotFoundError as problem:
            answer = _failure("not-found", str(problem))
        except ConflictError as problem:
            answer = _failure("conflict", str(problem))
        except UnavailableError as problem:
            answer = _failure("unavailable", str(problem))
        return {"id": request.get("id") if isinstance(request, dict) else None, **answer}

    async def _apply(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        processes = request.get("processes")
        if not isinstance(processes, list):
            raise ValueError("`processes` must be a list")
        specs = [ProcessSpec.from_json(item) for item in processes]
        return _as_json(await self._supervisor.apply(_text(request, "group"), specs))

    async def _restart(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._supervisor.restart(_text(request, "name")).to_json()

    async def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        number = request.get("signal")
        if not isinstance(number, int):
            raise ValueError("`signal` must be a signal's number")
        return self._supervisor.signal(_text(request, "name"), number).to_json()

    async def _status(self, _request: dict[str, Any]) -> list[dict[str, Any]]:
        return _as_json(self._supervisor.status())

    async def _subscribe(self, _request: dict[str, Any]) -> list[dict[str, Any]]:
        if self._unsubscribe is None:
            self._unsubscribe = self._supervisor.subscribe(self._push)
        return _as_json(self._supervisor.status())

    def _push(self, status: ProcessStatus) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_BACKLOG:
            self._writer.transport.abort()
        if not self._writer.transport.is_closing():
            self._send({"change": status.to_json()})

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")


def _failure(kind: str, error: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "error": error}


def _as_json(statuses: list[ProcessStatus]) -> list[dict[str, Any]]:
    return [status.to_json() for status in statuses]


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise ValueError(f"`{key}` must be a text")
    return value
