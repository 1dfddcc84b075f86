"""HTTP clients and event loops that connect without Python's sockets, or keep connections of their own.

uvloop connects inside libuv, which no audit event tells of. httpx and aiohttp send over connections that an
earlier request may have made: what they are about to send is judged by the host it goes to. Redirects are
remembered as in `sinks.network`. Requests over a proxy are judged by the target's name where that is an
address or known, else they are the proxy's to resolve.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.behaviour import slow
from divertor_sensor.detectors.ssrf_hosts import locality
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import AttackInterrupted, Request
from divertor_sensor.sinks.network import (
    DEFAULT_PORTS,
    REDIRECTS,
    answered,
    judge_connection,
    known_address,
    note_redirect,
    own_faults,
    remember,
)

_HTTPX = "httpx.HTTPTransport.handle_request"
_HTTPX_ASYNC = "httpx.AsyncHTTPTransport.handle_async_request"


def instrument() -> None:
    """Patch uvloop's loop, httpx's transports and aiohttp's client once they are imported."""
    integrate("sink", "uvloop", "uvloop", _patch_uvloop)
    integrate("sink", "httpx", "httpx", _patch_httpx)
    integrate("sink", "aiohttp client", "aiohttp.client_reqrep", _patch_aiohttp)


def _patch_uvloop(module: ModuleType) -> None:
    loop = module.Loop
    for name, wrapper in (("create_connection", _create_connection), ("getaddrinfo", _getaddrinfo)):
        if name not in loop.__dict__:
            # The type below is compiled and takes no attributes; its method is given to the class itself.
            setattr(loop, name, getattr(loop, name))
        wrap(module, f"Loop.{name}", wrapper)


def _patch_httpx(module: ModuleType) -> None:
    wrap(module, "HTTPTransport.handle_request", _handle_request)
    wrap(module, "AsyncHTTPTransport.handle_async_request", _handle_async_request)


def _patch_aiohttp(module: ModuleType) -> None:
    wrap(module, "ClientRequest.send", _aiohttp_send)
    wrap(module, "ClientResponse.start", _aiohttp_start)


def _create_connection(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    host = args[1] if len(args) > 1 else kwargs.get("host")
    port = args[2] if len(args) > 2 else kwargs.get("port")
    if request is None or request.lapsed or not isinstance(host, str) or not isinstance(port, int):
        return wrapped(*args, **kwargs)
    if locality(host) == "inside":
        judge_connection(request, "uvloop.Loop.create_connection", host, port)
    return wrapped(*args, **kwargs) if locality(host) else _connected(request, wrapped(*args, **kwargs), host)


async def _connected(request: Request, connecting: Any, host: str) -> Any:
    """Judge the address that libuv took for a name, before a byte is sent to it."""
    transport, protocol = await connecting
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        try:
            judge_connection(request, "uvloop.Loop.create_connection", host, peer[1], str(peer[0]))
        except AttackInterrupted:
            transport.abort()
            raise
    return transport, protocol


def _getaddrinfo(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return _resolved(wrapped(*args, **kwargs), args[0] if args else kwargs.get("host"))


async def _resolved(resolving: Any, host: Any) -> Any:
    answer = await resolving
    remember(host, answered(answer))
    return answer


def _handle_request(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is None:
        return wrapped(*args, **kwargs)
    sent = args[0] if args else kwargs.get("request")
    _judge_sent(request, _HTTPX, sent)
    started = perf_counter()
    try:
        response = wrapped(*args, **kwargs)
    finally:
        took = perf_counter() - started
        if took > request.sensor.slow:
            slow(request, _HTTPX, _host(sent), took)
    _note_answer(request, sent, response)
    return response


def _handle_async_request(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is None:
        return wrapped(*args, **kwargs)
    sent = args[0] if args else kwargs.get("request")
    _judge_sent(request, _HTTPX_ASYNC, sent)
    return _sent(request, sent, wrapped(*args, **kwargs))


async def _sent(request: Request, sent: Any, sending: Any) -> Any:
    started = perf_counter()
    try:
        response = await sending
    except BaseExceptionGroup:
        # anyio connects in a task group, which would hide what was raised from whoever looks for it.
        if request.interrupted:
            raise AttackInterrupted from None
        raise
    finally:
        took = perf_counter() - started
        if took > request.sensor.slow:
            slow(request, _HTTPX_ASYNC, _host(sent), took)
    _note_answer(request, sent, response)
    return response


def _judge_sent(request: Request, sink: str, sent: Any) -> None:
    with own_faults(request):
        url: Any = getattr(sent, "url", None)
        address = "" if url is None else known_address(url.host)
        if address:
            judge_connection(request, sink, url.host, url.port or DEFAULT_PORTS.get(url.scheme, 0), address)


def _note_answer(request: Request, sent: Any, response: Any) -> None:
    with own_faults(request):
        if getattr(response, "status_code", 0) in REDIRECTS:
            port = sent.url.port or DEFAULT_PORTS.get(sent.url.scheme, 0)
            note_redirect(request, sent.url.host, port, response.headers.get("location") or "")


def _host(sent: Any) -> str:
    return str(getattr(getattr(sent, "url", None), "host", None) or "")


def _aiohttp_send(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        with own_faults(request):
            _judge_aiohttp(request, instance, args[0] if args else kwargs.get("conn"))
    return wrapped(*args, **kwargs)


def _judge_aiohttp(request: Request, sent: Any, connection: Any) -> None:
    url: Any = getattr(sent, "url", None)
    host = getattr(url, "host", None) or ""
    # The peer of a request over a proxy is the proxy.
    address = known_address(host) if getattr(sent, "proxy", None) else _peer(connection)
    if address and url is not None:
        judge_connection(request, "aiohttp.ClientRequest.send", host, url.port or 0, address)


def _peer(connection: Any) -> str:
    transport = getattr(connection, "transport", None)
    peer = transport.get_extra_info("peername") if transport is not None else None
    return peer[0] if isinstance(peer, tuple) and peer and isinstance(peer[0], str) else ""


def _aiohttp_start(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    answering = wrapped(*args, **kwargs)
    return answering if request is None else _started(request, instance, answering)


async def _started(request: Request, response: Any, answering: Any) -> Any:
    started = perf_counter()
    try:
        answer = await answering
    finally:
        took = perf_counter() - started
        if took > request.sensor.slow:
            slow(request, "aiohttp.ClientResponse.start", _host(response), took)
    with own_faults(request):
        if getattr(response, "status", 0) in REDIRECTS:
            url = response.url
            note_redirect(request, url.host or "", url.port or 0, response.headers.get("location") or "")
    return answer
