"""aiohttp's server, which speaks neither WSGI nor ASGI: one request, from the protocol's handler to the last
byte of its response.

The body is recorded as the app reads it. A response's head is held back until the first piece of the body
(except for files, and for event streams, whose clients wait for it), so that until then another response can
take its place; after it the connection is cut. A web socket, whose messages are inputs as a body is, cannot
be replaced, and is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from divertor_sensor import context, runtime
from divertor_sensor.behaviour import ended, failed
from divertor_sensor.frameworks.passing import must_pass
from divertor_sensor.frameworks.refusal import refusal_for
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import Head, Request
from divertor_sensor.responses import Page, Raw, check_head
from divertor_sensor.sensor import Sensor


def instrument(sensor: Callable[[], Sensor]) -> None:
    """Hook into `aiohttp.web` as it is imported."""

    def protocol(module: ModuleType) -> None:
        def handle(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if runtime.refusal():
                return wrapped(*args, **kwargs)
            return _Exchange(module, instance, sensor(), *args[:2]).run(wrapped, args, kwargs)

        wrap(module, "RequestHandler._handle_request", handle)

    def writing(module: ModuleType) -> None:
        wrap(module, "StreamWriter.write_headers", _write_headers)
        wrap(module, "StreamWriter.send_headers", _send_headers)
        wrap(module, "StreamWriter.write", _write_body)
        wrap(module, "StreamWriter.write_eof", _write_body)
        wrap(module, "StreamWriter._write", _write)
        wrap(module, "StreamWriter._writelines", _write)

    integrate("framework", "aiohttp", "aiohttp.web_protocol", protocol)
    integrate(
        "framework",
        "aiohttp (files)",
        "aiohttp.web_fileresponse",
        lambda module: wrap(module, "FileResponse._sendfile", _send_file),
    )
    integrate("framework", "aiohttp (response)", "aiohttp.http_writer", writing)
    integrate(
        "framework",
        "aiohttp (body)",
        "aiohttp.streams",
        lambda module: wrap(module, "StreamReader._read_nowait_chunk", _read),
    )
    integrate(
        "framework",
        "aiohttp (web sockets)",
        "aiohttp.web_ws",
        lambda module: wrap(module, "WebSocketResponse.receive", _receive),
    )


def read_head(request: Any) -> Head:
    """The head of an aiohttp request; its headers are made Latin-1 again, as other servers give them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.items():
        name = raw_name.lower()
        value = raw_value.encode("utf-8", "surrogateescape").decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return Head(
        method=request.method,
        path=request.path,
        query=request.raw_path.partition("?")[2].partition("#")[0],
        headers=headers,
        peer=request.remote or "",
        raw_path=request.raw_path.partition("?")[0],
    )


def read_raw(request: Any) -> Raw:
    """What the first questions about a request are asked of."""
    headers = request.headers
    texts = [",".join(headers.getall(name, ())) for name in ("Cookie", "Referer", "User-Agent")]
    return Raw(request.raw_path.partition("?")[2], request.path, *texts)


class _Exchange:
    """One request and its response, inside aiohttp's own handling of it."""

    def __init__(
        self, module: ModuleType, protocol: Any, sensor: Sensor, web_request: Any, start_time: Any
    ) -> None:
        self._module = module
        self._protocol = protocol
        self._web_request = web_request
        self._start_time = start_time
        self.request = Request(sensor, lambda: read_head(web_request))
        self.raw = read_raw(web_request)
        self.page: Page | None = None
        self.is_held = False
        self.is_file = False
        self.content = web_request.content
        self.writer = web_request.writer

    async def run(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, bool]:
        """Handle the request; answer in the app's place once it was interrupted."""
        request = self.request
        token, here = context.current.set(request), _exchange.set(self)
        try:
            result: tuple[Any, bool] = await wrapped(*args, **kwargs)
        except BaseException as problem:
            if not request.interrupted or must_pass(problem):
                failed(request, problem)
                ended(request, self.raw)
                raise
        else:
            if not request.interrupted:
                request.status = getattr(result[0], "status", 0)
                ended(request, self.raw)
                return result
        finally:
            _exchange.reset(here)
            context.current.reset(token)
            request.close()
        return await self._refuse()

    def check_head(self, headers: Any) -> None:
        """Look at the head, before it goes out or is kept for the first piece of the body."""
        self.page = check_head(self.request, headers.items(), self.raw)
        kind = headers.get("Content-Type", "")
        is_awaited = kind.startswith("text/event-stream") or "Upgrade" in headers
        self.is_held = not is_awaited and not self.is_file
        self.drop()

    def check_body(self, piece: Any) -> None:
        """Look at a piece of the body, before it goes out."""
        if self.page is not None:
            self.page.feed(bytes(piece))
        self.drop()

    def drop(self) -> None:
        """Let nothing more out of a request that was interrupted; aiohttp takes it for a lost connection.

        :raises ConnectionResetError: it was.
        """
        if self.request.interrupted:
            raise ConnectionResetError("the response was dropped")

    async def _refuse(self) -> tuple[Any, bool]:
        if self.writer.output_size:
            if self._protocol.transport is not None:
                self._protocol.transport.abort()
            raise ConnectionResetError("the request was refused after its response had begun")
        refusal = refusal_for(self.request)
        self.request.status = refusal.status
        ended(self.request, self.raw)
        response = self._module.Response(
            status=refusal.status,
            reason=refusal.phrase,
            # aiohttp writes the length itself.
            headers={name: value for name, value in refusal.headers if name != "content-length"},
            body=refusal.body,
        )
        # What the app has prepared on the old writer and not sent goes with it; so do its response signals.
        self._web_request._payload_writer = type(self.writer)(self._protocol, self.writer.loop)
        self._web_request._match_info = None
        result: tuple[Any, bool] = await self._protocol.finish_response(
            self._web_request, response, self._start_time
        )
        return result


_exchange: ContextVar[_Exchange | None] = ContextVar("divertor_sensor_aiohttp", default=None)


def _write(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What goes to the socket; aiohttp's client uses the same class."""
    exchange = _exchange.get()
    if exchange is not None and exchange.writer is instance:
        exchange.drop()
        exchange.request.replaceable = False
    return wrapped(*args, **kwargs)


def _write_headers(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    exchange = _exchange.get()
    if exchange is not None and exchange.writer is instance:
        exchange.check_head(args[1] if len(args) > 1 else kwargs["headers"])
    return wrapped(*args, **kwargs)


def _send_headers(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What aiohttp does with the head of a streamed response; without it, the first piece takes it along."""
    exchange = _exchange.get()
    if exchange is not None and exchange.writer is instance and exchange.is_held:
        return None
    return wrapped(*args, **kwargs)


def _send_file(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A file goes to the socket past the writer, and its head must be there before it."""
    exchange = _exchange.get()
    if exchange is not None:
        exchange.is_file = True
    return wrapped(*args, **kwargs)


def _write_body(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    exchange = _exchange.get()
    if exchange is not None and exchange.writer is instance:
        exchange.check_body(args[0] if args else kwargs.get("chunk", b""))
    return wrapped(*args, **kwargs)


async def _receive(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    message = await wrapped(*args, **kwargs)
    exchange = _exchange.get()
    if exchange is not None and isinstance(message.data, (str, bytes)):
        exchange.request.hear(message.data)
    return message


def _read(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Every read of a body ends here; aiohttp's client uses the same class."""
    chunk = wrapped(*args, **kwargs)
    exchange = _exchange.get()
    if exchange is not None and exchange.content is instance:
        exchange.request.body.record(chunk)
    return chunk
