"""A real Envoy with the real filter, the real agent in front of it, and small upstreams behind it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from divertor.envoy.plan import (
    Endpoint,
    FilterKey,
    Isolated,
    Listener,
    Route,
    Snapshot,
    Upstream,
    simple_listener,
)
from divertor.errors import UnavailableError
from divertor.gateway.agent import Agent
from divertor.gateway.process import envoy_process, paths_of, prepare
from divertor.isolation.layout import FOREVER, fingerprint, scope_key
from divertor.isolation.table import Recent, Table
from divertor.layout import Layout
from divertor.model.isolation import KeyKind, KeySelector
from divertor.runtime.ports import pick_port

SECRET = b"a secret of this installation"
TOKEN = "t0ken" * 8
SCOPE = "shop/web"
SESSION = KeySelector(KeyKind.COOKIE, "session")
API_KEY = KeySelector(KeyKind.HEADER, "X-Api-Key")
ADDRESS = KeySelector(KeyKind.ADDRESS)

Headers = list[tuple[str, str]]
_ports: set[int] = set()


def new_port() -> int:
    port = pick_port(_ports, low=24000, high=28999)
    _ports.add(port)
    return port


@dataclass(frozen=True, slots=True)
class Asked:
    """What an upstream was asked: the target and headers as they came over the wire."""

    method: str
    target: str
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes | None = None


def attack(asked: Asked) -> Answer | None:
    """As the sensor does in the newest version: anything with `attack` in it is handed over."""
    if b"attack" not in asked.body and "attack" not in asked.target:
        return None
    origin = asked.get("x-divertor-origin") or ""
    return Answer(307, [("Location", origin), ("X-Divertor-Token", TOKEN), ("Set-Cookie", "live=1")], b"")


class App:
    """One instance of a version: answers with what it was asked, or as `behave` says."""

    def __init__(self, name: str, behave: Callable[[Asked], Answer | None] = lambda _: None) -> None:
        self.name = name
        self.behave = behave
        self.asked: list[Asked] = []
        app = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    while app._serve(self.rfile, self.wfile):
                        pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Server(("127.0.0.1", new_port()), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    def _serve(self, read: Any, write: Any) -> bool:
        line = read.readline().decode("latin-1").split()
        if len(line) != 3:
            return False
        headers: Headers = []
        while (text := read.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = text.partition(":")
            headers.append((name, value.strip(" \t")))
        known = {name.lower(): value for name, value in headers}
        body = _body(read, known)
        asked = Asked(line[0], line[1], headers, body)
        self.asked.append(asked)
        if known.get("upgrade", "").lower() == "websocket":
            told = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
            write.write("\r\n".join([*told, f"Served-By: {self.name}", "", ""]).encode())
            return False
        answer = self.behave(asked) or Answer()
        content = answer.body
        if content is None:
            seen = {"by": self.name, "target": asked.target, "headers": headers, "length": len(body)}
            content = json.dumps(seen).encode()
        lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(content)}", f"Served-By: {self.name}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        payload = b"" if asked.method == "HEAD" else content
        write.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + payload)
        write.flush()
        return True


def _body(read: Any, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return bytes(read.read(int(headers.get("content-length", "0"))))
    found = b""
    while size := int(read.readline().split(b";")[0], 16):
        found += read.read(size)
        read.readline()
    while read.readline().strip():
        pass
    return found


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got."""

    status: int
    headers: Headers
    body: bytes

    @property
    def by(self) -> str | None:
        return self.get("served-by")

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def seen(self) -> dict[str, str]:
        """The headers the version saw, by lower-case name."""
        return {name.lower(): value for name, value in json.loads(self.body)["headers"]}


def raw(port: int, data: bytes) -> Reply:
    """Sends bytes as they are and reads one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return over(connection, data)


def over(connection: socket.socket, data: bytes) -> Reply:
    """The same on a connection that is there."""
    connection.sendall(data)
    with http.client.HTTPResponse(connection, method=data.split(b" ")[0].decode()) as answer:
        answer.begin()
        return Reply(answer.status, answer.getheaders(), b"" if answer.status == 101 else answer.read())


def ask(port: int, target: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
    """One request on a connection of its own; `x_api_key` stands for the header X-Api-Key."""
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return raw(port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


class Gateway:
    """One Envoy; snapshots are applied by the real agent."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.layout.create()
        prepare(self.layout)
        self.table = Table.open(self.layout.table)
        self.recent = Recent(self.layout.recent)
        self.refusals: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        spec = envoy_process(self.layout)
        with open(spec.log, "ab") as log:
            self._process = subprocess.Popen(
                spec.argv, env=dict(spec.env), cwd=spec.cwd, umask=spec.umask, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while b"LIVE" not in self._ready():
            assert time.monotonic() < deadline and self._process.poll() is None, self.log()
            time.sleep(0.02)

    def _ready(self) -> bytes:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(2)
            admin.connect(str(self.layout.envoy_admin))
            admin.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: admin.recv(4096), b""))
        return b""

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self.table.close()
        self.recent.close()

    def log(self) -> str:
        return (self.layout.logs / "envoy.log").read_text(errors="replace")

    def apply(self, snapshot: Snapshot) -> None:
        """Serves `snapshot`; fails when Envoy refuses it."""
        assert not self.refused(snapshot), self.refusals

    def refused(self, snapshot: Snapshot) -> list[str]:
        """Tries to serve `snapshot`; answers why it was refused."""
        self.refusals.clear()
        asyncio.run(self._apply(snapshot))
        return list(self.refusals)

    async def _apply(self, snapshot: Snapshot) -> None:
        agent = Agent(paths_of(self.layout), lambda _: None, self.refusals.append)
        running = asyncio.create_task(agent.run())
        agent.want(snapshot)
        async with asyncio.timeout(30):
            await agent.settled()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    def isolate(self, selector: KeySelector, value: str, expiry: int = FOREVER) -> int:
        digest = fingerprint(scope_key(SECRET, SCOPE, selector), value)
        self.table.put(digest, expiry, 0)
        return digest

    def release(self) -> None:
        """Forgets everybody in the table, and that somebody attacked from here."""
        self.table.replace([])
        self.recent.forget(fingerprint(scope_key(SECRET, SCOPE, ADDRESS), "127.0.0.1"))

    def lines(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The access log's lines that are `wanted`; waits for one, five seconds at most."""
        deadline = time.monotonic() + 5
        while True:
            with contextlib.suppress(FileNotFoundError):
                text = self.layout.access_log.read_bytes()
                lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
                if found := [line for line in lines if wanted(line)]:
                    return found
            assert time.monotonic() < deadline, "no such line in the access log"
            time.sleep(0.02)


def isolated(upstream: str, *selectors: KeySelector, open: bool = False, seconds: int = 3600) -> Isolated:
    keys = tuple(FilterKey(each, scope_key(SECRET, SCOPE, each)) for each in selectors or (SESSION, ADDRESS))
    return Isolated(SCOPE, upstream, keys, seconds, TOKEN, open)


def upstream(name: str, *apps: App, **more: Any) -> Upstream:
    return Upstream(name, tuple(app.endpoint for app in apps), **more)


def listener(port: int, *routes: Route, **more: Any) -> Listener:
    """A gateway with these routes; `more` is for the gate or the listener."""
    gate = {
        name: more.pop(name) for name in ("protocol", "sticky", "isolated", "trusted_hops") if name in more
    }
    return replace(simple_listener(f"gateway-{port}", "127.0.0.1", port, routes=routes, **gate), **more)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    try:
        running = Gateway(tmp_path_factory.mktemp("gw"))
        running.start()
    except UnavailableError as problem:
        pytest.skip(str(problem))
    yield running
    running.close()


@pytest.fixture
def apps() -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def make(name: str, behave: Callable[[Asked], Answer | None] = lambda _: None) -> App:
        made.append(App(name, behave))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def port() -> int:
    return new_port()
