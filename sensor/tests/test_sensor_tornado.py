"""Tornado's own server, on a real socket, with real SQLite behind it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler, websocket_connect

from divertor_sensor.reports.detection import Detection, Failure, Outcome, Report

UNION = "' union all select 1,2 from sqlite_master --"
ORIGIN = {"x-divertor-origin": "http://shop.example/login"}

pytestmark = pytest.mark.usefixtures("hooked")


def find(name: str) -> str:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("create table users (name, mail)")
        connection.execute("insert into users values ('bob', 'b@x')")
        return str(connection.execute(f"select name, mail from users where name = '{name}'").fetchall())
    finally:
        connection.close()


class Query(RequestHandler):
    async def get(self) -> None:
        self.set_cookie("live", "1")
        self.write(find(self.get_query_argument("q")))


class Form(RequestHandler):
    def post(self) -> None:
        self.write(find(self.get_body_argument("q")))


class Upload(RequestHandler):
    def post(self) -> None:
        self.write(find(self.request.files["file"][0]["filename"]))


class Path(RequestHandler):
    def get(self, name: str) -> None:
        self.write(find(name))


class Cookie(RequestHandler):
    def get(self) -> None:
        self.write(find(self.get_cookie("q") or ""))


class Handled(RequestHandler):
    def get(self) -> None:
        try:
            self.write(find(self.get_query_argument("q")))
        except BaseException:
            self.finish("an error page")


class Pool(RequestHandler):
    async def get(self) -> None:
        loop = asyncio.get_running_loop()
        self.write(await loop.run_in_executor(None, find, self.get_query_argument("q")))


class Begun(RequestHandler):
    async def get(self) -> None:
        self.write("first")
        await self.flush()
        self.write(find(self.get_query_argument("q")))


class Page(RequestHandler):
    def get(self) -> None:
        self.write(f"<p>{self.get_query_argument('q')}</p>")


class Away(RequestHandler):
    def get(self) -> None:
        self.redirect(self.get_query_argument("q"))


class Broken(RequestHandler):
    def get(self) -> None:
        raise ValueError("no such thing")


@stream_request_body
class Streamed(RequestHandler):
    """Gets the body as it comes, and looks it up at once."""

    def data_received(self, chunk: bytes) -> None:
        self.found = find(chunk.decode())

    def post(self) -> None:
        self.write(self.found)


class Talk(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(find(str(message)))


class TalkLater(Talk):
    async def on_message(self, message: str | bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_message(message)


HANDLERS = [
    ("/query", Query),
    ("/form", Form),
    ("/upload", Upload),
    ("/path/(.*)", Path),
    ("/cookie", Cookie),
    ("/handled", Handled),
    ("/pool", Pool),
    ("/begun", Begun),
    ("/page", Page),
    ("/away", Away),
    ("/broken", Broken),
    ("/streamed", Streamed),
    ("/talk", Talk),
    ("/talk_later", TalkLater),
]


def serve(port: int, call: Callable[[], Any]) -> Any:
    async def run() -> Any:
        server = HTTPServer(Application(HANDLERS))
        server.listen(port, "127.0.0.1")
        try:
            return await call()
        finally:
            server.stop()
            await server.close_all_connections()

    return asyncio.run(run())


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> Any:
    async def fetch() -> Any:
        request = HTTPRequest(
            f"http://127.0.0.1:{port}{path}",
            method=method,
            body=body,
            headers={**ORIGIN, **{name.replace("_", "-"): value for name, value in headers.items()}},
            follow_redirects=False,
        )
        return await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)

    return serve(port, fetch)


FILE = 'Content-Disposition: form-data; name="file"; filename="x\' or 1 or \'"'
MULTIPART = f"--b\r\n{FILE}\r\n\r\ncontent\r\n--b--\r\n"
ATTACKS: dict[str, tuple[str, dict[str, str]]] = {
    "query": ("query", {"path": "/query?q=" + quote(UNION)}),
    "form": ("form", {"method": "POST", "path": "/form", "body": urlencode({"q": UNION})}),
    "streamed": ("form", {"method": "POST", "path": "/streamed", "body": UNION}),
    "file": (
        "file",
        {
            "method": "POST",
            "path": "/upload",
            "body": MULTIPART,
            "content_type": "multipart/form-data; boundary=b",
        },
    ),
    "path": ("path", {"path": "/path/" + quote("x' or 1=1 --")}),
    "cookie": ("cookie", {"path": "/cookie", "cookie": "q=x' or 1 or '"}),
    "handled": ("query", {"path": "/handled?q=" + quote(UNION)}),
    "pool": ("query", {"path": "/pool?q=" + quote(UNION)}),
    "page": ("query", {"path": "/page?q=" + quote("<script>alert(1)</script>")}),
    "redirect": ("query", {"path": "/away?q=" + quote("//evil.example/")}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_diverted(name: str, port: int, kept: list[Detection]) -> None:
    source, call = ATTACKS[name]
    answer = ask(port, **{"method": "GET", **call})
    assert (answer.code, answer.body) == (307, b"")
    assert answer.headers["location"] == ORIGIN["x-divertor-origin"] and "set-cookie" not in answer.headers
    assert [(found.source, found.outcome) for found in kept] == [(source, "diverted")]


@pytest.mark.parametrize(
    "path", ["/query?q=bob", "/path/bob", "/handled?q=bob", "/pool?q=bob", "/begun?q=bob"]
)
def test_an_honest_request_is_served_as_before(path: str, port: int, kept: list[Detection]) -> None:
    answer = ask(port, "GET", path)
    assert (answer.code, answer.body.removeprefix(b"first"), kept) == (200, b"[('bob', 'b@x')]", [])


def test_a_body_that_is_streamed_is_served_as_before(port: int) -> None:
    assert ask(port, "POST", "/streamed", "bob").body == b"[('bob', 'b@x')]"


def test_a_response_that_has_begun_is_cut(port: int, kept: list[Detection]) -> None:
    with pytest.raises(HTTPError, match="closed"):
        ask(port, "GET", "/begun?q=" + quote(UNION))
    assert [found.outcome for found in kept] == ["blocked"]


@pytest.mark.parametrize("path", ["talk", "talk_later"])
def test_a_message_of_a_web_socket_is_an_input(path: str, port: int, kept: list[Detection]) -> None:
    async def converse() -> list[Any]:
        socket = await websocket_connect(f"ws://127.0.0.1:{port}/{path}")
        told = []
        for text in ("bob", UNION):
            await socket.write_message(text)
            told.append(await socket.read_message())
        socket.close()
        return [*told, socket.close_code]

    assert serve(port, converse) == ["[('bob', 'b@x')]", None, 1008]
    assert [found.outcome for found in kept] == ["blocked"]


def test_an_error_that_tornado_answers_is_told(port: int, reported: list[Report]) -> None:
    assert ask(port, "GET", "/broken").code == 500
    (failure,) = [each for each in reported if isinstance(each, Failure)]
    assert (failure.type, failure.frames[0].function) == ("ValueError", "Broken.get")
    assert [each.status for each in reported if isinstance(each, Outcome)] == [500]


def test_an_answer_by_exception_is_no_error(port: int, reported: list[Report]) -> None:
    assert ask(port, "GET", "/query").code == 400
    assert not any(isinstance(each, Failure) for each in reported)


def test_outside_of_a_request_nothing_happens(kept: list[Detection]) -> None:
    assert find(UNION.replace("1,2", "type,name")) and kept == []
