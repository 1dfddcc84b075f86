"""The sensor in real servers, started by its command, reporting to a real collector.

Each server runs in its own process with the app below; nothing in the app mentions the sensor.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

import divertor_sensor

SOURCE = str(Path(divertor_sensor.__file__).parent.parent)
UNION = "' union all select 1,2 from INFORMATION_SCHEMA.tables -- "
ORIGIN = {"x-divertor-origin": "http://shop.example/login", "cookie": "session=s-1"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

FLASK_APP = """
import sqlite3, subprocess
from flask import Flask, Response, request
app = Flask(__name__)
database = sqlite3.connect("shop.db", check_same_thread=False)
database.executescript("create table if not exists users (name, mail)")
database.set_trace_callback(lambda text: print(text, file=open("statements.log", "a")))

def find(name):
    return database.execute("select * from users where name = '%s'" % name).fetchall()

@app.post("/login")
def login():
    try:
        return str(find(request.form["user"]))
    except Exception:
        return "sorry"

@app.get("/ping")
def ping():
    return subprocess.run("echo " + request.args["host"], shell=True, capture_output=True, text=True).stdout

@app.get("/stream")
def stream():
    def pieces():
        yield "first"
        yield str(find(q))
    q = request.args["q"]
    return Response(pieces())
"""
STARLETTE_APP = """
import sqlite3
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

def find(name):
    with sqlite3.connect("shop.db") as database:
        database.executescript("create table if not exists users (name, mail)")
        return database.execute("select * from users where name = '%s'" % name).fetchall()

async def login(request):
    return PlainTextResponse(str(find((await request.json())["user"])))

async def stream(request):
    async def pieces():
        yield "first"
        yield str(find(request.query_params["q"]))
    return StreamingResponse(pieces())

app = Starlette(routes=[Route("/login", login, methods=["POST"]), Route("/stream", stream)])
"""

#: The sensor in the app itself, as an import and a call; and around an app without a framework.
ONE_CALL = "import divertor_sensor; divertor_sensor.instrument()\n" + STARLETTE_APP
PROTECTED = """
import sqlite3, divertor_sensor
from urllib.parse import parse_qs

def app(environ, start_response):
    start_response("200 OK", [])
    name = parse_qs(environ["QUERY_STRING"])["q"][0]
    with sqlite3.connect("shop.db") as database:
        database.executescript("create table if not exists users (name, mail)")
        return [str(database.execute("select * from users where name = '%s'" % name).fetchall()).encode()]

app = divertor_sensor.protect(app)
"""


@contextmanager
def serve(
    folder: Path,
    app: str,
    arguments: list[str],
    ready: str,
    collector: Any,
    run: tuple[str, ...] = ("-m", "divertor_sensor", "run", sys.executable),
) -> Iterator[None]:
    """A server with the sensor in it, from its own folder, until the end of the block."""
    (folder / "shop.py").write_text(app)
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([SOURCE, str(folder)]),
        "DIVERTOR_ENDPOINT": collector.url,
        "DIVERTOR_MODE": "divert",
        "DIVERTOR_DIVERT_TOKEN": "secret-token",
        "DIVERTOR_INGEST_TOKEN": "in",
        "DIVERTOR_VERSION": "shop:1.1.0",
        "DIVERTOR_SENSOR_STRICT": "1",
    }
    command = [sys.executable, *run, "-m", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            if ready in line:
                break
        else:
            pytest.fail("the server did not start: " + "".join(told))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        process.wait(20)
        process.stderr.close()


@pytest.fixture(scope="module", params=["sync", "gthread"])
def _worker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def flask_port(tmp_path: Path, port: int, collector: Any, _worker: str) -> Iterator[int]:
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", _worker, "--no-control-socket"]
    with serve(tmp_path, FLASK_APP, ["gunicorn", *options, "shop:app"], "Booting worker", collector):
        yield port


@pytest.fixture
def starlette_port(tmp_path: Path, port: int, collector: Any) -> Iterator[int]:
    arguments = ["uvicorn", "--port", str(port), "shop:app"]
    with serve(tmp_path, STARLETTE_APP, arguments, "Uvicorn running", collector):
        yield port


def ask(
    port: int, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body.encode(), headers)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_gunicorn_diverts_the_login_attack_and_the_database_never_sees_it(
    flask_port: int, tmp_path: Path, collector: Any
) -> None:
    assert ask(flask_port, "POST", "/login", urlencode({"user": "bob"}), **FORM)[2] == b"[]"
    status, headers, body = ask(flask_port, "POST", "/login", urlencode({"user": UNION}), **FORM, **ORIGIN)
    assert (status, body) == (307, b"")
    assert (headers["location"], headers["x-divertor-token"]) == (ORIGIN["x-divertor-origin"], "secret-token")
    assert "union" not in (tmp_path / "statements.log").read_text()
    record = collector.record()
    assert (record["divertor.detection.outcome"], record["session.id"]) == ("diverted", "s-1")
    assert (record["code.file.path"], record["code.function.name"]) == (str(tmp_path / "shop.py"), "find")
    assert record["code.line.number"] == str(FLASK_APP.split("\n").index(_line("database.execute(")) + 1)


def _line(part: str) -> str:
    return next(line for line in FLASK_APP.split("\n") if part in line)


def test_gunicorn_diverts_a_shell_injection(flask_port: int, collector: Any) -> None:
    status, _, _ = ask(flask_port, "GET", "/ping?host=" + quote("x; id"), **ORIGIN)
    assert (status, collector.record()["divertor.detection.type"]) == (307, "shell_injection")


def test_gunicorn_cuts_a_response_that_has_begun_and_serves_on(flask_port: int) -> None:
    with pytest.raises(http.client.HTTPException):
        ask(flask_port, "GET", "/stream?q=" + quote(UNION), **ORIGIN)
    assert ask(flask_port, "POST", "/login", urlencode({"user": "bob"}), **FORM)[0] == 200


def test_uvicorn_diverts_and_reports(starlette_port: int, collector: Any) -> None:
    status, headers, _ = ask(starlette_port, "POST", "/login", json.dumps({"user": UNION}), **ORIGIN)
    assert (status, headers["x-divertor-token"]) == (307, "secret-token")
    assert collector.record()["divertor.detection.source"] == "json"


def test_uvicorn_cuts_a_response_that_has_begun_and_serves_on(starlette_port: int) -> None:
    with pytest.raises(http.client.HTTPException):
        ask(starlette_port, "GET", "/stream?q=" + quote(UNION), **ORIGIN)
    assert ask(starlette_port, "POST", "/login", json.dumps({"user": "bob"}))[2] == b"[]"


def test_one_call_in_the_app_is_enough(tmp_path: Path, port: int, collector: Any) -> None:
    arguments = ["uvicorn", "--port", str(port), "shop:app"]
    with serve(tmp_path, ONE_CALL, arguments, "Uvicorn running", collector, run=()):
        assert ask(port, "POST", "/login", json.dumps({"user": UNION}), **ORIGIN)[0] == 307
        assert ask(port, "POST", "/login", json.dumps({"user": "bob"}))[2] == b"[]"


def test_an_app_without_a_framework_can_be_protected(tmp_path: Path, port: int, collector: Any) -> None:
    arguments = ["gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket", "shop:app"]
    with serve(tmp_path, PROTECTED, arguments, "Booting worker", collector, run=()):
        assert ask(port, "GET", "/?q=" + quote(UNION), **ORIGIN)[0] == 307
        assert ask(port, "GET", "/?q=bob")[2] == b"[]"
