"""One connection to the broker that never gives up, and questions on it that survive a disconnect.

The client library has traps this module closes: it stops for good after some failures (here a new client is
made), a request in flight across a disconnect hangs for its whole timeout (here it is asked again at once,
so every question must be safe to repeat), and JetStream answers "nobody here" for some milliseconds after a
start (here that is waited out). Only `divertor.bus` uses it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from divertor.bus.server import USER
from divertor.errors import UnavailableError

log = logging.getLogger("divertor.bus")

#: Seconds between two attempts to reach the broker; the server answers about 15 ms after its start.
RECONNECT_WAIT = 0.05
#: Seconds between two pings; three unanswered ones mean the connection is dead.
PING_INTERVAL = 2
#: Bytes the client may hold back while the socket is busy; larger than one batch of events.
OUTBOUND_BUFFER = 32 * 1024 * 1024

_NO_RESPONDERS = "503"
#: JetStream error codes that mean "not yet": no quorum, still recovering, overloaded.
_TRY_AGAIN = frozenset({10008, 10009, 10023})
_PAUSE = 0.01
#: Seconds after which a write that was not answered counts as refused: one takes milliseconds.
LATE = 2.0


class Interrupted(Exception):
    """The connection broke while an answer was awaited; the question may or may not have been executed."""


class ApiError(UnavailableError):
    """JetStream refused a request. `code` is its own error code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(f"the broker refused: {text} (code {code})")


class Link:
    """The connection. Make it with `await Link.open(...)`."""

    def __init__(
        self, url: str, password: str, name: str, prepare: Callable[[Link], Awaitable[None]]
    ) -> None:
        self._url = url
        self._password = password
        self._name = name
        self._prepare = prepare
        self._client = Client()
        self._inbox = ""
        self._tokens = 0
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._ready = asyncio.Event()
        self._closing = False
        self._lost: dict[object, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = ""
        #: The subjects whose last write the broker, although it was there, has left without an answer.
        self.refused: set[str] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        password: str,
        name: str,
        prepare: Callable[[Link], Awaitable[None]],
        timeout: float,
    ) -> Link:
        """Connect, and run `prepare` (it makes sure the streams exist) now and after each reconnect.

        :raises UnavailableError: no broker answered within `timeout` seconds.
        """
        link = cls(url, password, name, prepare)
        try:
            async with asyncio.timeout(timeout):
                await link._connect()
                await link._set_up()
        except TimeoutError:
            await link.close()
            raise UnavailableError(link._unreachable(timeout)) from None
        except BaseException:
            await link.close()
            raise
        return link

    def _unreachable(self, timeout: float) -> str:
        why = f" ({self._trouble})" if self._trouble else ""
        return f"the broker at {self._url} did not answer within {timeout:g} s{why}; is nats-server running?"

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._ready.is_set()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    @property
    def client(self) -> Client:
        """The present client; a new one replaces it when the library closed it."""
        return self._client

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at each loss of the connection; the returned function ends that."""
        key = object()
        self._lost[key] = callback

        def forget() -> None:
            self._lost.pop(key, None)

        return forget

    async def wait_ready(self) -> None:
        """Return once the broker answers and the streams exist."""
        await self._ready.wait()

    async def close(self) -> None:
        """End the connection; whoever waits for an answer gets `UnavailableError`."""
        self._closing = True
        self._break()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            await self._client.close()

    # --- asking -----------------------------------------------------------------------------------------

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Msg:
        """Send and wait for the answer; asked again after a disconnect, so it must be safe to repeat.

        :raises UnavailableError: no answer within `timeout` seconds, over all attempts.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._ask_until_answered(subject, payload, headers)
        except TimeoutError:
            raise UnavailableError(self._unreachable(timeout)) from None

    async def store(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, timeout: float = 5.0
    ) -> int:
        """As `ask`, for a message that is to be stored: its sequence in the stream.

        :raises ApiError: it was refused.
        :raises UnavailableError: no answer within `timeout` seconds.
        """
        kind = ".".join(subject.split(".")[:2])
        late = asyncio.get_running_loop().call_later(LATE, self._mark_refused, kind)
        try:
            answer = await self.ask(subject, payload, headers, timeout)
        except UnavailableError:
            self._mark_refused(kind)
            raise
        finally:
            late.cancel()
        self.refused.discard(kind)
        return acknowledged(answer)

    def _mark_refused(self, kind: str) -> None:
        if self.connected and not self._closing:
            self.refused.add(kind)

    async def _ask_until_answered(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None
    ) -> Msg:
        while True:
            if not self._ready.is_set():
                await self._ready.wait()
            if self._closing:
                raise UnavailableError("the connection to the broker was closed")
            try:
                answer = await self._exchange(subject, payload, headers)
            except (Interrupted, nats.errors.Error, OSError) as problem:
                self._trouble = str(problem) or type(problem).__name__
                await asyncio.sleep(_PAUSE)
                continue
            if not _not_yet(answer):
                return answer
            self._trouble = "JetStream is not ready"
            await asyncio.sleep(_PAUSE)

    async def _exchange(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> Msg:
        self._tokens += 1
        token = str(self._tokens)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        try:
            await self._client.publish(
                subject, payload, reply=f"{self._inbox}.{token}", headers=dict(headers) if headers else None
            )
            return await future
        finally:
            self._answers.pop(token, None)

    async def api(
        self, verb: str, body: Mapping[str, Any] | None = None, timeout: float = 5.0
    ) -> dict[str, Any]:
        """One call of the JetStream API, `$JS.API.<verb>`.

        :raises ApiError: JetStream refused it.
        :raises UnavailableError: no answer.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        return _decoded(await self.ask(f"$JS.API.{verb}", payload, timeout=timeout))

    async def api_now(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `api`, but usable while the link is being prepared, and not repeated after a disconnect.

        :raises ApiError: JetStream refused it.
        :raises Interrupted: the connection broke.
        """
        payload = json.dumps(body).encode()
        while True:
            answer = await self._exchange(f"$JS.API.{verb}", payload, None)
            if not _not_yet(answer):
                return _decoded(answer)
            await asyncio.sleep(_PAUSE)

    # --- the life of the connection ---------------------------------------------------------------------

    async def _connect(self) -> None:
        client = Client()
        self._client = client

        async def lost() -> None:
            if client is self._client:
                self._break()

        async def back() -> None:
            if client is self._client and not self._closing:
                self._start(self._set_up_or_reconnect())

        async def closed() -> None:
            if client is self._client and not self._closing:
                self._break()
                self._start(self._replace())

        async def trouble(problem: Exception) -> None:
            self._trouble = str(problem) or type(problem).__name__
            log.debug("broker connection: %s", self._trouble)

        await client.connect(
            self._url,
            name=self._name,
            user=USER,
            password=self._password,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type]
            connect_timeout=2,
            ping_interval=PING_INTERVAL,
            max_outstanding_pings=2,
            pending_size=OUTBOUND_BUFFER,
            disconnected_cb=lost,
            reconnected_cb=back,
            closed_cb=closed,
            error_cb=trouble,
        )
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def _on_answer(self, msg: Msg) -> None:
        future = self._answers.get(msg.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(msg)

    async def _set_up(self) -> None:
        await self._prepare(self)
        self._trouble = ""
        self.refused.clear()  # perhaps another broker; if not, the next write tells
        self._ready.set()

    async def _set_up_or_reconnect(self) -> None:
        try:
            async with asyncio.timeout(10):
                await self._set_up()
        except Interrupted:
            return  # the next reconnect starts this again
        except (TimeoutError, UnavailableError, nats.errors.Error, OSError) as problem:
            self._trouble = str(problem) or type(problem).__name__
            log.error("the broker answered but its streams could not be made ready: %s", self._trouble)
            await asyncio.sleep(1)
            self._start(self._set_up_or_reconnect())

    async def _replace(self) -> None:
        """The library gave up for good (an authorisation error, a protocol error): start over."""
        while not self._closing:
            await asyncio.sleep(0.5)
            try:
                async with asyncio.timeout(10):
                    await self._connect()
                    await self._set_up()
                return
            except (TimeoutError, Interrupted, UnavailableError, nats.errors.Error, OSError) as problem:
                self._trouble = str(problem) or type(problem).__name__
                with suppress(Exception):
                    abandoned, self._client = self._client, Client()
                    await abandoned.close()

    def _break(self) -> None:
        self._ready.clear()
        if self._closing:
            self._ready.set()  # wake whoever waits, to learn that it is over
        for future in list(self._answers.values()):
            if not future.done():
                future.set_exception(Interrupted("the connection to the broker broke"))
        for callback in list(self._lost.values()):
            callback()

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _not_yet(answer: Msg) -> bool:
    if answer.headers and answer.headers.get("Status") == _NO_RESPONDERS and not answer.data:
        return True
    if b'"error"' not in answer.data[:200]:
        return False
    try:
        return json.loads(answer.data)["error"]["err_code"] in _TRY_AGAIN
    except (ValueError, KeyError, TypeError):
        return False


def _decoded(answer: Msg) -> dict[str, Any]:
    """The answer of the JetStream API.

    :raises ApiError: it is a refusal.
    """
    data: dict[str, Any] = json.loads(answer.data)
    if "error" in data:
        error = data["error"]
        raise ApiError(int(error.get("err_code", error.get("code", 0))), str(error.get("description", error)))
    return data


def acknowledged(answer: Msg) -> int:
    """The stream sequence a publish was stored under.

    :raises ApiError: it was refused.
    """
    return int(_decoded(answer)["seq"])
