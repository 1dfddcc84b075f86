"""aiohttp's server, which speaks neither WSGI nor ASGI: one request, from the protocol's handler to the last
byte of its response.

The body is recorded as the app reads it. aiohttp itself holds a response's head back until the first piece
of the body, so that until then another response can take its place; after it the connection is cut. A web
socket cannot be replaced, and is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from divertor_sensor import context, runtime
from divertor_sensor.frameworks.hooking import must_pass
from divertor_sensor.frameworks.refusal import refusal_for
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import Head, Request
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
        wrap(module, "StreamWriter._write", _write)
        wrap(module, "StreamWriter._writelines", _write)

    integrate("framework", "aiohttp", "aiohttp.web_protocol", protocol)
    integrate("framework", "aiohttp (response)", "aiohttp.http_writer", writing)
    integrate(
        "framework",
        "aiohttp (body)",
        "aiohttp.streams",
        lambda module: wrap(module, "StreamReader._read_nowait_chunk", _read),
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
    )


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
        self.content = web_request.content
        self.writer = web_request.writer

    async def run(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, bool]:
        """Handle the request; answer in the app's place once it was interrupted."""
        token, here = context.current.set(self.request), _exchange.set(self)
        try:
            result: tuple[Any, bool] = await wrapped(*args, **kwargs)
            if not self.request.interrupted:
                return result
        except BaseException as problem:
            if not self.request.interrupted or must_pass(problem):
                raise
        finally:
            _exchange.reset(here)
            context.current.reset(token)
            self.request.close()
        return await self._refuse()

    async def _refuse(self) -> tuple[Any, bool]:
        if self.writer.output_size:
            if self._protocol.transport is not None:
                self._protocol.transport.abort()
            raise ConnectionResetError("the request was refused after its response had begun")
        refusal = refusal_for(self.request)
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
        if exchange.request.interrupted:
            raise ConnectionResetError("the response was dropped")
        exchange.request.replaceable = False
    return wrapped(*args, **kwargs)


def _read(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Every read of a body ends here; aiohttp's client uses the same class."""
    chunk = wrapped(*args, **kwargs)
    exchange = _exchange.get()
    if exchange is not None and exchange.content is instance:
        exchange.request.body.record(chunk)
    return chunk
