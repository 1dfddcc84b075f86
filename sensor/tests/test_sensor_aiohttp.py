"""aiohttp's own server, on a real socket, with real SQLite behind it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from divertor_sensor.reports.detection import Detection, Failure, Outcome, Report

UNION = "' union all select 1,2 from sqlite_master --"
ORIGIN = {"x-divertor-origin": "http://shop.example/login"}
TOLD = web.AppKey("told", asyncio.Event)
Ask = Callable[[aiohttp.ClientSession], Awaitable[Any]]

pytestmark = pytest.mark.usefixtures("hooked")


def find(name: str) -> str:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("create table users (name, mail)")
        connection.execute("insert into users values ('bob', 'b@x')")
        return str(connection.execute(f"select name, mail from users where name = '{name}'").fetchall())
    finally:
        connection.close()


async def query(request: web.Request) -> web.Response:
    return web.Response(text=find(request.query["q"]))


async def form(request: web.Request) -> web.Response:
    response = web.Response(text=find(str((await request.post())["q"])))
    response.set_cookie("live", "1")
    return response


async def json(request: web.Request) -> web.Response:
    return web.Response(text=find((await request.json())["q"][0]))


async def upload(request: web.Request) -> web.Response:
    async for part in await request.multipart():
        return web.Response(text=find(getattr(part, "filename", None) or ""))
    return web.Response()


async def path(request: web.Request) -> web.Response:
    return web.Response(text=find(request.match_info["q"]))


async def cookie(request: web.Request) -> web.Response:
    return web.Response(text=find(request.cookies["q"]))


async def header(request: web.Request) -> web.Response:
    return web.Response(text=find(request.headers["x-q"]))


async def handled(request: web.Request) -> web.StreamResponse:
    try:
        return web.Response(text=find(request.query["q"]))
    except BaseException:
        return web.Response(text="an error page")


async def prepared(request: web.Request) -> web.StreamResponse:
    """Nothing of it is out when the attack is found, although its head was given."""
    response = web.StreamResponse(headers={"set-cookie": "live=1"})
    await response.prepare(request)
    await response.write(find(request.query["q"]).encode())
    return response


async def begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first")
    await response.write(find(request.query["q"]).encode())
    return response


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"<p>{request.query['q']}</p>", content_type="text/html")


async def away(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["q"])


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await request.app[TOLD].wait()
    return response


async def own_file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(__file__)


async def broken(request: web.Request) -> web.Response:
    raise ValueError("no such thing")


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(find(message.data))
    return socket


async def own_client(request: web.Request) -> web.Response:
    """What it asks elsewhere is no answer of its own, nor is what it gets an input."""
    url = f"http://127.0.0.1:{request.url.port}/query?q=bob"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        body = await answer.text()
    assert "bob" in body
    return web.Response(text=find(request.query["q"]))


HANDLERS = (query, form, json, upload, cookie, header, handled, prepared, begun, page, away, broken, events)


@asynccontextmanager
async def serving(port: int) -> Any:
    app = web.Application()
    app.router.add_route("*", "/path/{q}", path)
    for handler in (
        query,
        form,
        json,
        upload,
        cookie,
        header,
        handled,
        prepared,
        begun,
        page,
        away,
        broken,
        events,
    ):
        app.router.add_route("*", f"/{handler.__name__}", handler)
    app.router.add_get("/talk", talk)
    app.router.add_get("/own_client", own_client)
    app.router.add_get("/own_file", own_file)
    app[TOLD] = asyncio.Event()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=ORIGIN) as session:
            session.told = app[TOLD]
            yield session
    finally:
        await runner.cleanup()


def ask(port: int, call: Ask) -> Any:
    async def run() -> Any:
        async with serving(port) as session:
            return await call(session)

    return asyncio.run(run())


async def _answer(session: aiohttp.ClientSession, method: str, url: str, **more: Any) -> tuple[Any, ...]:
    async with session.request(method, url, allow_redirects=False, **more) as answer:
        return answer.status, await answer.text(), answer.headers.copy()


def answer(port: int, method: str, url: str, **more: Any) -> tuple[Any, ...]:
    found: tuple[Any, ...] = ask(port, lambda session: _answer(session, method, url, **more))
    return found


def named_file(name: str) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    data.add_field("file", b"content", filename=name)
    return data


ATTACKS: dict[str, tuple[str, str, str, Callable[[], dict[str, Any]]]] = {
    "query": ("query", "GET", "/query", lambda: {"params": {"q": UNION}}),
    "form": ("form", "POST", "/form", lambda: {"data": {"q": UNION}}),
    "json": ("json", "POST", "/json", lambda: {"json": {"q": [UNION]}}),
    "file": ("file", "POST", "/upload", lambda: {"data": named_file("x' or 1 or '")}),
    "path": ("path", "GET", "/path/x' or 1=1 --", dict),
    "cookie": ("cookie", "GET", "/cookie", lambda: {"headers": {"cookie": "q=x'or(1)or'"}}),
    "header": ("header", "GET", "/header", lambda: {"headers": {"x-q": UNION}}),
    "handled": ("query", "GET", "/handled", lambda: {"params": {"q": UNION}}),
    "prepared": ("query", "GET", "/prepared", lambda: {"params": {"q": UNION}}),
    "page": ("query", "GET", "/page", lambda: {"params": {"q": "<script>alert(1)</script>"}}),
    "redirect": ("query", "GET", "/away", lambda: {"params": {"q": "//evil.example/"}}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_diverted(name: str, port: int, kept: list[Detection]) -> None:
    source, method, url, more = ATTACKS[name]
    status, body, headers = answer(port, method, url, **more())
    assert (status, body, headers["x-divertor-token"]) == (307, "", "secret-token")
    assert headers["location"] == ORIGIN["x-divertor-origin"] and "Set-Cookie" not in headers
    assert [(found.source, found.outcome) for found in kept] == [(source, "diverted")]


@pytest.mark.parametrize("name", ["query", "prepared", "begun", "handled"])
def test_an_honest_request_is_served_as_before(name: str, port: int, kept: list[Detection]) -> None:
    status, body, _ = answer(port, "GET", f"/{name}", params={"q": "bob"})
    assert (status, body.removeprefix("first"), kept) == (200, "[('bob', 'b@x')]", [])


def test_a_file_is_served_whole_after_its_head(port: int) -> None:
    status, body, headers = answer(port, "GET", "/own_file")
    assert (status, body) == (200, Path(__file__).read_text()) and headers["content-length"]


def test_a_form_is_served_with_its_cookie(port: int) -> None:
    status, body, headers = answer(port, "POST", "/form", data={"q": "bob"})
    assert (status, body) == (200, "[('bob', 'b@x')]") and headers["Set-Cookie"].startswith("live=1")


def test_a_response_that_has_begun_is_cut(port: int, kept: list[Detection]) -> None:
    with pytest.raises(aiohttp.ClientError):
        answer(port, "GET", "/begun", params={"q": UNION})
    assert [found.outcome for found in kept] == ["blocked"]


def test_the_head_of_an_event_stream_is_not_held_back(port: int) -> None:
    async def listen(session: Any) -> int:
        async with session.get("/events") as answer:
            session.told.set()
            return int(answer.status)

    assert ask(port, listen) == 200


def test_the_connection_serves_on_after_a_refusal(port: int) -> None:
    async def both(session: aiohttp.ClientSession) -> list[int]:
        replies = [await _answer(session, "POST", "/form", data={"q": q}) for q in (UNION, "bob")]
        return [reply[0] for reply in replies]

    assert ask(port, both) == [307, 200]


def test_a_message_of_a_web_socket_is_an_input(port: int, kept: list[Detection]) -> None:
    async def converse(session: aiohttp.ClientSession) -> list[Any]:
        async with session.ws_connect("/talk") as socket:
            await socket.send_str("bob")
            told = [(await socket.receive()).data]
            await socket.send_str(UNION)
            return [*told, (await socket.receive()).type]

    told, end = ask(port, converse)
    assert told == "[('bob', 'b@x')]" and end in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert [found.outcome for found in kept] == ["blocked"]


def test_what_the_app_fetches_is_neither_its_answer_nor_an_input(port: int, kept: list[Detection]) -> None:
    status, _, _ = answer(port, "GET", "/own_client", params={"q": UNION})
    assert (status, [found.outcome for found in kept]) == (307, ["diverted"])


def test_an_error_that_aiohttp_answers_is_told(port: int, reported: list[Report]) -> None:
    assert answer(port, "GET", "/broken")[0] == 500
    (failure,) = [each for each in reported if isinstance(each, Failure)]
    assert (failure.type, failure.frames[0].function) == ("ValueError", "broken")
    assert [each.status for each in reported if isinstance(each, Outcome)] == [500]


def test_an_answer_by_exception_is_no_error(port: int, reported: list[Report]) -> None:
    assert answer(port, "GET", "/nowhere")[0] == 404
    assert [each.status for each in reported if isinstance(each, Outcome)] == [404]
    assert not any(isinstance(each, Failure) for each in reported)
