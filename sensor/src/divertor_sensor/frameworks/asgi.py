"""The ASGI side (ASGI 3, `http` and the handshake of `websocket`): as `wsgi`, over messages.

`http.response.start` is held back until the first message of the body, except for event streams, whose
clients wait for the headers. What the app receives of the body is recorded, never read ahead. An attack
found after the response has begun cuts the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

from divertor_sensor import context, runtime
from divertor_sensor.behaviour import ended, failed
from divertor_sensor.frameworks.passing import must_pass
from divertor_sensor.frameworks.refusal import refusal_for
from divertor_sensor.request import ConnectionCut, Head, Request
from divertor_sensor.responses import Page, Raw, check_head
from divertor_sensor.sensor import Sensor

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEY = "divertor_sensor.request"
_POLICY_VIOLATION = 1008
_SERVER_ERROR = 500
#: The headers in `Raw`, in its order.
_ASKED = (b"cookie", b"referer", b"user-agent")


class DivertorASGI:
    """Middleware that guards any ASGI app. Without a sensor, the one `instrument` made is used."""

    def __init__(self, app: AsgiApp, sensor: Sensor | None = None) -> None:
        self.app = app
        self.sensor = runtime.sensor() if sensor is None else sensor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        nested = _KEY in scope and context.current.get() is not None
        if nested or scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        request = Request(self.sensor, lambda: read_head(scope), lambda: _head_texts(scope))
        scope[_KEY] = True
        kind = _HttpExchange if scope["type"] == "http" else _WebSocketExchange
        await kind(request, receive, send, read_raw(scope, request)).run(self.app, scope)


def read_head(scope: Scope) -> Head:
    """The head of the request in an ASGI scope."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    client = scope.get("client")
    return Head(
        method=scope.get("method", "GET"),
        path=scope.get("path", ""),
        query=(scope.get("query_string") or b"").decode("latin-1"),
        headers=headers,
        peer=str(client[0]) if client else "",
        raw_path=(scope.get("raw_path") or b"").decode("latin-1").partition("?")[0],
    )


def _head_texts(scope: Scope) -> list[str]:
    """Every text of the request's head."""
    values = b"\n".join([value for _, value in scope.get("headers", ())])
    line = (scope.get("query_string") or b"") + b"\n" + (scope.get("raw_path") or b"")
    return [scope.get("path", ""), line.decode("latin-1"), values.decode("latin-1")]


def read_raw(scope: Scope, request: Request) -> Raw:
    """What the first questions about a request are asked of."""
    headers = scope.get("headers", ())
    # A header that comes twice is rare: then all are joined, as `request.head` has them.
    named = dict(headers)
    texts = [named.get(name, b"").decode("latin-1") for name in _ASKED]
    if len(named) != len(headers):
        texts = [request.head.headers.get(name.decode("latin-1"), "") for name in _ASKED]
    return Raw((scope.get("query_string") or b"").decode("latin-1"), scope.get("path", ""), *texts)


class _Exchange:
    """One request and its response."""

    def __init__(self, request: Request, receive: Receive, send: Send, raw: Raw) -> None:
        self._request = request
        self._raw = raw
        self._server_receive = receive
        self._server_send = send
        self._refused = False

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Call the app with guarded channels; answer in its place once it was interrupted."""
        token = context.current.set(self._request)
        try:
            await app(scope, self.receive, self.send)
            if not self._request.interrupted:
                await self.finish()
        except BaseException as problem:
            if not self._request.interrupted or must_pass(problem):
                self._fail(problem)
                raise
        finally:
            context.current.reset(token)
            self._request.close()
        if self._request.interrupted:
            await self._refuse_once()
        ended(self._request, self._raw)

    def _fail(self, problem: BaseException) -> None:
        """The app raised, and the server answers for it."""
        request = self._request
        if isinstance(problem, Exception):
            request.status = request.status or _SERVER_ERROR
            failed(request, problem)
        ended(request, self._raw)

    async def _refuse_once(self) -> None:
        if self._refused:
            return
        self._refused = True
        try:
            await self.refuse()
        except ConnectionCut:
            # The app may swallow it: it is raised once more when the app is done.
            self._refused = False
            raise

    async def receive(self) -> Message:
        message = await self._server_receive()
        if message["type"] == "http.request":
            self._request.body.record(message.get("body", b""))
        elif message["type"] == "websocket.receive":
            self._request.hear(message.get("text") or message.get("bytes") or b"")
        return message

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        """The app returned and nothing was found."""

    async def refuse(self) -> None:
        raise NotImplementedError


class _HttpExchange(_Exchange):
    _held: Message | None = None
    _page: Page | None = None
    _started = False
    _complete = False

    def _judge(self, message: Message) -> None:
        """Look at the head, if it is still here, and at this piece of the body, before they go out."""
        if self._held is not None:
            self._page = check_head(self._request, _texts(self._held), self._raw)
        if self._page is not None:
            self._page.feed(message.get("body", b""))

    async def send(self, message: Message) -> None:
        if self._request.interrupted:
            await self._refuse_once()
            return
        if message["type"] != "http.response.start":
            # An early hint may come before the head; what belongs to the body brings the head with it.
            if message["type"].startswith("http.response.") and message["type"] not in _BEFORE_HEAD:
                self._judge(message)
                if self._request.interrupted:
                    await self._refuse_once()
                    return
                await self._release()
                self._complete = not message.get("more_body", False)
            await self._server_send(message)
            if self._complete:
                self._request.close()
            return
        self._held = _readable_twice(message)
        if _is_event_stream(self._held):
            await self.finish()
            if self._request.interrupted:
                await self._refuse_once()

    async def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._started = True
            self._request.replaceable = False
            self._request.status = held.get("status", 0)
            await self._server_send(held)

    async def finish(self) -> None:
        """Let the head go without a body, unless it must not go."""
        if self._held is not None:
            self._judge({})
        if not self._request.interrupted:
            await self._release()

    async def refuse(self) -> None:
        if self._complete:
            return
        if self._started:
            raise ConnectionCut("the request was refused after its response had begun")
        self._started, self._held = True, None
        refusal = refusal_for(self._request)
        self._request.status = refusal.status
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers]
        await self._server_send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self._server_send({"type": "http.response.body", "body": refusal.body, "more_body": False})


_BEFORE_HEAD = frozenset({"http.response.early_hint", "http.response.push", "http.response.debug"})


def _readable_twice(message: Message) -> Message:
    """The message, its headers as a list: they may be anything that can be iterated over, once."""
    headers = message.get("headers", ())
    return message if isinstance(headers, (list, tuple)) else {**message, "headers": list(headers)}


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for name, value in message.get("headers", ()):
        yield bytes(name).decode("latin-1"), bytes(value).decode("latin-1")


def _is_event_stream(message: Message) -> bool:
    return any(
        bytes(name).lower() == b"content-type" and bytes(value).startswith(b"text/event-stream")
        for name, value in message.get("headers", ())
    )


class _WebSocketExchange(_Exchange):
    """A web socket cannot be replayed elsewhere: an attack in its handshake closes it."""

    def __init__(self, request: Request, receive: Receive, send: Send, raw: Raw) -> None:
        super().__init__(request, receive, send, raw)
        request.replaceable = False

    async def send(self, message: Message) -> None:
        if self._request.interrupted:
            await self._refuse_once()
            return
        if message["type"] == "websocket.close":
            self._refused = True
        await self._server_send(message)

    async def refuse(self) -> None:
        await self._server_send({"type": "websocket.close", "code": _POLICY_VIOLATION})
