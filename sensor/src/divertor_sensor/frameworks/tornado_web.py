"""Tornado's handlers, which speak neither WSGI nor ASGI: one request, from `_execute` to its last `flush`.

Tornado keeps what a handler writes until it is flushed, so that until then another response can take its
place; after it the connection is cut. A web socket, whose messages are inputs as a body is, cannot be
replaced, and is closed. Not guarded: a plain callback given to `tornado.httpserver.HTTPServer`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from divertor_sensor import context, runtime
from divertor_sensor.behaviour import ended, failed
from divertor_sensor.frameworks.passing import must_pass
from divertor_sensor.frameworks.refusal import Refusal, refusal_for
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import AttackInterrupted, Head, Request
from divertor_sensor.responses import Page, Raw, check_head
from divertor_sensor.sensor import Sensor

#: Where a handler keeps its exchange; not the handler in the exchange, as a cycle lives long.
_NAME = "_divertor_sensor_exchange"
_POLICY_VIOLATION = 1008


def instrument(sensor: Callable[[], Sensor]) -> None:
    """Hook into `tornado.web` as it is imported."""

    def hook(module: ModuleType) -> None:
        def execute(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if runtime.refusal():
                return wrapped(*args, **kwargs)
            return _run(module, sensor(), instance, lambda: wrapped(*args, **kwargs))

        wrap(module, "RequestHandler._execute", execute)
        wrap(module, "RequestHandler.flush", _flush)
        wrap(module, "_HandlerDelegate.data_received", _data_received)

    integrate("framework", "Tornado", "tornado.web", hook)
    integrate(
        "framework",
        "Tornado (web sockets)",
        "tornado.websocket",
        lambda module: wrap(module, "WebSocketProtocol._run_callback", _run_callback),
    )


@dataclass(slots=True)
class _Exchange:
    """One request, and what is known of its response."""

    request: Request
    raw: Raw
    page: Page | None = None


def read_head(request: Any) -> Head:
    """The head of a Tornado request."""
    headers: dict[str, str] = {}
    for raw_name, value in request.headers.get_all():
        name = raw_name.lower()
        headers[name] = (
            headers[name] + ("; " if name == "cookie" else ", ") + value if name in headers else value
        )
    return Head(
        method=request.method or "",
        path=unquote(request.path),
        query=request.query,
        headers=headers,
        peer=request.remote_ip or "",
        raw_path=request.path,
    )


def read_raw(request: Any) -> Raw:
    """What the first questions about a request are asked of."""
    texts = [",".join(request.headers.get_list(name)) for name in ("Cookie", "Referer", "User-Agent")]
    return Raw(request.query, unquote(request.path), *texts)


async def _run(
    module: ModuleType, sensor: Sensor, handler: Any, execute: Callable[[], Awaitable[None]]
) -> None:
    """Let the handler work; answer in its place once it was interrupted."""
    web_request = handler.request
    request = Request(sensor, lambda: read_head(web_request))
    exchange = _Exchange(request, read_raw(web_request))
    setattr(handler, _NAME, exchange)
    if isinstance(web_request.body, bytes) and web_request.body:
        request.body.record(web_request.body)
    token = context.current.set(request)
    try:
        await execute()
    except BaseException as problem:
        if not request.interrupted or must_pass(problem):
            failed(request, problem)
            ended(request, exchange.raw)
            raise
    finally:
        context.current.reset(token)
        request.close()
    if request.interrupted:
        _end(module, handler)
    else:
        request.status = handler.get_status()
    ended(request, exchange.raw)


def _end(module: ModuleType, handler: Any) -> None:
    """Refuse what the handler has not answered, and cut what it has begun."""
    if not handler._finished:
        if handler._headers_written:
            _cut(handler)
        else:
            handler._write_buffer = []
            module.RequestHandler.finish(handler)
    elif getattr(handler, "ws_connection", None) is not None:
        handler.close(_POLICY_VIOLATION)


def _cut(handler: Any) -> None:
    handler.request.connection.close()


def _flush(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The only way out for a response: held, replaced or cut once the request was interrupted."""
    exchange: _Exchange | None = instance.__dict__.get(_NAME)
    if exchange is None:
        return wrapped(*args, **kwargs)
    request = exchange.request
    if not request.interrupted:
        _judge(instance, exchange)
    if not request.interrupted:
        request.replaceable = False
        return wrapped(*args, **kwargs)
    is_last = bool(args[0] if args else kwargs.get("include_footers", False))
    if instance._headers_written:
        _cut(instance)
        raise AttackInterrupted
    if not is_last:
        raise AttackInterrupted
    _become(instance, refusal_for(request))
    return wrapped(*args, **kwargs)


def _judge(handler: Any, exchange: _Exchange) -> None:
    """Look at the head, if it is still here, and at what was written since the last flush."""
    if not handler._headers_written:
        headers = [(name, str(value)) for name, value in handler._headers.get_all()]
        exchange.page = check_head(exchange.request, headers, exchange.raw)
    if exchange.page is not None:
        for piece in handler._write_buffer:
            exchange.page.feed(piece)


def _become(handler: Any, refusal: Refusal) -> None:
    """Put the refusal where the app's response was: status, headers, cookies, body and encodings."""
    handler.__dict__[_NAME].request.status = refusal.status
    handler._status_code = refusal.status
    handler._reason = refusal.phrase
    handler._headers = type(handler._headers)(dict(refusal.headers))
    handler._write_buffer = [refusal.body] if refusal.body else []
    handler._transforms = []
    handler.__dict__.pop("_new_cookie", None)


def _data_received(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A piece of a body that the handler asked to get as it comes, outside of its `_execute`."""
    exchange = instance.handler.__dict__.get(_NAME) if instance.stream_request_body else None
    if exchange is None:
        return wrapped(*args, **kwargs)
    request = exchange.request
    request.body.record(args[0] if args else kwargs["data"])
    try:
        result = context.run_in(request, wrapped, *args, **kwargs)
    except AttackInterrupted:
        # The handler's response, which is still to come, is replaced.
        return None
    return None if result is None else _within(request, result)


async def _within(request: Request, work: Awaitable[None]) -> None:
    token = context.current.set(request)
    try:
        await work
    except AttackInterrupted:
        return
    finally:
        context.current.reset(token)


def _run_callback(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a web socket calls its handler through, with a message among others."""
    exchange = instance.handler.__dict__.get(_NAME)
    if exchange is None or len(args) < 2 or getattr(args[0], "__name__", "") != "on_message":
        return wrapped(*args, **kwargs)
    exchange.request.hear(args[1])
    return wrapped(partial(_on_message, instance.handler, exchange.request, args[0]), *args[1:], **kwargs)


def _on_message(handler: Any, request: Request, callback: Callable[..., Any], *args: Any) -> Any:
    """Call the handler's `on_message`; close the web socket once the request was interrupted. Tornado would
    wait for ever for a coroutine that ends in another way than by an `Exception`.
    """
    try:
        result = callback(*args)
    except AttackInterrupted:
        result = None
    if inspect.iscoroutine(result):
        return _awaited(handler, request, result)
    if request.interrupted:
        handler.close(_POLICY_VIOLATION)
    return result


async def _awaited(handler: Any, request: Request, work: Awaitable[Any]) -> None:
    try:
        await work
    except AttackInterrupted:
        pass
    if request.interrupted:
        handler.close(_POLICY_VIOLATION)
