"""Builders for alert tests: a match of a rule with given options, and a webhook that remembers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from divertor.model.events import Event
from divertor.rules import Match, backtest, load_rule

MOMENT = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def match() -> Callable[..., Match]:
    """`match({"user": "x"}, alert="slack", …)`: what a rule with these options finds in this body."""

    def build(fields: dict[str, Any] | None = None, **options: Any) -> Match:
        least = {"name": "r", "type": "any", "index": "logs", "alert": "debug"}
        rule = load_rule(json.dumps({**least, **options}), "r.yaml")
        (found,) = backtest(rule, [Event("e1", "log", MOMENT, MOMENT, ("logs",), body=fields or {})])
        return found

    return build


class Webhook:
    """An HTTP server on loopback. `answers` are the statuses to give in turn, the last one for ever; `says`
    what is answered to a path that ends so, as JSON; `headers` go with every answer.
    """

    def __init__(self) -> None:
        self.answers = [200]
        self.says: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.methods: list[str] = []
        self.contents: list[bytes] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                owner.requests.append((self.path, headers, _decoded(content)))
                owner.methods.append(self.command)
                owner.contents.append(content)
                self._answer()

            do_GET = do_PUT = do_PATCH = do_POST

            def _answer(self) -> None:
                status = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                path = self.path.partition("?")[0]
                found = [said for end, said in owner.says.items() if path.endswith(end)]
                body = json.dumps(found[0]).encode() if found else b"ok"
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("location", "/elsewhere")
                for name, value in owner.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def payloads(self) -> list[Any]:
        return [payload for _path, _headers, payload in self.requests]


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return dict(parse_qsl(content.decode("latin-1")))


class Rerouted(httpx.AsyncBaseTransport):
    """Takes every request to one server, whatever host it is for; the host is in `x-meant-for`."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._inner = httpx.AsyncHTTPTransport(verify=False)  # loading certificates takes long

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["x-meant-for"] = f"{request.url.scheme}://{request.url.netloc.decode()}"
        where = {"scheme": self._url.scheme, "host": self._url.host, "port": self._url.port}
        request.url = request.url.copy_with(**where)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()
