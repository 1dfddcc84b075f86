"""The API from the command line's side, against a real server that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from divertor.cli.client import Api, api_of
from divertor.cli.errors import RefusedError, UnreachableError
from divertor.errors import InputError, NotFoundError, UnavailableError
from divertor.layout import Layout
from divertor.runtime.ports import pick_port


class Server(ThreadingHTTPServer):
    """Answers every request with `status` and `body`; `asked` holds what was requested."""

    status, body, kind = 200, b"[]", "application/json"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, status: int, body: Any) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers["authorization"]))
        body = self.server.body
        if b"PAGES" in body:
            body = json.dumps(list(range(100 if "page=1&" in self.path else 20))).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", self.server.kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with Api(server.url, "secret", "the stack") as made:
        yield made


def test_the_token_is_sent(server: Server, api: Api) -> None:
    api.get("/x")
    assert server.asked == [("GET", "/api/v1/x", "Bearer secret")]


def test_all_pages_are_read(server: Server, api: Api) -> None:
    server.answer(200, b"PAGES")
    assert len(api.get_all("/x")) == 120


def test_no_more_is_read_than_asked_for(server: Server, api: Api) -> None:
    server.answer(200, b"PAGES")
    assert len(api.get_all("/x", limit=7)) == 7 and len(server.asked) == 1


def test_an_answer_without_a_body_is_none(server: Server, api: Api) -> None:
    server.answer(200, b"")
    assert api.send("DELETE", "/x") is None


REFUSALS = [
    (
        400,
        {"message": "no", "source": "body", "line": 2, "column": 3, "expected": "a"},
        InputError,
        "body:2:3: no",
    ),
    (400, {"message": "no"}, RefusedError, "^no$"),
    (401, {"message": "who?"}, RefusedError, r"the stack refused the token: who\?"),
    (404, {"message": "no gateway 'x'"}, NotFoundError, "no gateway 'x'"),
    (409, {"message": "taken"}, RefusedError, "taken"),
    (500, b"<html>", RefusedError, "Internal Server Error"),
    (503, {"message": "later"}, UnavailableError, "later"),
    (307, {}, RefusedError, "Temporary Redirect"),
]


@pytest.mark.parametrize(("status", "body", "error", "message"), REFUSALS)
def test_a_refusal_is_put_into_words(
    server: Server, api: Api, status: int, body: Any, error: type[Exception], message: str
) -> None:
    server.answer(status, body)
    with pytest.raises(error, match=message):
        api.get("/x")


def test_every_refusal_ran() -> None:
    assert len(REFUSALS) == 8


def test_events_are_read_from_the_stream(server: Server, api: Api) -> None:
    server.answer(200, b': hello\n\nid: 1\ndata: {"a": 1}\n\ndata: {"b":\ndata: 2}\n\ndata: broken\n\n')
    found: list[Any] = []
    with pytest.raises(UnreachableError, match="closed the stream"):
        # Not `extend`: what was read before the end must be kept.
        for event in api.events({}):
            found.append(event)  # noqa: PERF402
    assert found == [{"a": 1}, {"b": 2}]


def test_nobody_answering_is_unreachable() -> None:
    with Api(f"http://127.0.0.1:{pick_port(low=24000)}", "x") as api, pytest.raises(UnreachableError):
        api.get("/x")


def test_a_directory_without_a_token_is_no_stack(tmp_path: Any) -> None:
    with pytest.raises(UnreachableError, match="no stack was started"):
        api_of(Layout(tmp_path))
