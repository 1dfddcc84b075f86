"""Ways around the sensor that once worked, each through a real Flask app with real sinks."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import os
import pickle
import re
import shlex
import sqlite3
import subprocess
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import flask
import pytest
import requests
from werkzeug.test import Client

from divertor_sensor.detectors import Candidate, nosql, sql
from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection, log_record
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode
from divertor_sensor.sources.charsets import foreign_charset
from divertor_sensor.sources.documents import read_json
from divertor_sensor.sources.inputs import Input, Inputs, read_cookies, read_headers, read_line
from divertor_sensor.work import Work

MakeSensor = Callable[..., Sensor]
ATTACK = "' OR 1=1 OR 'mark'--"
QUOTED = quote(ATTACK)
JSON = json.dumps({"q": ATTACK})
UNICODE = JSON.replace("'", "\\u0027")


def deepest(node: Any) -> str:
    while isinstance(node, list):
        node = node[0]
    return str(node)


def claims(token: str) -> dict[str, str]:
    """What a token says, as libraries read it; the signature is another matter."""
    part = token.split(".")[1]
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def field(name: str, value: str, more: str = "") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


class Shop:
    """An app that puts one value of each request into a statement; `ran` is what SQLite ran of it."""

    def __init__(self, sensor: Sensor) -> None:
        self.ran: list[str] = []
        self._app = app = flask.Flask("shop")
        app.config["MAX_FORM_PARTS"] = 5000
        request = flask.request
        values: dict[str, Callable[[], str]] = {
            "query": lambda: request.args["q"],
            "form": lambda: request.form["q"],
            "json": lambda: request.get_json(force=True)["q"],
            "deep": lambda: deepest(request.get_json(force=True)),
            "file": lambda: request.files["f"].read().decode(),
            "after": lambda: (request.files["f"].read(), request.form["q"])[1],
            "user": lambda: str(request.authorization and request.authorization.username),
            "base64": lambda: base64.b64decode(request.args["q"]).decode(),
            "nfkc": lambda: unicodedata.normalize("NFKC", request.args["q"]),
            "thrice": lambda: unquote(unquote(request.args["q"])),
            "split": lambda: request.args["q"].split("-", 1)[1],
            "html": lambda: html.unescape(request.args["q"]),
            "reversed": lambda: request.args["q"][::-1],
            "cookie": lambda: request.cookies["q"],
            "xml": lambda: str(ElementTree.fromstring(request.get_data()).findtext("q")),
            "saml": lambda: str(ElementTree.fromstring(base64.b64decode(request.form["q"])).findtext("q")),
            "token": lambda: claims(request.headers["authorization"].split()[1])["sub"],
            "read": lambda: (request.get_data(), "x")[1],
        }
        for name, value in values.items():
            app.add_url_rule(f"/{name}", name, self._view(value), methods=["GET", "POST"])
        app.add_url_rule("/path/<path:value>", "path", lambda value: self.look_up(value))
        app.add_url_rule("/ping", "ping", self._ping, methods=["POST"])
        app.add_url_rule("/open", "open", self._open, methods=["GET", "POST"])
        self.client = Client(DivertorWSGI(app.wsgi_app, sensor), use_cookies=False)

    def _view(self, value: Callable[[], str]) -> Callable[[], str]:
        return lambda: self.look_up(value())

    def look_up(self, value: str) -> str:
        database = sqlite3.connect(":memory:")
        database.execute("create table t (n, owner)")
        database.set_trace_callback(self.ran.append)
        try:
            database.execute(f"SELECT n FROM t WHERE n = '{value}' AND owner = 'me'")
        except sqlite3.Error:
            return "error"
        finally:
            database.close()
        return "ok"

    def _open(self) -> str:
        flask.request.get_data(parse_form_data=True)
        name = flask.request.values["file"].strip()
        return Path(f"/nonexistent/{name}").read_text()[:10]

    def _ping(self) -> str:
        host = flask.request.form["q"].strip()
        subprocess.run(f"true {host} 2>&1", shell=True, check=False)
        return "ok"

    def ask(self, path: str, body: str | bytes = b"", kind: str = "", **headers: str) -> int:
        extra: dict[str, Any] = {"headers": headers}
        if body:
            extra |= {"method": "POST", "data": body, "content_type": kind or FORM}
        return self.client.open(path, **extra).status_code


FORM = "application/x-www-form-urlencoded"
TYPE = "application/json"
PARTS = "multipart/form-data; boundary=b"
END = "--b--\r\n"


@pytest.fixture
def shop(make_sensor: MakeSensor) -> Iterator[Shop]:
    yield Shop(make_sensor(mode=Mode.BLOCK))


#: name: (path, body, content type)
HOLES: dict[str, tuple[str, str | bytes, str]] = {
    "plainly": (f"/query?q={QUOTED}", "", ""),
    "after 600 empty fields of the query": (f"/query?{'&' * 600}q={QUOTED}", "", ""),
    "after 5000 empty fields of the query": (f"/query?{'&' * 5000}q={QUOTED}", "", ""),
    "after 520 fields": ("/form", "a=1&" * 520 + f"q={QUOTED}", FORM),
    "after 4000 fields": ("/form", "a=1&" * 4000 + f"q={QUOTED}", FORM),
    "after 140 parts": ("/form", field("a", "1") * 140 + field("q", ATTACK) + END, PARTS),
    "after 900 parts": ("/form", field("a", "1") * 900 + field("q", ATTACK) + END, PARTS),
    "40 levels deep": ("/deep", "[" * 40 + json.dumps(ATTACK) + "]" * 40, TYPE),
    "200 levels deep": ("/deep", "[" * 200 + json.dumps(ATTACK) + "]" * 200, TYPE),
    "200 levels deep, escaped": (
        "/deep",
        "[" * 200 + json.dumps(ATTACK).replace("'", "\\u0027") + "]" * 200,
        TYPE,
    ),
    "after 520 keys": ("/json", json.dumps({**{f"k{i}": "v" for i in range(520)}, "q": ATTACK}), TYPE),
    "after 4000 keys": ("/json", json.dumps({**{f"k{i}": "v" for i in range(4000)}, "q": ATTACK}), TYPE),
    "after 40 segments": ("/path/" + "a/" * 40 + QUOTED, "", ""),
    "after 90 segments": ("/path/" + "a/" * 90 + QUOTED, "", ""),
    "after 1 MiB of a field": ("/form", "a=" + "x" * (1 << 20) + f"&q={QUOTED}", FORM),
    "after 1 MiB of a file": (
        "/after",
        field("f", "x" * (1 << 20), '; filename="x"') + field("q", ATTACK) + END,
        PARTS,
    ),
    "in a file": ("/file", field("f", ATTACK, '; filename="x"') + END, PARTS),
    "in a long file": ("/file", field("f", ATTACK + " " * 300_000, '; filename="x"') + END, PARTS),
    "after an undecodable byte of the query": (f"/query?q=%FF{QUOTED}", "", ""),
    "after half a character": (f"/query?q=%c3{QUOTED}", "", ""),
    "after an undecodable byte of a form": ("/form", f"q=%FF{QUOTED}", FORM),
    "after an undecodable byte of the path": (f"/path/%ff{QUOTED}", "", ""),
    "in a part with a charset": (
        "/form",
        (
            '--b\r\nContent-Disposition: form-data; name="q"\r\n'
            + f"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe9{ATTACK}\r\n{END}"
        ).encode("latin-1"),
        PARTS,
    ),
    "in a form that begins as JSON does": ("/form", "{=1&q=" + QUOTED, FORM),
    "in a form that begins as a list does": ("/form", "[&q=" + QUOTED, FORM),
    "in a form that begins as parts do": ("/form", "--x\r\n&q=" + QUOTED, FORM),
    "under the second of two boundaries": (
        "/form",
        field("q", ATTACK) + END,
        "multipart/form-data; xboundary=foo; boundary=b",
    ),
    "under a boundary in extended notation": (
        "/form",
        "preamble\r\n" + field("q", ATTACK) + END,
        "multipart/form-data; boundary*=utf-8''b",
    ),
    "in a part that looks like a file": ("/form", field("q", ATTACK, '; x="; filename=foo"') + END, PARTS),
    "in parts with short line ends": ("/form", (field("q", ATTACK) + END).replace("\r\n", "\n"), PARTS),
    "in a part that holds the boundary": ("/form", field("q", "x' OR 1 OR '--b' LIKE 'x") + END, PARTS),
    "in UTF-16": ("/json", JSON.encode("utf-16"), TYPE),
    "in UTF-32": ("/json", JSON.encode("utf-32-le"), TYPE),
    "after a byte order mark": ("/json", ("\ufeff" + UNICODE).encode(), TYPE),
    "in JSON sent as text": ("/json", ("\ufeff" + UNICODE).encode(), "text/plain"),
    "in JSON sent as parts": ("/json", UNICODE, PARTS),
    "in JSON sent as a form": ("/json", UNICODE, FORM),
    "in a JSON text alone": ("/deep", json.dumps(ATTACK).replace("'", "\\u0027"), "text/plain"),
    "under a repeated key": ("/json", '{"q": "x", "q": ' + json.dumps(ATTACK) + "}", TYPE),
    "as a sentence": ("/form", "q=" + quote("' OR n LIKE 'a' OR [n] LIKE 'x"), FORM),
    "with a blob": ("/form", "q=" + quote("' OR 1 OR x'31' OR 'x"), FORM),
    "in base64": ("/base64?q=" + quote(base64.b64encode(b"\t" + ATTACK.encode())), "", ""),
    "in broken base64": (
        "/base64?q="
        + quote(base64.b64encode(ATTACK.encode())[:8] + b"\n" + base64.b64encode(ATTACK.encode())[8:]),
        "",
        "",
    ),
    "in full-width letters": ("/nfkc?q=" + quote(ATTACK.replace("'", "\uff07")), "", ""),
    "encoded three times": ("/thrice?q=" + quote(quote(QUOTED)), "", ""),
    "behind a separator": ("/split?q=a-" + QUOTED, "", ""),
    "in XML": ("/xml", f"<r><a/><q>{ATTACK}</q></r>", "application/xml"),
    "in XML sent as a form": ("/xml", f"<r><q>{ATTACK}</q></r>".replace("=", "&#61;"), FORM),
    "in XML in UTF-16": ("/xml", f"<r><q>{ATTACK}</q></r>".encode("utf-16"), "text/xml"),
    "in a section of XML": ("/xml", f"<r><q>' <![CDATA[{ATTACK[2:]}]]></q></r>", "application/xml"),
    "in an entity of XML": ("/xml", f'<!DOCTYPE r [<!ENTITY e "{ATTACK}">]><r><q>&e;</q></r>', "text/xml"),
    "in XML in base64": (
        "/saml",
        "q=" + quote(base64.b64encode(f"<r><q>{html.escape(ATTACK)}</q></r>".encode())),
        FORM,
    ),
    "in entities": ("/html?q=" + quote(ATTACK.replace("'", "&#39;")), "", ""),
}


@pytest.mark.parametrize("name", HOLES)
def test_an_attack_does_not_run_when_it_comes(name: str, shop: Shop) -> None:
    path, body, kind = HOLES[name]
    status = shop.ask(path, body, kind)
    # Flask itself refuses some of them; the database sees none.
    assert shop.ran == [] and status in {400, 403, 413}


def test_every_hole_is_tried() -> None:
    assert len(HOLES) == 53


def test_a_claim_of_a_token_is_an_input(shop: Shop) -> None:
    parts = [json.dumps(each).encode() for each in ({"alg": "none"}, {"sub": ATTACK})]
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    assert shop.ask("/token", authorization=f"Bearer {token}.") == 403 and shop.ran == []


def test_the_user_name_of_basic_authentication_is_an_input(shop: Shop) -> None:
    credentials = base64.b64encode(f"{ATTACK}:x".encode()).decode()
    assert shop.ask("/user", authorization=f"Basic {credentials}") == 403 and shop.ran == []


@pytest.mark.parametrize(
    "cookie",
    [f'q="{ATTACK}"', f'q="\\303\\251{ATTACK}"', f'q="\xc3\xa9{ATTACK}"', f'q="\xff{ATTACK}"'],
)
def test_a_cookie_is_read_as_its_reader_does(cookie: str, shop: Shop) -> None:
    environ = {"HTTP_COOKIE": cookie}
    assert shop.client.open("/cookie", environ_overrides=environ).status_code == 403 and shop.ran == []


SHELLS = [
    "; touch {}",
    " " * 17_000 + "; touch {}",
    "x #'\ntouch {} #",
    'x #"\ntouch {} #',
    "\r\n" + " " * 17_000 + "; touch {}",
    "x\ntouch {}",
]


@pytest.mark.parametrize("value", SHELLS)
def test_a_command_is_stopped(value: str, shop: Shop, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    assert shop.ask("/ping", "q=" + quote(value.format(proof)), FORM) == 403 and not proof.exists()


TRAVERSALS: dict[str, tuple[str, str, str]] = {
    "after 5000 empty fields": ("/open?" + "&" * 5000 + "file=../etc/passwd", "", ""),
    "behind 17,000 spaces": ("/open", "file=" + "+" * 17_000 + "../etc/passwd", FORM),
    "after a large file": (
        "/open",
        field("f", "x" * (2 << 20), '; filename="x"') + field("file", "../etc/passwd") + END,
        PARTS,
    ),
    "after a large field": ("/open", "a=" + "x" * (1 << 20) + "&file=../etc/passwd", FORM),
    "in a field too long to keep": ("/open", field("file", " " * 300_000 + "../etc/passwd") + END, PARTS),
    "in a late field too long to keep": (
        "/open",
        field("f", "x" * (2 << 20), '; filename="x"') + field("file", " " * 9_000 + "../etc/passwd") + END,
        PARTS,
    ),
}


@pytest.mark.parametrize("name", TRAVERSALS)
def test_a_traversal_is_stopped(name: str, shop: Shop) -> None:
    assert shop.ask(*TRAVERSALS[name]) == 403


def test_a_large_upload_is_stored_as_before(make_sensor: MakeSensor, tmp_path: Path) -> None:
    """What was not seen of a file's content cannot have named the path, and bound values harm nothing."""
    app = flask.Flask("store")

    def store() -> str:
        upload = flask.request.files["f"]
        upload.save(tmp_path / str(upload.filename))
        database = sqlite3.connect(":memory:")
        statement = " ".join(["select", "?", "as", '"name"', "limit", "1"])
        database.execute(statement, (upload.filename,)).close()
        database.close()
        return "ok"

    app.add_url_rule("/", "store", store, methods=["POST"])
    client = Client(DivertorWSGI(app.wsgi_app, make_sensor(mode=Mode.BLOCK)))
    body = field("f", "x" * (3 << 20), '; filename="x.jpg"') + END
    assert client.open("/", method="POST", data=body, content_type=PARTS).status_code == 200
    assert (tmp_path / "x.jpg").stat().st_size == 3 << 20


def test_more_fields_than_can_be_judged_do_not_stop_an_unrelated_statement(shop: Shop) -> None:
    body = "&".join(f"p{number}={number}" for number in range(4000))
    assert shop.ask("/read", body, FORM) == 200 and len(shop.ran) == 1


def test_a_request_with_too_much_to_judge_is_reported_as_such(shop: Shop, kept: list[Detection]) -> None:
    shop.ask("/form", "a=1&" * 4000 + f"q={QUOTED}", FORM)
    assert [(found.parameter, found.outcome) for found in kept] == [("(too much input to judge)", "blocked")]


def test_in_report_mode_too_much_to_judge_stops_nothing(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    shop = Shop(make_sensor(mode=Mode.REPORT))
    assert shop.ask("/form", "a=1&" * 4000 + f"q={QUOTED}", FORM) == 200
    assert kept[0].outcome == "reported"


def test_many_inputs_against_a_long_statement_cost_little(shop: Shop) -> None:
    big = quote("'+") * 10_000
    fields = "".join(f"&f{number}={quote(chr(39) + '+ +' * number)}" for number in range(1, 198))
    started = time.process_time()
    assert shop.ask("/form", f"q={big}{fields}", FORM) == 403 and shop.ran == []
    assert time.process_time() - started < 1


def test_an_attack_that_went_unseen_does_not_excuse_the_next(shop: Shop) -> None:
    for _ in range(8):
        assert shop.ask(f"/reversed?q={quote(ATTACK[::-1])}") == 200
    shop.ran.clear()
    assert shop.ask(f"/query?q={QUOTED}") == 403 and shop.ran == []


def test_a_session_cookie_is_reported_by_its_bytes(shop: Shop, kept: list[Detection]) -> None:
    raw = "é".encode() + b"\xff1"
    environ = {"HTTP_COOKIE": "session=" + raw.decode("latin-1")}
    shop.client.open(f"/query?q={QUOTED}", environ_overrides=environ)
    record = json.loads(json.dumps(log_record(kept[0])))
    sent = next(item["value"]["stringValue"] for item in record["attributes"] if item["key"] == "session.id")
    assert sent.encode("utf-8", "surrogateescape") == raw


def test_the_path_as_it_came_is_an_input(shop: Shop, make_sensor: MakeSensor) -> None:
    """A segment with an encoded slash is one value to an app that decodes the path by itself."""
    raw = "/raw/x%27%20OR%201/**%2F1--"

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        shop.look_up(unquote(environ["REQUEST_URI"].split("/")[2].split("?")[0]))
        return []

    client = Client(DivertorWSGI(app, make_sensor(mode=Mode.BLOCK)))
    answer = client.open("/raw/x' OR 1/**/1--", environ_overrides={"REQUEST_URI": raw, "RAW_URI": raw})
    assert answer.status_code == 403 and shop.ran == []


def test_the_names_of_cookies_and_headers_and_an_odd_method_are_inputs() -> None:
    inputs = Inputs()
    read_cookies(inputs, "a;x' or 1=y; b=c")
    read_headers(inputs, [("x-a'`id`", "1"), ("accept", "2")])
    read_line(inputs, "GET'", "/plain")
    read_line(inputs, "PATCH", "/plain")
    assert {("cookie", "x' or 1", "x' or 1"), ("header", "x-a'`id`", "x-a'`id`"), ("method", "", "GET'")} <= {
        tuple(value) for value in inputs.values
    }
    assert {source for source, _, _ in inputs.values} == {"cookie", "header", "method"}


async def _socket(sensor: Sensor, messages: list[Any], use: Callable[[Any], object]) -> list[str]:
    """What an app sends that uses each message it gets, and how the socket ends."""
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "websocket.connect"}]
    incoming += [
        {"type": "websocket.receive", ("text" if isinstance(each, str) else "bytes"): each}
        for each in messages
    ]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in messages:
            message = await receive()
            use(message.get("text") or message.get("bytes"))
            await send({"type": "websocket.send", "text": "ok"})

    await DivertorASGI(app, sensor)({"type": "websocket", "path": "/", "headers": []}, receive, send)
    return [message["type"] for message in sent]


@pytest.mark.parametrize("message", [ATTACK, JSON, JSON.encode(), UNICODE])
def test_an_attack_in_a_message_of_a_web_socket_is_stopped(
    message: str | bytes, shop: Shop, make_sensor: MakeSensor
) -> None:
    def use(text: str) -> None:
        shop.look_up(json.loads(text)["q"] if text[:1] in ("{", b"{") else text)

    ran = asyncio.run(_socket(make_sensor(mode=Mode.BLOCK), ["hello", message], use))
    assert ran == ["websocket.accept", "websocket.send", "websocket.close"]
    assert len(shop.ran) == 1


def test_a_socket_that_lives_long_is_judged_by_what_it_said_last(shop: Shop, make_sensor: MakeSensor) -> None:
    messages = [f"{number} it's {'x' * 5000}" for number in range(200)] + [ATTACK]
    ran = asyncio.run(_socket(make_sensor(mode=Mode.BLOCK), messages, lambda text: shop.look_up(text[-60:])))
    assert ran == ["websocket.accept", *["websocket.send"] * 200, "websocket.close"]


def judged(statement: str, *values: str, dialect: str = "sqlite") -> bool:
    """Whether the SQL detector stops a statement, given these inputs of one request."""
    detector = sql.dialect(dialect)
    found = [
        Candidate(text, Input("query", f"p{place}", value))
        for place, value in enumerate(values)
        for text in detector.select(value)
    ]
    finding = detector.judge(statement, found, Work()).finding
    return finding is not None and finding.hostile


#: Statements in which inputs too short for a statement of their own work together: (statement, inputs).
TOGETHER = {
    "signs": ("SELECT 1 WHERE u = ''=' AND p = '<''", ("'=", "<'")),
    "signs of subtraction": ("SELECT 1 WHERE u = ''-' AND p = '-''", ("'-", "-'")),
    "quotes around signs": ("SELECT 1 WHERE u = ''' AND p = '<>' AND o = '''", ("'", "<>", "'")),
    "brackets": ("SELECT 1 WHERE o = 7 AND (a = 9) OR b = (1)", ("9)", "(1")),
    "an input cut short": ("SELECT 1 WHERE u = ''or 1=1--'", ("'or 1=1--AAAAAAAAAAAA",)),
    "a number cut short": ("SELECT 1 WHERE id = 1 or 1=1", ("1 or 1=1 or AAAAAAAAAAAA",)),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_short_inputs_do_not_work_together(name: str) -> None:
    statement, values = TOGETHER[name]
    assert judged(statement, *values)


def test_a_backslash_that_shifts_the_quotes_is_stopped() -> None:
    statement = "SELECT 1 WHERE u = '\\' AND p = '=' AND o = '''"
    assert judged(statement, "\\", "=", "'", dialect="mysql")


def test_signs_that_are_escaped_or_the_programs_own_are_left_alone() -> None:
    for value in ("'", "'=", "=", "Jess'", "x'"):
        escaped = value.replace("'", "''")
        assert not judged(f"SELECT 1 WHERE u = '{escaped}' AND p LIKE '{escaped}%' AND o = ''", value)
    assert not judged("SELECT ';' || a || ',' WHERE b IN ('a','b')", "',", "')")
    assert not judged(
        "SELECT name FROM t WHERE is_new AND price < 7", "select it", "where is it", "price < 100"
    )


def test_a_login_is_not_passed_with_signs(make_sensor: MakeSensor) -> None:
    app = flask.Flask("login")

    @app.get("/")
    def login() -> str:
        database = sqlite3.connect(":memory:")
        database.execute("create table u (name, word)")
        name, word = flask.request.args["u"], flask.request.args["p"]
        database.execute(f"SELECT * FROM u WHERE name = '{name}' AND word = '{word}'")
        return "ok"

    client = Client(DivertorWSGI(app.wsgi_app, make_sensor(mode=Mode.BLOCK)), use_cookies=False)
    assert client.get("/?u=%27%3D&p=%3C%27").status_code == 403
    assert client.get("/?u=bob&p=%3C").status_code == 200


class Machine:
    """An app that hands one value of each request to the system it runs on."""

    def __init__(self, sensor: Sensor, base: Path) -> None:
        app = flask.Flask("machine")
        uses: dict[str, Callable[[str], object]] = {
            "normal": lambda text: open(os.path.normpath(os.path.join(base, text))).read(),
            "suffixed": lambda text: open(os.path.normpath(f"{base}/{text}.txt")).read(),
            "joined": lambda text: (base / text).read_text(),
            "once": lambda text: open(f"{base}/{text.replace('../', '')}").read(),
            "pipefail": lambda text: subprocess.run(["bash", "-euo", "pipefail", "-c", f"true {text}"]),
            "later": lambda text: subprocess.run(["sh", "-c", "-e", f"true {text}"]),
            "su": lambda text: subprocess.run(["su", "root", "-c", f"true {text}"]),
            "split": lambda text: subprocess.run(shlex.split(f"git ls-remote {text}")),
            "command": lambda text: subprocess.run(shlex.split(text)),
            "word": lambda text: subprocess.run(["git", "ls-remote", text, "."]),
            "pickle": lambda text: pickle.loads(base64.b64decode(text)),
            "packed": lambda text: pickle.loads(zlib.decompress(base64.b64decode(text))),
            "fetch": lambda text: requests.get(text, timeout=1),
        }
        for name, use in uses.items():
            app.add_url_rule(f"/{name}", name, self._view(use), methods=["POST"])
        self._client = Client(DivertorWSGI(app.wsgi_app, sensor), use_cookies=False)

    def _view(self, use: Callable[[str], object]) -> Callable[[], str]:
        def view() -> str:
            try:
                use(flask.request.form["q"])
            except (OSError, ValueError, subprocess.SubprocessError):
                return "failed"
            return "ok"

        return view

    def ask(self, path: str, text: str) -> int:
        return self._client.post(path, data={"q": text}).status_code


class Gadget:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def text_made_by(function: bytes, *arguments: bytes) -> bytes:
    """The instructions of a pickle that call a function of text."""
    module, name = function.split(b":")
    words = [b"\x8c" + bytes([len(word)]) + word for word in (module, name)]
    made = [b"C" + bytes([len(word)]) + word for word in arguments[:1]]
    made += [b"\x8c" + bytes([len(word)]) + word for word in arguments[1:]]
    return b"".join(words) + b"\x93" + b"".join(made) + b"\x86R"


SPELT = (
    b"\x80\x04"
    + text_made_by(b"builtins:str", b"+AHAAbwBzAGkAeA-", b"utf-7")
    + text_made_by(b"builtins:str", b"+AHMAeQBzAHQAZQBt-", b"utf-7")
    + b"\x93\x8c\x04true\x85R."
)
MISUSES: dict[str, tuple[str, str]] = {
    "steps in the middle": ("/normal", "x/../../../../../../../../etc/passwd"),
    "steps behind the root": ("/normal", "/x/../etc/passwd"),
    "steps before a suffix": ("/suffixed", "../../../../../../etc/apt/sources"),
    "5000 slashes": ("/joined", "/" * 5000 + "etc/passwd"),
    "steps within steps": ("/once", "....//" * 8 + "etc/passwd"),
    "a line behind an option with a value": ("/pipefail", "; true"),
    "a line behind a late option": ("/later", "; true"),
    "a line for another user": ("/su", "; true"),
    "an option among words": ("/split", ". --upload-pack=true"),
    "a whole command": ("/command", "true -v"),
    "a long option": ("/word", "--upload-pack=true #" + "A" * 6000),
    "a long pickle": ("/pickle", base64.b64encode(pickle.dumps(["x" * 300_000, Gadget()])).decode()),
    "a long packed pickle": (
        "/packed",
        base64.b64encode(zlib.compress(pickle.dumps(["x" * 2_000_000, Gadget()]))).decode(),
    ),
    "names that a pickle spells": ("/pickle", base64.b64encode(SPELT).decode()),
    "a host behind a long name": ("/fetch", f"http://{'a' * 400}@127.0.0.1:9/"),
    "a host behind a very long name": ("/fetch", f"http://{'a' * 70_000}@127.0.0.1:9/"),
    "a host behind signs": ("/fetch", "http://a<b@127.0.0.1:9/"),
    "a host behind blanks": ("/fetch", " " * 70_000 + "http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_stopped(name: str, make_sensor: MakeSensor, tmp_path: Path) -> None:
    assert Machine(make_sensor(mode=Mode.BLOCK), tmp_path).ask(*MISUSES[name]) == 403


HONEST_USES = {
    "/normal": "a/../b.txt",
    "/suffixed": "notes/today",
    "/joined": "./a//b.txt",
    "/once": "a/b",
    "/pipefail": "word",
    "/split": ".",
    "/word": ".",
    "/pickle": base64.b64encode(pickle.dumps(["x" * 300_000])).decode(),
}


@pytest.mark.parametrize("path", HONEST_USES)
def test_an_honest_use_is_not_stopped(path: str, make_sensor: MakeSensor, tmp_path: Path) -> None:
    assert Machine(make_sensor(mode=Mode.BLOCK), tmp_path).ask(path, HONEST_USES[path]) == 200


#: As Django and aiohttp read them: (body, content type), in a charset that the client names.
FOREIGN: dict[str, tuple[str | bytes, str]] = {
    "a form": ("q=+ACc- OR 1", "application/x-www-form-urlencoded; charset=utf-7"),
    "JSON": ('{"q": "+ACc- OR 1"}', "application/json; charset=UTF-7"),
    "JSON in EBCDIC": ('{"q": "\' OR 1"}'.encode("cp037"), "application/json; charset=cp037"),
    "a part": (field("q", "+ACc- OR 1") + END, f'{PARTS}; charset="utf-7"'),
    "a part's own": (field("q", "+ACc- OR 1", "\r\nContent-Type: text/plain; charset=utf-7") + END, PARTS),
    "a quoted part": (
        field("q", "=27 OR =\r\n1", "\r\nContent-Transfer-Encoding: quoted-printable") + END,
        PARTS,
    ),
    "the query": ("", "text/plain; charset=utf-7"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_charset_that_is_no_ascii_hides_nothing(name: str, make_sensor: MakeSensor) -> None:
    body, kind = FOREIGN[name]
    head = Head("POST", "/", "" if body else "q=%2BACc- OR 1", {"content-type": kind}, "")
    request = Request(make_sensor(), lambda: head)
    request.body.record(body.encode() if isinstance(body, str) else body)
    assert "' OR 1" in [found.value for found in request.inputs().values]
    assert not request.is_plain() or "charset" not in kind.partition(";")[2]


def test_a_usual_charset_costs_nothing(make_sensor: MakeSensor) -> None:
    for charset in ("utf-8", "ISO-8859-1", "windows-1252", "gbk", "shift_jis", "hex", "nonsense", "ü"):
        assert foreign_charset(f"text/plain; charset={charset}") == ""
    assert foreign_charset("text/plain") == ""


#: A page, and the input that acts in it.
ACTING = {
    "in code": ("<script>var id = {};</script>", "1;alert(document.cookie)"),
    "in a handler": ("<a onclick='show({})'>x</a>", "1),alert(1"),
    "as an attribute": ("<input {}>", "onfocus=alert(1) autofocus"),
    "in a page within": ('<iframe srcdoc="{}"></iframe>', "&lt;script>alert(1)&lt;/script>"),
}


def page_of(name: str, value: str, sensor: Sensor) -> int:
    app = flask.Flask("page")
    app.add_url_rule("/", "page", lambda: ACTING[name][0].replace("{}", flask.request.args["q"]))
    return (
        Client(DivertorWSGI(app.wsgi_app, sensor), use_cookies=False).get("/?q=" + quote(value)).status_code
    )


@pytest.mark.parametrize("name", ACTING)
def test_an_input_without_markup_that_acts_is_stopped(name: str, make_sensor: MakeSensor) -> None:
    assert page_of(name, ACTING[name][1], make_sensor(mode=Mode.BLOCK)) == 403


@pytest.mark.parametrize("name", ACTING)
def test_an_input_without_markup_that_does_nothing_is_not(name: str, make_sensor: MakeSensor) -> None:
    assert page_of(name, "12", make_sensor(mode=Mode.BLOCK)) == 200


def test_a_page_within_an_escaped_attribute_is_read(make_sensor: MakeSensor) -> None:
    app = flask.Flask("page")
    app.add_url_rule(
        "/", "page", lambda: f'<iframe srcdoc="{html.escape(flask.request.args["q"])}"></iframe>'
    )
    client = Client(DivertorWSGI(app.wsgi_app, make_sensor(mode=Mode.BLOCK)), use_cookies=False)
    assert client.get("/?q=" + quote("<script>alert(1)</script>")).status_code == 403
    assert client.get("/?q=" + quote("a < b (really)")).status_code == 200


def test_harmless_markup_does_not_tire_the_reader_of_a_streamed_page(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    app = flask.Flask("stream")

    @app.get("/")
    def stream() -> flask.Response:
        given = flask.request.args
        return flask.Response(f"<p>{given['w']}</p>" if at < 6 else given["q"] for at in range(7))

    client = Client(DivertorWSGI(app.wsgi_app, make_sensor(mode=Mode.REPORT)), use_cookies=False)
    client.get("/?w=" + quote("<b>bold!</b>") + "&q=" + quote("<script>alert(1)</script>")).get_data()
    assert "attack" in {found.signal for found in kept}


@pytest.mark.parametrize("host", ["evil。com", "еvil.com", "bücher.example"])
def test_an_international_name_is_known_as_a_library_writes_it(host: str, make_sensor: MakeSensor) -> None:
    app = flask.Flask("redirect")
    app.add_url_rule("/", "redirect", lambda: flask.redirect(flask.request.args["q"]))
    client = Client(DivertorWSGI(app.wsgi_app, make_sensor(mode=Mode.BLOCK)), use_cookies=False)
    assert client.get("/?q=" + quote(f"//{host}/")).status_code == 403
    assert client.get("/?q=" + quote(f"/{host}")).status_code == 302


@pytest.mark.parametrize(
    "value", ['{"$ne":{"$oid":"5f5f5f5f5f5f5f5f5f5f5f5f"}}', '{"$regex":".","$options":""}']
)
def test_an_operator_whose_value_became_another_is_known(value: str) -> None:
    inputs = Inputs()
    read_json(inputs, "json", "", f'{{"word":{value}}}')
    found = [Candidate(text, one) for one in inputs.values for text in nosql.DETECTOR.select(one.value)]
    built = {"word": {"$ne": object()}} if "$ne" in value else {"word": re.compile(".")}
    finding = nosql.DETECTOR.judge(nosql.DOCUMENT + nosql.canonical(built), found, Work()).finding
    assert finding is not None and finding.hostile
