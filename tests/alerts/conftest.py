"""Builders for alert tests: a match of a rule with given options, and a webhook that remembers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    """An HTTP server on loopback. `answers` are the statuses to give in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers = [200]
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                owner.requests.append(
                    (
                        self.path,
                        {name.lower(): value for name, value in self.headers.items()},
                        json.loads(content),
                    )
                )
                status = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                self.send_response(status)
                self.send_header("content-length", "2")
                self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def payloads(self) -> list[Any]:
        return [payload for _path, _headers, payload in self.requests]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()
