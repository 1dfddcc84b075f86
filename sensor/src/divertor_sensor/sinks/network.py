"""Network sinks: every connection of the interpreter's sockets, and what HTTP clients send over old ones.

A connection is judged when it is made, by the address it goes to, together with the names that this request
resolved to that address: nothing is decided when a name is merely looked up, and no second look-up could
answer differently. Connections to addresses outside cost one lookup. Answers that redirect are remembered, so
that the next hop is known to be an input's doing. `sinks.http_clients` does the same where libraries connect
without Python's sockets or keep connections of their own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from time import perf_counter
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.behaviour import slow
from divertor_sensor.detectors.ssrf import DETECTOR, is_named, statement_of
from divertor_sensor.detectors.ssrf_hosts import canonical, locality, named_hosts
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import AttackInterrupted, Request
from divertor_sensor.sinks import audit
from divertor_sensor.sources.recording import MAX_BODY
from divertor_sensor.trail import Trail
from divertor_sensor.work import Spent

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_NAMES = 1024
_SEND = "http.client.send"
#: The first line of a request to a proxy.
_PROXIED = re.compile(rb"(?:CONNECT |[A-Z]{3,10} http://)([^\s/]{1,300})")
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

#: Names that lead inside, and where to, as this process last resolved them: whoever sends over a connection
#: made for another request needs to know.
_inside: dict[str, str] = {}


def instrument() -> None:
    """Listen to the interpreter's events, and to the answers of the resolver and of HTTP servers."""
    audit.listen("socket.connect", _contained(_on_connect))
    audit.listen("http.client.send", _contained(_on_send))
    audit.listen("urllib.Request", _contained(_on_url))
    integrate("sink", "network", "socket", _patch_resolver)
    integrate("sink", "network", "http.client", _patch_responses)


def _patch_resolver(module: ModuleType) -> None:
    wrap(module, "getaddrinfo", _resolving("host", answered))
    wrap(module, "gethostbyname", _resolving("hostname", lambda answer: [answer]))
    wrap(module, "gethostbyname_ex", _resolving("hostname", _hosts_answered))


def _patch_responses(module: ModuleType) -> None:
    wrap(module, "HTTPConnection.getresponse", _getresponse)


@contextmanager
def own_faults(request: Request) -> Iterator[None]:
    """Keeps what goes wrong inside, with objects of a library that is not as expected, out of the app."""
    try:
        yield
    except Exception as problem:
        request.sensor.faults.contain("network sinks", problem)


def _contained(handler: audit.Handler) -> audit.Handler:
    def handle(request: Request, args: tuple[Any, ...]) -> None:
        try:
            handler(request, args)
        except Exception as problem:
            request.sensor.faults.contain("network sinks", problem)

    return handle


def judge_connection(request: Request, sink: str, host: str, port: int, address: str = "") -> None:
    """Judge a connection to `address`, or to `host` itself when that is one; `host` is what was asked for.

    Of a body too long to be kept, what was kept must name it: an app connects inside all the time, and cannot
    be stopped from doing so for every large upload.

    :raises AttackInterrupted: it must not be made.
    """
    place = address or host
    if locality(place) != "inside":
        return
    trail = request.trail
    names = dict.fromkeys([host, place, *(trail.names(place) if trail is not None else ())])
    allowed = request.sensor.settings.inside_hosts
    for name in names:
        if allowed and _is_allowed(allowed, canonical(name), port):
            continue
        root = trail.root(f"{canonical(name)}:{port}") if trail is not None else ""
        if request.body.size <= MAX_BODY or root or _is_named(request, name, port):
            check(request, DETECTOR, sink, statement_of(name, port, place, root), 4)


def _is_allowed(allowed: tuple[str, ...], name: str, port: int) -> bool:
    """Whether inputs may name this host. Its address counts by itself: whoever names that is judged."""
    return name in allowed or f"{name}:{port}" in allowed


def known_address(host: str) -> str:
    """The address inside that `host` is or was last resolved to, or nothing."""
    return host if locality(host) == "inside" else _inside.get(canonical(host), "")


def remember(host: object, addresses: Iterable[object]) -> None:
    """Take note that `host` was resolved to `addresses`."""
    name = _text(host)
    request = context.current.get()
    for address in map(_text, addresses):
        if not name or locality(address) != "inside":
            continue
        if len(_inside) >= _MAX_NAMES:
            _inside.clear()
        _inside[canonical(name)] = address
        if request is not None:
            request.trail = request.trail or Trail()
            request.trail.resolved(name, address)


def note_redirect(request: Request, host: str, port: int, location: str) -> None:
    """Take note that `host`, asked by this request, redirected it, when that is an input's doing."""
    trail = request.trail or Trail()
    root = trail.root(f"{canonical(host)}:{port}")
    if not root and _is_named(request, host, port):
        root = f"{host}:{port}"
    for named in named_hosts(location) if root else ():
        default = DEFAULT_PORTS.get(location.partition(":")[0].lower(), 80)
        trail.redirected(root, f"{named.host}:{named.port or default}")
        request.trail = trail


def _on_connect(request: Request, args: tuple[Any, ...]) -> None:
    address = args[1]
    if not isinstance(address, tuple) or len(address) < 2 or request.lapsed:
        return  # a path (AF_UNIX), or what the call itself will refuse
    host, port = _text(address[0]), address[1]
    if not isinstance(port, int) or not host or locality(host) == "outside":
        return
    try:
        _judge_target(request, host, port)
    except AttackInterrupted:
        # Who made it expects an OSError at most, and would leave it open.
        args[0].close()
        raise


def _judge_target(request: Request, host: str, port: int) -> None:
    if locality(host):
        judge_connection(request, "socket.connect", host, port)
    elif _is_named(request, host, port):
        # The socket resolves the name itself and does not tell.
        for address in _lookup(host, port):
            judge_connection(request, "socket.connect", host, port, address)


def _lookup(host: str, port: int) -> list[str]:
    try:
        return [_text(address) for address in answered(socket.getaddrinfo(host, port))]
    except (OSError, ValueError):
        return []  # the call itself will say so


def _is_named(request: Request, host: str, port: int) -> bool:
    """Whether an input names `host`, as far as can be told."""
    try:
        with context.suspended():
            return is_named(host, port, request.candidates(DETECTOR))
    except Spent:
        return host.lower() in request.raw()


def _on_send(request: Request, args: tuple[Any, ...]) -> None:
    """Also over a connection made for another request, and over a proxy."""
    connection, data = args[0], args[1]
    proxied = _PROXIED.match(data) if isinstance(data, bytes) else None
    if proxied is not None:
        _judge_proxied(request, _text(proxied[1]), 443 if data.startswith(b"CONNECT") else 80)
    try:
        address = connection.sock.getpeername()
    except (OSError, AttributeError):
        return
    if isinstance(address, tuple) and isinstance(connection.port, int):
        judge_connection(request, _SEND, str(connection.host), connection.port, _text(address[0]))


def _judge_proxied(request: Request, authority: str, default: int) -> None:
    """Judge what a proxy is asked for. It resolves names itself: only those known to be inside count."""
    for named in islice(named_hosts(f"//{authority}"), 1):
        judge_connection(request, _SEND, named.host, named.port or default, known_address(named.host))


def _on_url(request: Request, args: tuple[Any, ...]) -> None:
    """A URL of another scheme than the web's; those become connections."""
    url = _text(args[0])
    if url and not url[:6].lower().startswith(("http:", "https:")):
        check(request, DETECTOR, "urllib.request.urlopen", url, 3)


def answered(answer: object) -> Iterable[object]:
    """The addresses in an answer of `getaddrinfo`."""
    if isinstance(answer, list):
        for found in answer:
            if isinstance(found, tuple) and len(found) == 5 and isinstance(found[4], tuple) and found[4]:
                yield found[4][0]


def _hosts_answered(answer: object) -> Iterable[object]:
    return answer[2] if isinstance(answer, tuple) and len(answer) == 3 else ()


def _resolving(parameter: str, addresses_of: Callable[[Any], Iterable[object]]) -> Callable[..., Any]:
    """A wrapper that takes note of the addresses in an answer."""

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = wrapped(*args, **kwargs)
        remember(args[0] if args else kwargs.get(parameter), addresses_of(answer))
        return answer

    return wrapper


def _getresponse(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is None:
        return wrapped(*args, **kwargs)
    started = perf_counter()
    try:
        response = wrapped(*args, **kwargs)
    finally:
        took = perf_counter() - started
        if took > request.sensor.slow:
            slow(request, "http.client.HTTPConnection.getresponse", str(getattr(instance, "host", "")), took)
    if getattr(response, "status", 0) in REDIRECTS:
        with own_faults(request):
            note_redirect(request, str(instance.host), instance.port, response.headers.get("location") or "")
    return response


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else ""
