"""What passes through a gateway besides plain requests: HTTP/2 on both sides, gRPC, WebSockets, streams."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from tests.gateway.conftest import SESSION, App, Gateway, ask, isolated, listener, new_port, upstream

from divertor.envoy.plan import Check, Endpoint, Listener, Route, Snapshot, Upstream
from divertor.model.traffic import Tls, Traffic

#: It brings no types of its own.
grpc: Any = importlib.import_module("grpc")

Apps = Callable[..., App]
#: How often a client that tripped over itself is made anew.
TRIES = 4


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def front(port: int, to: str = "a", **more: Any) -> Listener:
    traffic = more.pop("traffic", Traffic())
    return listener(port, Route("r", to, 100, traffic=traffic), **more)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(tmp_path: Path, ca: trustme.CA) -> Tls:
    found = ca.issue_cert("shop.example")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    found.private_key_pem.write_to_path(str(key))
    for blob in found.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    return Tls(str(chain), str(key))


# HTTP/2 from clients


def test_a_client_without_tls_may_speak_http2_at_once(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.apply(Snapshot((front(port),), (upstream("a", apps("a")),)))
    with httpx.Client(http1=False, http2=True) as client:
        found = client.get(f"http://127.0.0.1:{port}/x", headers={"x-own": "1"})
    assert (found.http_version, found.headers["served-by"]) == ("HTTP/2", "a")


def test_a_client_speaks_http2_over_tls(
    gateway: Gateway, apps: Apps, port: int, ca: trustme.CA, tls: Tls
) -> None:
    """And a large body and many streams at once pass."""
    gateway.apply(Snapshot((front(port, tls=tls),), (upstream("a", apps("a")),)))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    url, many, large = f"https://127.0.0.1:{port}/", [1, 1000, 100_000] * 4, [3_000_000]
    found = asyncio.run(posted(url, context, many)) + asyncio.run(posted(url, context, large))
    assert found == [("HTTP/2", size) for size in [*many, *large]]


async def posted(url: str, context: ssl.SSLContext, sizes: list[int]) -> list[tuple[str, int]]:
    """What becomes of requests of these sizes, all at once on one connection.

    The client trips over its own streams now and then when the machine is busy: an error of its own making,
    before anything is on the wire, says nothing about the gateway. What a peer does wrong is another error.
    """
    for _ in range(TRIES):
        with suppress(httpx.LocalProtocolError):
            return await _posted(url, context, sizes)
    return await _posted(url, context, sizes)


async def _posted(url: str, context: ssl.SSLContext, sizes: list[int]) -> list[tuple[str, int]]:
    async with httpx.AsyncClient(http2=True, verify=context, timeout=60) as client:
        extensions = {"sni_hostname": "shop.example"}
        asked = [client.post(url, content=b"x" * size, extensions=extensions) for size in sizes]
        return [(found.http_version, found.json()["length"]) for found in await asyncio.gather(*asked)]


# HTTP/2 to instances


class Http2App:
    """An instance that speaks HTTP/2 alone: answers with the path, and trailers."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.connections = 0
        app = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                app._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", new_port()), Handler)
        self.endpoint = Endpoint("127.0.0.1", int(self._server.server_address[1]))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        state = H2Connection(H2Configuration(client_side=False))
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        paths: dict[int, str] = {}
        while data := connection.recv(65536):
            for event in state.receive_data(data):
                if isinstance(event, RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                if isinstance(event, StreamEnded):
                    self.paths.append(paths[event.stream_id])
                    state.send_headers(event.stream_id, [(":status", "200")])
                    state.send_data(event.stream_id, paths[event.stream_id].encode())
                    state.send_headers(event.stream_id, [("x-trailer", "there")], end_stream=True)
            connection.sendall(state.data_to_send())


@pytest.fixture
def http2_app() -> Iterator[Http2App]:
    app = Http2App()
    yield app
    app.close()


def test_a_version_may_speak_http2_to_whatever_clients(
    gateway: Gateway, port: int, http2_app: Http2App
) -> None:
    gateway.apply(Snapshot((front(port),), (Upstream("a", (http2_app.endpoint,), http2=True),)))
    assert ask(port, "/one").body == b"/one"
    with httpx.Client(http1=False, http2=True) as client:
        assert client.get(f"http://127.0.0.1:{port}/two").content == b"/two"


def test_requests_share_a_connection_to_such_a_version(
    gateway: Gateway, port: int, http2_app: Http2App
) -> None:
    gateway.apply(Snapshot((front(port),), (Upstream("a", (http2_app.endpoint,), http2=True),)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask(port, f"/{number}").body, range(64)))
    assert found == [f"/{number}".encode() for number in range(64)]
    assert http2_app.connections <= 8


def test_such_a_version_is_asked_for_its_health_in_its_own_language(
    gateway: Gateway, port: int, http2_app: Http2App
) -> None:
    checked = Upstream("a", (http2_app.endpoint,), Check("/health", 0.1, 1.0, 1), http2=True)
    gateway.apply(Snapshot((front(port),), (checked,)))
    until(lambda: ask(port).status == 200)
    assert "/health" in http2_app.paths


# gRPC


def _upper(text: bytes, context: Any) -> bytes:
    if text == b"fail":
        context.set_trailing_metadata((("x-why", "asked to"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as wished")
    context.set_trailing_metadata((("x-length", str(len(text))),))
    return text.upper()


def _count(text: bytes, context: Any) -> Iterator[bytes]:
    for number in range(int(text)):
        yield b"%d" % number


def _echo(texts: Iterable[bytes], context: Any) -> Iterator[bytes]:
    for text in texts:
        yield b"%s by %s" % (text, dict(context.invocation_metadata()).get("x-own", "").encode())


@contextmanager
def grpc_server(greeting: bytes = b"") -> Iterator[Endpoint]:
    """A real gRPC server; its messages are bytes."""
    handlers = {
        "Upper": grpc.unary_unary_rpc_method_handler(lambda text, context: greeting + _upper(text, context)),
        "Count": grpc.unary_stream_rpc_method_handler(_count),
        "Join": grpc.stream_unary_rpc_method_handler(lambda texts, context: b" ".join(texts)),
        "Echo": grpc.stream_stream_rpc_method_handler(_echo),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Text", handlers),))
    port = new_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield Endpoint("127.0.0.1", port)
    server.stop(None).wait()


@pytest.fixture
def channel(gateway: Gateway, port: int) -> Iterator[Any]:
    """A gRPC client of a gateway before a gRPC version."""
    with grpc_server() as at:
        gateway.apply(Snapshot((front(port),), (Upstream("a", (at,), http2=True),)))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as made:
            yield made


def test_a_grpc_call_passes_with_its_trailers(channel: Any) -> None:
    answer, call = channel.unary_unary("/test.Text/Upper").with_call(b"hello", timeout=10)
    assert (answer, dict(call.trailing_metadata())["x-length"]) == (b"HELLO", "5")


def test_a_grpc_failure_passes_as_it_is(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/test.Text/Upper")(b"fail", timeout=10)
    found = failed.value
    assert (found.code(), found.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "as wished")
    assert dict(found.trailing_metadata())["x-why"] == "asked to"


def test_a_grpc_answer_may_be_a_stream(channel: Any) -> None:
    found = list(channel.unary_stream("/test.Text/Count")(b"2000", timeout=20))
    assert found == [b"%d" % number for number in range(2000)]


def test_a_grpc_question_may_be_a_stream(channel: Any) -> None:
    texts = [b"%d" % number for number in range(2000)]
    assert channel.stream_unary("/test.Text/Join")(iter(texts), timeout=20) == b" ".join(texts)


def test_a_grpc_call_may_stream_both_ways_message_by_message(channel: Any) -> None:
    """The next message is only sent when the last one's answer is there."""
    answered, metadata = threading.Semaphore(1), (("x-own", "us"),)

    def texts() -> Iterator[bytes]:
        for number in range(20):
            assert answered.acquire(timeout=10)
            yield b"%d" % number

    found = []
    for answer in channel.stream_stream("/test.Text/Echo")(texts(), timeout=20, metadata=metadata):
        found.append(answer)
        answered.release()
    assert found == [b"%d by us" % number for number in range(20)]


def test_a_grpc_version_that_is_down_is_unavailable(gateway: Gateway, port: int) -> None:
    gone = Upstream("a", (Endpoint("127.0.0.1", new_port()),), http2=True)
    gateway.apply(Snapshot((front(port),), (gone,)))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/test.Text/Upper")(b"hello", timeout=10)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


def test_grpc_over_tls(gateway: Gateway, port: int, ca: trustme.CA, tls: Tls) -> None:
    with grpc_server() as at:
        gateway.apply(Snapshot((front(port, tls=tls),), (Upstream("a", (at,), http2=True),)))
        trusting = grpc.ssl_channel_credentials(ca.cert_pem.bytes())
        options = (("grpc.ssl_target_name_override", "shop.example"),)
        with grpc.secure_channel(f"127.0.0.1:{port}", trusting, options) as channel:
            assert channel.unary_unary("/test.Text/Upper")(b"hello", timeout=10) == b"HELLO"


def test_an_isolated_grpc_client_gets_the_audited_version(gateway: Gateway, port: int) -> None:
    gateway.release()
    gateway.isolate(SESSION, "grpc")
    with grpc_server(b"live ") as live, grpc_server(b"audited ") as audited:
        versions = Upstream("live", (live,), http2=True), Upstream("audited", (audited,), http2=True)
        gateway.apply(Snapshot((front(port, "live", isolated=isolated("audited", SESSION)),), versions))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/test.Text/Upper")
            found = [
                call(b"x", timeout=10, metadata=(("cookie", f"session={who}"),)) for who in ("grpc", "you")
            ]
    assert found == [b"audited X", b"live X"]


# WebSockets


class Echo:
    """An instance that takes any upgrade to a WebSocket and then sends back what it gets, after its name."""

    def __init__(self, name: bytes) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                )
                self.wfile.write(name)
                while data := self.request.recv(65536):
                    self.wfile.write(data)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", new_port()), Handler)
        self.endpoint = Endpoint("127.0.0.1", int(self._server.server_address[1]))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def echoes() -> Iterator[tuple[Upstream, Upstream]]:
    live, audited = Echo(b"live"), Echo(b"audited")
    yield Upstream("a", (live.endpoint,)), Upstream("b", (audited.endpoint,))
    live.close()
    audited.close()


@contextmanager
def upgraded(port: int, cookie: str = "none=1") -> Iterator[tuple[socket.socket, Any]]:
    """A WebSocket, and where its bytes are read."""
    asked = f"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: {cookie}"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(asked.encode() + b"\r\n\r\n")
        with connection.makefile("rb") as read:
            assert b" 101 " in read.readline()
            while read.readline().strip():
                pass
            yield connection, read


def test_a_websocket_passes_bytes_both_ways(
    gateway: Gateway, port: int, echoes: tuple[Upstream, Upstream]
) -> None:
    gateway.apply(Snapshot((front(port),), echoes))
    message = hashlib.sha256(b"any").digest() * 4096
    with upgraded(port) as (connection, read):
        assert read.read(4) == b"live"
        for _ in range(3):
            connection.sendall(message)
            assert read.read(len(message)) == message


def test_a_websocket_outlives_the_patience_for_an_answer(
    gateway: Gateway, port: int, echoes: tuple[Upstream, Upstream]
) -> None:
    gateway.apply(Snapshot((front(port, traffic=Traffic(timeout=0.2)),), echoes))
    with upgraded(port) as (connection, read):
        assert read.read(4) == b"live"
        time.sleep(0.6)
        connection.sendall(b"still")
        assert read.read(5) == b"still"


def test_a_websocket_outlives_a_change_of_weights(
    gateway: Gateway, port: int, echoes: tuple[Upstream, Upstream]
) -> None:
    gateway.apply(Snapshot((front(port),), echoes))
    with upgraded(port) as (connection, read):
        assert read.read(4) == b"live"
        gateway.apply(Snapshot((front(port, "b"),), echoes))
        connection.sendall(b"still")
        assert read.read(5) == b"still"
    with upgraded(port) as (_, read):
        assert read.read(7) == b"audited"


def test_an_isolated_client_s_websocket_leads_to_the_audited_version(
    gateway: Gateway, port: int, echoes: tuple[Upstream, Upstream]
) -> None:
    gateway.release()
    gateway.isolate(SESSION, "socket")
    gateway.apply(Snapshot((front(port, isolated=isolated("b", SESSION)),), echoes))
    with upgraded(port, "session=socket") as (_, theirs), upgraded(port, "session=mine") as (_, ours):
        assert (theirs.read(7), ours.read(4)) == (b"audited", b"live")


def test_a_stream_of_events_arrives_as_it_is_sent(gateway: Gateway, port: int) -> None:
    """Nothing waits for the end of an answer; and its beginning arrives long before."""
    with socket.create_server(("127.0.0.1", new_port())) as server:
        at = Endpoint("127.0.0.1", server.getsockname()[1])
        gateway.apply(Snapshot((front(port),), (Upstream("a", (at,)),)))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            instance, _ = server.accept()
            with instance, client.makefile("rb") as read:
                instance.recv(65536)
                instance.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                assert b"200" in read.readline()
                found = Counter(_event(instance, read, number) for number in range(5))
    assert found == {True: 5}


def _event(instance: socket.socket, read: Any, number: int) -> bool:
    """Sends one event, and answers whether it arrives before the next."""
    instance.sendall(b"data: %d\n\n" % number)
    while (line := read.readline()) and not line.startswith(b"data:"):
        pass
    return bool(line == b"data: %d\n" % number)
