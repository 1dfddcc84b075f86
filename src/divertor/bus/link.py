"""One connection to the broker that never gives up, and questions on it that survive a disconnect.

The client library has traps this module closes. Its own reconnecting can run twice at a time, overwrite its
state and stay deaf without noticing (here it never reconnects: one task sees by an echo that a connection is
dead, and makes a new client). A request in flight across a disconnect hangs for its whole timeout (here it is
asked again at once, so every question must be safe to repeat). It swallows cancellations (`heed` does not),
and it closes only when a silent broker has taken what is buffered (here it is cut off). JetStream answers
"nobody here" for some milliseconds after a start (here that is waited out). Only `divertor.bus` uses it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from divertor.bus.server import USER
from divertor.errors import UnavailableError

log = logging.getLogger("divertor.bus")

#: Seconds between two attempts to reach the broker; the server answers about 15 ms after its start.
RECONNECT_WAIT = 0.05
#: Seconds between an echo and the next, and for which one is waited until the connection counts as dead.
ECHO_INTERVAL = 2.0
ECHO_PATIENCE = 6.0
#: Seconds after which a client that does not close is cut off.
CLOSE_PATIENCE = 0.5
#: What the library raises when the connection is gone; the `RuntimeError` is uvloop's, of a closed socket.
BROKEN = (nats.errors.Error, OSError, RuntimeError)
#: Bytes the client may hold back while the socket is busy; larger than one batch of events.
OUTBOUND_BUFFER = 32 * 1024 * 1024

_NO_RESPONDERS = "503"
#: JetStream error codes that mean "not yet": no quorum, still recovering, overloaded.
_TRY_AGAIN = frozenset({10008, 10009, 10023})
_PAUSE = 0.01
#: Seconds that making the streams ready may take, and an attempt to connect once nobody wants it any more.
_SET_UP_PATIENCE = 10.0
_ATTEMPT_PATIENCE = 0.25
#: The library's own pings are not needed.
_NEVER = 24 * 3600

T = TypeVar("T")
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
        self._lost = asyncio.Event()
        self._closing = False
        self._losers: dict[object, Callable[[], None]] = {}
        self._keeping: asyncio.Task[None] | None = None
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
            raise UnavailableError(link.unreachable(timeout)) from None
        except BaseException:
            await link.close()
            raise
        link._keeping = asyncio.create_task(link._keep())
        return link

    def unreachable(self, timeout: float) -> str:
        """What to say of a broker that has not answered for `timeout` seconds."""
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
        """The present client; a new one replaces it when the connection is lost."""
        return self._client

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at each loss of the connection; the returned function ends that."""
        key = object()
        self._losers[key] = callback

        def forget() -> None:
            self._losers.pop(key, None)

        return forget

    async def wait_ready(self) -> None:
        """Return once the broker answers and the streams exist.

        :raises UnavailableError: `close` was called.
        """
        await self._ready.wait()
        self._require_open()

    async def close(self) -> None:
        """End the connection, within seconds whatever the broker does; whoever waits for an answer gets
        `UnavailableError`."""
        self._closing = True
        self._break()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping}, timeout=2 * CLOSE_PATIENCE)
        await _discard(self._client)

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
            raise UnavailableError(self.unreachable(timeout)) from None

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
            self._require_open()
            try:
                answer = await self._exchange(subject, payload, headers)
            except (Interrupted, *BROKEN) as problem:
                self._note(problem)
                await asyncio.sleep(_PAUSE)
                continue
            if not _not_yet(answer):
                return answer
            self._trouble = "JetStream is not ready"
            await asyncio.sleep(_PAUSE)

    def _require_open(self) -> None:
        if self._closing:
            raise UnavailableError("the connection to the broker was closed")

    async def _exchange(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> Msg:
        token, future = self._expect()
        try:
            reply = f"{self._inbox}.{token}"
            await self._publish(subject, payload, reply, dict(headers) if headers else None)
            return await future
        finally:
            self._answers.pop(token, None)

    async def _echo(self) -> None:
        """A message to ourselves, the whole way to the broker and back."""
        token, future = self._expect()
        try:
            await self._publish(f"{self._inbox}.{token}", b"", "", None)
            await future
        finally:
            self._answers.pop(token, None)

    def _expect(self) -> tuple[str, asyncio.Future[Msg]]:
        self._tokens += 1
        token = str(self._tokens)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        return token, future

    async def _publish(
        self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None
    ) -> None:
        client = self._client
        try:
            await heed(client.publish(subject, payload, reply=reply, headers=headers))
        except RuntimeError:
            self._lose(client)  # its socket is closed, which the library may never notice
            raise

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

    async def _keep(self) -> None:
        """See when the connection is lost, and make another, for ever."""
        while True:
            await self._until_lost()
            self._break()
            await _discard(self._client)
            await self._connect()
            try:
                async with asyncio.timeout(_SET_UP_PATIENCE):
                    await self._set_up()
            except (TimeoutError, UnavailableError) as problem:
                self._note(problem)
                log.error("the broker answered but its streams could not be made ready: %s", self._trouble)
                self._lost.set()
                await asyncio.sleep(1)
            except (Interrupted, *BROKEN) as problem:
                self._note(problem)
                self._lost.set()

    async def _until_lost(self) -> None:
        while not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ECHO_INTERVAL):
                    await self._lost.wait()
                    return
            try:
                async with asyncio.timeout(ECHO_PATIENCE):
                    await self._echo()
            except (Interrupted, *BROKEN) as problem:  # a TimeoutError is an OSError
                self._note(problem)
                return

    async def _connect(self) -> None:
        """Make a client that is connected, however long that takes."""
        while True:
            client = self._client = Client()
            self._lost.clear()
            try:
                await _undisturbed(self._open(client))
                return
            except Exception as problem:
                # A boundary: whatever the library stumbles over, the next attempt is made.
                self._note(problem)
                if not isinstance(problem, BROKEN):
                    log.exception("the broker could not be connected to")
                await _discard(client)
            await asyncio.sleep(RECONNECT_WAIT)

    async def _open(self, client: Client) -> None:
        async def lost() -> None:
            self._lose(client)

        async def trouble(problem: Exception) -> None:
            self._note(problem)
            log.debug("broker connection: %s", self._trouble)

        await client.connect(
            self._url,
            name=self._name,
            user=USER,
            password=self._password,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # the library would try for ever, in one go
            reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type]
            connect_timeout=2,
            ping_interval=_NEVER,
            pending_size=OUTBOUND_BUFFER,
            disconnected_cb=lost,
            closed_cb=lost,
            error_cb=trouble,
        )
        # Where writing fails too, the library ends its reader without a word.
        reading = getattr(client, "_reading_task", None)
        if isinstance(reading, asyncio.Task):
            reading.add_done_callback(lambda _: self._lose(client))
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

    def _lose(self, client: Client) -> None:
        if client is self._client:
            self._lost.set()
            self._break()

    def _break(self) -> None:
        self._ready.clear()
        if self._closing:
            self._ready.set()  # wake whoever waits, to learn that it is over
        for future in list(self._answers.values()):
            if not future.done():
                future.set_exception(Interrupted("the connection to the broker broke"))
        for callback in list(self._losers.values()):
            callback()

    def _note(self, problem: Exception) -> None:
        if self._trouble and isinstance(problem, ConnectionResetError | nats.errors.NoServersError):
            return  # it says less than what was met before
        self._trouble = str(problem) or type(problem).__name__


async def heed(work: Awaitable[T]) -> T:
    """What `work` gives; a cancellation of this task that the library swallowed meanwhile is raised here.

    It catches some itself, and Python 3.11's `wait_for`, which it uses, loses one that comes together with a
    result. A task that lost its cancellation would never end.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await work
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


async def _undisturbed(attempt: Coroutine[Any, Any, None]) -> None:
    """As `await attempt`, but a cancellation waits a moment for the attempt to end by itself.

    Cancelled when its socket has just connected, it would leave that behind where nobody can close it; and
    uvloop does not close a loop that has such a socket, so the process would never end.
    """
    trying = asyncio.ensure_future(attempt)
    trying.add_done_callback(_heard)
    try:
        await asyncio.wait({trying})
    finally:
        if not trying.done():
            await asyncio.wait({trying}, timeout=_ATTEMPT_PATIENCE)
            trying.cancel()
    trying.result()


async def _discard(client: Client) -> None:
    """End a client. What a broker that does not read has not taken is dropped: what counts is asked again.

    The library would wait for that without a limit.
    """
    ending = asyncio.ensure_future(client.close())
    ending.add_done_callback(_heard)
    try:
        await asyncio.wait({ending}, timeout=CLOSE_PATIENCE)
    finally:
        if not ending.done():
            _abort(client)
            ending.cancel()


def _heard(ended: asyncio.Future[None]) -> None:
    """A client that was never connected cannot be closed, which need not be reported."""
    if not ended.cancelled():
        ended.exception()


def _abort(client: Client) -> None:
    """Drops the socket and what is buffered for it, for which the library has no call."""
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if isinstance(writer, asyncio.StreamWriter):
        writer.transport.abort()


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
