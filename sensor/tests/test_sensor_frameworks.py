"""Flask, Starlette and FastAPI, hooked at class level, with real SQLite behind them."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastapi
import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from divertor_sensor import DivertorASGI, DivertorWSGI, protect
from divertor_sensor.reports.detection import Detection
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]
UNION = "' union all select 1,2 from INFORMATION_SCHEMA.tables -- "
ORIGIN = {"x-divertor-origin": "http://shop.example/login"}


@pytest.fixture
def sensor(hooked: Sensor) -> Sensor:
    return hooked


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", check_same_thread=False)
    connection.executescript("create table users (name, mail); insert into users values ('bob', 'b@x');")
    yield connection
    connection.close()


def find(database: sqlite3.Connection, name: str) -> str:
    return str(database.execute(f"select name, mail from users where name = '{name}'").fetchall())


@pytest.fixture
def shop(database: sqlite3.Connection) -> flask.testing.FlaskClient:
    app = flask.Flask("shop")
    app.secret_key = "k"

    @app.post("/form")
    def form() -> str:
        flask.session["seen"] = "yes"
        return find(database, flask.request.form["user"])

    @app.post("/json")
    def json() -> str:
        return find(database, flask.request.get_json()["who"]["names"][0])

    @app.post("/upload")
    def upload() -> str:
        return find(database, flask.request.files["file"].filename or "")

    @app.get("/path/<name>")
    def path(name: str) -> str:
        return find(database, name)

    @app.get("/cookie")
    def cookie() -> str:
        return find(database, flask.request.cookies["who"])

    @app.get("/header")
    def header() -> str:
        return find(database, flask.request.headers["referer"])

    @app.get("/query")
    def query() -> str:
        return find(database, flask.request.args["q"])

    @app.get("/file/<path:name>")
    def file(name: str) -> Any:
        return Path("files", name).read_text()

    @app.get("/handled")
    def handled() -> str:
        try:
            return find(database, flask.request.args["q"])
        except Exception:
            return "an error page"

    return app.test_client()


def by_cookie(client: Any) -> Any:
    client.set_cookie("who", "x' or 1 or '")
    return client.get("/cookie", headers=ORIGIN)


def upload(client: Any, name: str) -> Any:
    return client.post("/upload", data={"file": (io.BytesIO(b"content"), name)}, headers=ORIGIN)


def multipart(client: Any, user: str) -> Any:
    return client.post("/form", data={"user": user, "x": (io.BytesIO(b"y"), "n")}, headers=ORIGIN)


ROUTES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "form": ("form", lambda c: c.post("/form", data={"user": UNION}, headers=ORIGIN)),
    "multipart": ("form", lambda c: multipart(c, UNION)),
    "json": ("json", lambda c: c.post("/json", json={"who": {"names": [UNION]}}, headers=ORIGIN)),
    "file": ("file", lambda c: upload(c, "x' or 1 or '")),
    "path": ("path", lambda c: c.get("/path/x' or 1=1 --", headers=ORIGIN)),
    "cookie": ("cookie", by_cookie),
    "header": ("header", lambda c: c.get("/header", headers={**ORIGIN, "referer": UNION})),
    "query": ("query", lambda c: c.get("/query", query_string={"q": UNION}, headers=ORIGIN)),
    "handled": ("query", lambda c: c.get("/handled", query_string={"q": UNION}, headers=ORIGIN)),
    "traversal": ("path", lambda c: c.get("/file/..%2F..%2Fetc/passwd", headers=ORIGIN)),
}


@pytest.mark.parametrize("name", ROUTES)
def test_flask_diverts_an_attack_from_every_source(
    name: str, sensor: Sensor, shop: Any, kept: list[Detection]
) -> None:
    source, call = ROUTES[name]
    response = call(shop)
    assert (response.status_code, response.data) == (307, b"")
    assert response.headers["location"] == ORIGIN["x-divertor-origin"]
    assert "set-cookie" not in response.headers
    assert [(found.source, found.outcome) for found in kept] == [(source, "diverted")]


def test_flask_serves_an_honest_request_as_before(sensor: Sensor, shop: Any) -> None:
    response = shop.post("/form", data={"user": "bob"})
    assert response.text == "[('bob', 'b@x')]" and "set-cookie" in response.headers


def test_the_trace_names_the_apps_own_code_first(sensor: Sensor, shop: Any, kept: list[Detection]) -> None:
    shop.post("/form", data={"user": UNION})
    functions = [frame.function.rpartition(".")[2] for frame in kept[0].frames]
    assert functions[:2] == ["find", "form"] and "wsgi_app" in functions
    assert not any("divertor_sensor" in frame.file for frame in kept[0].frames)


def starlette_app(database: sqlite3.Connection) -> Starlette:
    async def query(request: Any) -> PlainTextResponse:
        return PlainTextResponse(find(database, request.query_params["q"]))

    def in_thread(request: Any) -> PlainTextResponse:
        return PlainTextResponse(find(database, request.query_params["q"]))

    async def form(request: Any) -> PlainTextResponse:
        return PlainTextResponse(find(database, (await request.json())["q"]))

    async def later(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok", background=BackgroundTask(find, database, request.query_params["q"]))

    async def passed(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    routes = [
        Route("/query", query),
        Route("/thread", in_thread),
        Route("/json", form, methods=["POST"]),
        Route("/later", later),
        Mount("/inner", Starlette(routes=[Route("/query", query)])),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=passed)])


async def _ask(app: Any, method: str, url: str, **extra: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://shop.example", headers=ORIGIN
    ) as client:
        return await client.request(method, url, **extra)


def ask(app: Any, method: str, url: str, **extra: Any) -> httpx.Response:
    return asyncio.run(_ask(app, method, url, **extra))


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/query", {"params": {"q": UNION}}),
    ("GET", "/thread", {"params": {"q": UNION}}),
    ("GET", "/inner/query", {"params": {"q": UNION}}),
    ("POST", "/json", {"json": {"q": UNION}}),
]


@pytest.mark.parametrize(("method", "url", "extra"), CALLS)
def test_starlette_diverts_an_attack(
    method: str,
    url: str,
    extra: dict[str, Any],
    sensor: Sensor,
    database: sqlite3.Connection,
    kept: list[Detection],
) -> None:
    response = ask(starlette_app(database), method, url, **extra)
    assert (response.status_code, response.headers["x-divertor-token"], len(kept)) == (307, "secret-token", 1)


def test_starlette_serves_an_honest_request_as_before(sensor: Sensor, database: sqlite3.Connection) -> None:
    assert ask(starlette_app(database), "GET", "/query", params={"q": "bob"}).text == "[('bob', 'b@x')]"


def test_an_attack_in_a_background_task_is_stopped_after_the_response(
    sensor: Sensor, database: sqlite3.Connection, kept: list[Detection]
) -> None:
    response = ask(starlette_app(database), "GET", "/later", params={"q": UNION})
    assert (response.text, kept[0].outcome) == ("ok", "blocked")


def test_fastapi_is_covered_by_starlette(
    sensor: Sensor, database: sqlite3.Connection, kept: list[Detection]
) -> None:
    app = fastapi.FastAPI()

    @app.get("/items/{name}")
    def item(name: str) -> str:
        return find(database, name)

    response = ask(app, "GET", "/items/x' or 1=1 --")
    assert (response.status_code, kept[0].source) == (307, "path")


def test_work_handed_to_a_thread_is_guarded(
    sensor: Sensor, database: sqlite3.Connection, kept: list[Detection]
) -> None:
    app = flask.Flask("threads")

    @app.get("/")
    def work() -> str:
        results: list[str] = []
        q = flask.request.args["q"]

        def search() -> None:
            try:
                results.append(find(database, q))
            except BaseException:
                results.append("stopped")

        thread = threading.Thread(target=search)
        thread.start()
        thread.join()
        return results[0]

    response = app.test_client().get("/", query_string={"q": UNION}, headers=ORIGIN)
    assert (response.status_code, len(kept)) == (307, 1)


def test_protect_wraps_a_plain_app_by_its_protocol(sensor: Sensor) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    class AsgiApp:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        return []

    app = flask.Flask("x")
    assert isinstance(protect(asgi), DivertorASGI) and isinstance(protect(AsgiApp()), DivertorASGI)
    assert isinstance(protect(wsgi), DivertorWSGI) and protect(app) is app
