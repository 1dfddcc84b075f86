"""The response side: markup, addresses and line breaks that an input brought, over both protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, quote_plus
from wsgiref.util import setup_testing_defaults

import pytest

from divertor_sensor import ConnectionCut, Mode
from divertor_sensor.frameworks.asgi import DivertorASGI
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection
from divertor_sensor.responses import LIMIT
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]
SCRIPT = "<script>alert(1)</script>"
HTML = [("Content-Type", "text/html; charset=utf-8")]
ORIGIN = "http://shop.example/"


class Sent:
    """What reached the client."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body = b""

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
        self.status, self.headers = status[:3], dict(headers)
        return self.write

    def write(self, data: bytes) -> None:
        self.body += data


def get(app: Any, sensor: Sensor, query: str = "", sent: Sent | None = None, **extra: Any) -> Sent:
    environ: dict[str, Any] = {"QUERY_STRING": query, "HTTP_HOST": "shop.example", "REMOTE_ADDR": "10.0.0.9"}
    environ |= {"HTTP_X_DIVERTOR_ORIGIN": ORIGIN, **extra}
    setup_testing_defaults(environ)
    sent = Sent() if sent is None else sent
    result = DivertorWSGI(app, sensor)(environ, sent.start)
    try:
        for piece in result:
            sent.write(piece)
    finally:
        getattr(result, "close", lambda: None)()
    return sent


def value(environ: dict[str, Any]) -> str:
    text: str = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    query: str = environ["QUERY_STRING"]
    return dict(parse_qsl(text or query)).get("q", "")


def page(headers: list[tuple[str, str]], template: str = "<p>{}</p>", whole: bool = True) -> Any:
    """An app that puts the parameter `q` into a page as it is."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        text = template.replace("{}", value(environ))
        start_response("200 OK", headers)
        pieces = [text[at : at + 7].encode() for at in range(0, len(text), 7)]
        return [text.encode()] if whole else iter(pieces)

    return app


def redirecting(template: str = "{}", name: str = "Location") -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("302 Found", [(name, template.replace("{}", value(environ)))])
        return [b""]

    return app


def found(kept: list[Detection]) -> list[tuple[str, str, str, str]]:
    return [(each.type, each.signal, each.outcome, each.parameter) for each in kept]


def test_a_page_with_a_script_from_the_query_is_replaced(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sent = get(page(HTML), make_sensor(), "q=" + quote_plus(SCRIPT))
    assert (sent.status, sent.headers["location"], sent.body) == ("307", ORIGIN, b"")
    assert found(kept) == [("xss", "attack", "diverted", "q")]
    assert kept[0].statement == f"<p>{SCRIPT}</p>" and kept[0].sink == "response body"


def test_a_script_from_a_form_is_refused_where_attacks_are_blocked(make_sensor: MakeSensor) -> None:
    body = ("q=" + quote_plus(SCRIPT)).encode()
    extra: dict[str, Any] = {
        "wsgi.input": BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "REQUEST_METHOD": "POST",
    }
    extra |= {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
    assert get(page(HTML), make_sensor(mode=Mode.BLOCK), **extra).status == "403"


def test_a_script_in_pieces_cuts_the_connection_before_its_last_piece(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sent = Sent()
    with pytest.raises(ConnectionCut):
        get(page(HTML, whole=False), make_sensor(), "q=" + quote_plus(SCRIPT), sent)
    assert sent.status == "200" and SCRIPT.encode() not in sent.body
    assert found(kept) == [("xss", "attack", "blocked", "q")]


def test_harmless_markup_is_a_vulnerability_and_is_delivered(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    sent = get(page(HTML), make_sensor(), "q=" + quote_plus("<b>so bold</b>"))
    assert sent.body == b"<p><b>so bold</b></p>"
    assert found(kept) == [("xss", "vulnerability", "reported", "q")]


UNTOUCHED = [
    (HTML, "<p>{}</p>", "I <3 you & a < b"),
    (HTML, '<input value="{}">', "O'Brien's"),
    (HTML, "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>", SCRIPT),
    ([("Content-Type", "application/json")], "{}", SCRIPT),
    ([("Content-Type", "text/plain")], "{}", SCRIPT),
    ([], "{}", SCRIPT),
    ([*HTML, ("Content-Encoding", "gzip")], "<p>{}</p>", SCRIPT),
    (HTML, "<p>constant</p>", SCRIPT),
    (HTML, "<h1>t</h1><p>{}</p><script>var a = '<b>';</script>", "plain words"),
]


@pytest.mark.parametrize(("headers", "template", "text"), UNTOUCHED)
@pytest.mark.parametrize("whole", [True, False])
def test_what_changes_no_page_is_delivered_as_it_is(
    make_sensor: MakeSensor,
    kept: list[Detection],
    headers: list[tuple[str, str]],
    template: str,
    text: str,
    whole: bool,
) -> None:
    sent = get(page(headers, template, whole), make_sensor(), "q=" + quote_plus(text))
    assert (sent.body.decode(), kept) == (template.replace("{}", text), []) and len(UNTOUCHED) == 9


def test_the_page_of_an_old_styled_app_is_looked_at_too(make_sensor: MakeSensor) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", HTML)
        write(f"<p>{value(environ)}</p>".encode())
        return []

    sent = get(app, make_sensor(), "q=" + quote_plus(SCRIPT))
    assert (sent.status, sent.body) == ("307", b"")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("X-A", "b")], True),
        ([("Content-Type", "*/*")], True),
        ([("Content-Type", "application/unknown; charset=utf-8")], True),
        ([("Content-Type", "application/atom+xml")], True),
        ([("X-A", "b"), ("X-Content-Type-Options", "nosniff")], False),
        ([("Content-Type", "application/octet-stream")], False),
    ],
)
def test_what_a_browser_takes_for_a_page_is_one(
    headers: list[tuple[str, str]], found: bool, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    get(page(headers), make_sensor(), f"q={quote_plus(SCRIPT)}")
    assert [each.type for each in kept] == ["xss"] * found


@pytest.mark.parametrize(
    ("name", "template", "text", "found"),
    [
        ("X-Accel-Redirect", "/internal/{}", "../secret.txt", True),
        ("X-Accel-Redirect", "/internal/{}", "a/b.txt", False),
        ("X-Accel-Redirect", "{}", "/internal/a.txt", False),
        ("X-Sendfile", "/srv/files/{}", "../secret.txt", True),
        ("X-Sendfile", "{}", "/etc/passwd", True),
        ("X-Sendfile", "/srv/files/{}", "a.txt", False),
    ],
)
def test_a_file_that_the_server_in_front_sends_is_judged_by_its_path(
    name: str, template: str, text: str, found: bool, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    get(redirecting(template, name), make_sensor(), f"q={quote_plus(text)}")
    assert [each.type for each in kept] == ["path_traversal"] * found


def test_a_page_is_looked_at_up_to_a_bound(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    app = page(HTML, "<p>" + "x" * LIMIT + "{}</p>")
    assert get(app, make_sensor(), "q=" + quote_plus(SCRIPT)).status == "200" and not kept


def test_a_page_in_another_charset_is_read_in_it(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-16-le")])
        return [f"<p>{value(environ)}</p>".encode("utf-16-le")]

    get(app, make_sensor(), "q=" + quote_plus(SCRIPT))
    assert found(kept) == [("xss", "attack", "diverted", "q")]


def test_a_page_that_goes_out_without_end_is_read_a_bounded_number_of_times(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HTML)
        for _ in range(400):
            yield f"<p title='{value(environ)}'></p>".encode()

    text = '"I <3 this"'
    assert get(app, make_sensor(), "q=" + quote_plus(text)).body.count(b"I <3") == 400 and not kept


HOSTILE = [
    ("{}", "https://evil.example/"),
    ("{}", "//evil.example"),
    ("{}", "/\\evil.example"),
    ("https://shop.example{}", "@evil.example"),
    ("https://shop.example{}", ".evil.example"),
    ("https://{}/", "evil.example"),
]


@pytest.mark.parametrize(("template", "text"), HOSTILE)
def test_a_redirect_to_a_host_from_an_input_is_replaced(
    make_sensor: MakeSensor, kept: list[Detection], template: str, text: str
) -> None:
    sent = get(redirecting(template), make_sensor(), "q=" + quote_plus(text))
    assert (sent.headers["location"], found(kept)) == (
        ORIGIN,
        [("open_redirect", "attack", "diverted", "q")],
    )


HONEST = [
    ("{}", "/account?from=//evil.example"),
    ("{}", "https://shop.example/account"),
    ("{}", "https://img.shop.example/"),
    ("https://login.example/?next={}", "https://evil.example/"),
    ("https://{}.partner.example/", "tenant-7"),
    ("https://partner.example/{}", "//evil.example"),
]


@pytest.mark.parametrize(("template", "text"), HONEST)
def test_a_redirect_whose_host_is_the_apps_is_sent(
    make_sensor: MakeSensor, kept: list[Detection], template: str, text: str
) -> None:
    sent = get(redirecting(template), make_sensor(), "q=" + quote_plus(text))
    assert (sent.status, sent.headers["Location"], kept) == ("302", template.replace("{}", text), [])


@pytest.mark.parametrize(
    ("own", "target", "signal"),
    [
        ("app.shop.example", "https://eu.shop.example/", "vulnerability"),
        ("app.shop.example", "https://shop.example.evil.example/", "attack"),
        ("shop.co.uk", "https://evil.co.uk/", "attack"),
        ("shop.example", "https://evil.example/", "attack"),
        ("192.0.2.1", "https://198.0.2.1/", "attack"),
    ],
)
def test_a_redirect_to_a_host_beside_the_apps_own_is_told_and_sent(
    make_sensor: MakeSensor, kept: list[Detection], own: str, target: str, signal: str
) -> None:
    extra = {"HTTP_HOST": own, "HTTP_X_DIVERTOR_ORIGIN": f"https://{own}/"}
    sent = get(redirecting(), make_sensor(), "q=" + target, None, **extra)
    assert [each.signal for each in kept] == [signal]
    assert sent.status == ("302" if signal == "vulnerability" else "307")


def test_the_address_in_a_refresh_is_judged_too(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    get(redirecting("0; url={}", "Refresh"), make_sensor(), "q=https://evil.example")
    assert found(kept) == [("open_redirect", "attack", "diverted", "q")]


def test_an_oauth_client_is_reported_and_reached(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("302 Found", [("Location", "https://client.example/cb?code=1")])
        return [b""]

    assert get(app, make_sensor(), "redirect_uri=https://client.example/cb").status == "302"
    assert found(kept) == [("open_redirect", "vulnerability", "reported", "redirect_uri")]


def test_a_line_break_in_a_header_is_stopped(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", value(environ))])
        return [b"ok"]

    sent = get(app, make_sensor(), "q=a%0d%0aSet-Cookie:%20a=b")
    assert (sent.status, found(kept)) == ("307", [("header_injection", "attack", "diverted", "q")])


def test_in_mode_report_everything_goes_out(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    sensor = make_sensor(mode=Mode.REPORT)
    sent = get(page(HTML, whole=False), sensor, "q=" + quote_plus(SCRIPT))
    assert sent.body == f"<p>{SCRIPT}</p>".encode()
    assert get(redirecting(), sensor, "q=//evil.example").headers["Location"] == "//evil.example"
    assert [each.outcome for each in kept] == ["reported", "reported"]


class Chat:
    """One ASGI exchange with an app; `sent` are the messages the server got."""

    def __init__(self, app: Any, sensor: Sensor, query: str) -> None:
        self.sent: list[dict[str, Any]] = []
        headers = [(b"host", b"shop.example"), (b"x-divertor-origin", ORIGIN.encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("10.0.0.9", 1)}
        scope["query_string"] = query.encode()
        asyncio.run(DivertorASGI(app, sensor)(scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def asgi_page(pieces: int, headers: list[tuple[bytes, bytes]]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        text = f"<p>{dict(parse_qsl(scope['query_string'].decode()))['q']}</p>".encode()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(pieces):
            part = text[at * len(text) // pieces : (at + 1) * len(text) // pieces]
            await send({"type": "http.response.body", "body": part, "more_body": at + 1 < pieces})

    return app


ASGI_HTML = [(b"content-type", b"text/html")]


def test_an_asgi_page_with_a_script_is_replaced(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    chat = Chat(asgi_page(1, ASGI_HTML), make_sensor(), "q=" + quote_plus(SCRIPT))
    assert [message.get("status") for message in chat.sent] == [307, None]
    assert found(kept) == [("xss", "attack", "diverted", "q")]


def test_an_asgi_page_in_pieces_is_cut(make_sensor: MakeSensor) -> None:
    with pytest.raises(ConnectionCut):
        Chat(asgi_page(3, ASGI_HTML), make_sensor(), "q=" + quote_plus(SCRIPT))


def test_an_honest_asgi_page_is_delivered(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    chat = Chat(asgi_page(3, ASGI_HTML), make_sensor(), "q=" + quote_plus("I <3 <you>"))
    assert b"".join(each.get("body", b"") for each in chat.sent) == b"<p>I <3 <you></p>"


def test_an_asgi_redirect_is_replaced(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    chat = Chat(asgi_page(1, [(b"location", b"//evil.example")]), make_sensor(), "q=//evil.example")
    assert chat.sent[0]["status"] == 307 and found(kept)[0][0] == "open_redirect"


def test_headers_that_can_be_read_once_reach_the_client(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = iter([(b"content-type", b"text/html"), (b"x-a", b"b")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    assert list(Chat(app, make_sensor(), "").sent[0]["headers"])[1] == (b"x-a", b"b")


def test_a_head_without_a_body_is_judged(make_sensor: MakeSensor) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"location", b"//evil.example")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})

    assert Chat(app, make_sensor(), "q=//evil.example").sent[0]["status"] == 307


def test_an_event_stream_with_a_redirecting_head_is_replaced(make_sensor: MakeSensor) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"location", b"//evil.example")]
    assert Chat(asgi_page(2, headers), make_sensor(), "q=//evil.example").sent[0]["status"] == 307
