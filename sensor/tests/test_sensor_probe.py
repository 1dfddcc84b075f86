"""The 41 cases that were put to two other sensors, put to this one: the same app, and one attack or honest
request for each, in mode `block`.

`pytest -s -k case` prints what each of the three did. The others' columns were measured with aikido-zen
1.2.37 (AIKIDO_BLOCK on) and ddtrace 4.16.0 (AppSec with its exploit prevention; hits of its regular
expressions over the raw request do not count: they know of no sink).
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from sensor.tests.conftest import free_port
from sensor.tests.probe_app import Gadget, Inside, ProbeApp
from werkzeug.test import Client

from divertor_sensor.frameworks.wsgi import DivertorWSGI
from divertor_sensor.reports.detection import Detection
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode

MakeSensor = Callable[..., Sensor]

ATTACK = "x' or '1'='1"
TRAVERSAL = "../secret.txt"
SQL = "sql_injection"
SHELL = "shell_injection"
PATH = "path_traversal"
HTML = "<script>alert(1)</script>"


class Case(NamedTuple):
    """One request: where to, with what; what must be found ("" for an honest one); what the others did.

    `{command}`, `{port}` and `{pickle}` in `path` are filled in by the test.
    """

    path: str
    finds: str
    zen: str
    ddtrace: str
    body: str | bytes = b""
    kind: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def sql(path: str, zen: str, ddtrace: str, value: str = ATTACK) -> Case:
    return Case(f"/sql/{path}?q={quote(value)}", SQL, zen, ddtrace)


YES, NO, QUIET = "yes", "no", "quiet"
UPLOAD = (
    f'--b\r\nContent-Disposition: form-data; name="f"; filename="{ATTACK}"\r\n'
    "Content-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
)

CASES: dict[str, Case] = {
    "concatenated query": sql("query", YES, YES),
    "concatenated JSON body": Case("/sql/json", SQL, YES, YES, json.dumps({"q": ATTACK}), "application/json"),
    "concatenated path parameter": Case(f"/sql/path/{quote(ATTACK)}", SQL, YES, YES),
    "header value": Case("/sql/header", SQL, YES, NO, headers=(("x-name", ATTACK),)),
    "raw text body": Case("/sql/raw", SQL, YES, NO, ATTACK, "text/plain"),
    "upload file name": Case("/sql/upload", SQL, NO, NO, UPLOAD, "multipart/form-data; boundary=b"),
    "generator response": sql("stream", "yes, as an error of the server", NO),
    "app catches Exception": sql("caught", "found, and answered 200", YES),
    "ThreadPoolExecutor.submit": sql("pool", NO, NO),
    "threading.Thread": sql("thread", NO, NO),
    "sqlite3.dbapi2.connect": sql("dbapi2", NO, YES),
    "SQLAlchemy on SQLite": sql("sqlalchemy", NO, YES),
    "base64 undone by the app": sql("base64", NO, NO, base64.b64encode(ATTACK.encode()).decode()),
    "decoded a second time": sql("unquote", NO, NO, quote(ATTACK)),
    "tab replaced by a space": sql("tab", NO, NO, ATTACK.replace(" ", "\t")),
    "white space collapsed": sql("collapse", NO, NO, ATTACK.replace(" ", "  ")),
    "cut off": sql("cut", NO, NO, ATTACK.replace("'1'='1", "1=1 or name='") + "x" * 60),
    "JSON inside a parameter": sql("inner", NO, NO, json.dumps({"name": ATTACK})),
    "split at a bar": sql("split", NO, NO, f"a|{ATTACK}|b"),
    "' or 1=1/*": sql("query", NO, YES, "' or 1=1/*"),
    "a'/*": sql("query", NO, NO, "a'/*"),
    "ORDER BY name desc, id": Case("/sql/order?q=name%20desc,%20id", "", "flagged", QUIET),
    "shell=True": Case("/shell/run?q=x;{command}", SHELL, YES, YES),
    "os.popen": Case("/shell/popen?q=x;{command}", SHELL, YES, YES),
    '["sh", "-c", …]': Case("/shell/list?q=x;{command}", SHELL, NO, YES),
    "open with ../": Case(f"/file/open?q={TRAVERSAL}", PATH, YES, YES),
    "pathlib with ../": Case(f"/file/pathlib?q={TRAVERSAL}", PATH, YES, YES),
    "send_file with ../": Case(f"/file/send?q={TRAVERSAL}", PATH, YES, YES),
    "os.open with ../": Case(f"/file/os?q={TRAVERSAL}", PATH, YES, NO),
    "os.stat with ../": Case(f"/file/stat?q={TRAVERSAL}", PATH, NO, NO),
    "eval": Case("/eval?q=__import__('os').getpid()", "code_injection", NO, NO),
    "template from text": Case("/template?q={{7*7}}", "template_injection", NO, NO),
    "pickle.loads": Case("/pickle?q={pickle}", "unsafe_deserialisation", NO, NO),
    "open redirect": Case("/redirect?q=https://evil.example/", "open_redirect", NO, NO),
    "reflected XSS": Case(f"/page?q={quote(HTML)}", "xss", NO, NO),
    "SSRF by urllib": Case("/fetch/urllib?q=http://127.0.0.1:{port}/", "ssrf", YES, NO),
    "SSRF by httpx": Case("/fetch/httpx?q=http://127.0.0.1:{port}/", "ssrf", YES, NO),
    "SSRF to a decimal address": Case("/fetch/urllib?q=http://2130706433:{port}/", "ssrf", YES, NO),
    "SSRF to a mapped address": Case("/fetch/urllib?q=http://[::ffff:127.0.0.1]:{port}/", "ssrf", YES, NO),
    "attack text in a bound parameter": sql("bound", QUIET, QUIET)._replace(finds=""),
    "honest text in a concatenated query": sql("query", QUIET, QUIET, "alice")._replace(finds=""),
}
#: What each case came to, for the table.
TABLE: dict[str, str] = {}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[ProbeApp]:
    probe = ProbeApp(tmp_path)
    yield probe
    probe.close()


@pytest.fixture
def inside() -> Iterator[Inside]:
    server = Inside(free_port())
    yield server
    server.close()


# The thread that was stopped tells so, as any thread that ends with an exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_out_right(
    name: str, app: ProbeApp, inside: Inside, make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    case = CASES[name]
    proof = tmp_path / "proof"
    gadget = quote(base64.b64encode(pickle.dumps(Gadget(str(proof)))))
    path = case.path.replace("{command}", f"touch%20{proof}").replace("{pickle}", gadget)
    client = Client(DivertorWSGI(app.wsgi, make_sensor(mode=Mode.BLOCK)))
    extra: dict[str, Any] = {"headers": dict(case.headers)}
    if case.body:
        extra |= {"method": "POST", "data": case.body, "content_type": case.kind}
    with client.open(path.replace("{port}", str(inside.port)), **extra) as answer:
        status, text = answer.status_code, answer.get_data()
    found = {each.type for each in kept if each.signal == "attack"}
    happened = [*app.done, *inside.paths, *(["touched"] if proof.exists() else [])]
    TABLE[name] = "yes" if found else QUIET
    if case.finds:
        assert (status, found, happened) == (403, {case.finds}, []), text
    else:
        assert (status, kept) == (200, []) and happened


def test_the_table_of_all_cases() -> None:
    assert len(CASES) == 41
    print(f"\n{'case':38}{'aikido-zen':32}{'ddtrace':10}divertor-sensor")
    for name, case in CASES.items():
        print(f"{name:38}{case.zen:32}{case.ddtrace:10}{TABLE.get(name, 'not run')}")
    right = [
        name for name, case in CASES.items() if name in TABLE and (TABLE[name] == "yes") == bool(case.finds)
    ]
    print(f"{len(right)} of {len(CASES)} right")


def test_the_same_app_serves_honest_requests(
    app: ProbeApp, make_sensor: MakeSensor, kept: list[Detection], inside: Inside
) -> None:
    """What each route is for, with values as honest users send them: nothing is found."""
    client = Client(DivertorWSGI(app.wsgi, make_sensor(mode=Mode.BLOCK)))
    honest = [f"/sql/{name}?q=alice" for name in ("query", "stream", "caught", "pool", "thread", "dbapi2")]
    honest += [
        "/sql/sqlalchemy?q=bob",
        "/sql/unquote?q=alice",
        "/sql/tab?q=a%20b",
        "/sql/collapse?q=a%20%20b",
    ]
    honest += [
        "/sql/cut?q=" + "long" * 40,
        "/sql/split?q=a|alice|b",
        "/sql/inner?q=" + quote('{"name": "x"}'),
    ]
    honest += ["/sql/base64?q=YWxpY2U=", "/sql/path/alice", "/sql/order?q=name"]
    honest += ["/shell/run?q=report", "/shell/popen?q=report", "/shell/list?q=report"]
    honest += [f"/file/{name}?q=a.txt" for name in ("open", "pathlib", "send", "os", "stat")]
    honest += ["/eval?q=17", "/template?q=Alice", "/redirect?q=/home", "/page?q=Alice%20%26%20Bob"]
    statuses = []
    for path in honest:
        with client.open(path) as answer:
            statuses.append(answer.status_code)
    assert set(statuses) <= {200, 302} and len(statuses) == 28
    assert kept == []
