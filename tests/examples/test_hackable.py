"""The demo shop: the holes of 1.1.0 are real, 1.0.0 has none of them, and the rest is the same in both."""

from __future__ import annotations

import hashlib
import os
import random
import re
import runpy
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from divertor.model.artifacts import Breed
from divertor.model.events import Event
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import read_blueprint
from divertor.rules.reading.files import load_rules
from divertor.rules.running.backtest import backtest

HOME = Path(__file__).parents[2] / "examples/hackable"
VERSIONS = {"1.0.0": "impossible", "1.1.0": "low"}
SEED_ATTACK = "' union all select 1,2 from INFORMATION_SCHEMA.tables -- "
PASSWORD_ATTACK = "%' UNION SELECT 1, name, password, '', '' FROM users -- "
SCRIPT = "<script>alert(1)</script>"
OUTSIDE = "../database.py"
COMMAND = "127.0.0.1; echo $((6*7))x"
ALICE = {"username": "alice", "password": "wonderland"}


@dataclass(frozen=True)
class Shop:
    """One version, its files in directories of its own."""

    version: str
    app: Flask
    data: Path

    def visitor(self) -> FlaskClient:
        return self.app.test_client()

    def statements(self) -> list[str]:
        return (self.data / "statements.log").read_text().splitlines()


def start(version: str, directory: Path) -> Shop:
    """Import a version as its server does, with its files below `directory`."""
    data = directory / version
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HACKABLE_DATA", str(data))
        patch.setenv("HACKABLE_SESSIONS", str(directory / "sessions.sqlite"))
        patch.syspath_prepend(str(HOME))
        module = runpy.run_path(str(HOME / f"v{version.replace('.', '_')}" / "app.py"))
    return Shop(version, module["app"], data)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    directory = tmp_path_factory.mktemp("hackable")
    return {version: start(version, directory) for version in VERSIONS}


@pytest.fixture(params=VERSIONS)
def shop(request: pytest.FixtureRequest, shops: dict[str, Shop]) -> Shop:
    return shops[request.param]


@pytest.fixture
def low(shops: dict[str, Shop]) -> Shop:
    return shops["1.1.0"]


@pytest.fixture
def impossible(shops: dict[str, Shop]) -> Shop:
    return shops["1.0.0"]


def session_of(response: TestResponse) -> str | None:
    found = re.match(r"session=(\w+);", response.headers.get("Set-Cookie", ""))
    return found[1] if found else None


# The five holes, open in 1.1.0 and closed in 1.0.0.


@pytest.mark.parametrize("attack", [SEED_ATTACK, "' union all select 1,2 -- "])
def test_an_injection_into_the_login_of_1_1_0_logs_the_attacker_in(low: Shop, attack: str) -> None:
    attacker = low.visitor()
    assert attacker.post("/login", data={"username": attack, "password": ""}).status_code == 303
    assert "Welcome, alice." in attacker.get("/").text
    assert any(attack in statement for statement in low.statements())


@pytest.mark.parametrize("attack", [SEED_ATTACK, "' union all select 1,2 -- ", "alice' -- ", "alice'/*"])
def test_an_injection_into_the_login_of_1_0_0_is_a_wrong_name(impossible: Shop, attack: str) -> None:
    attacker = impossible.visitor()
    answer = attacker.post("/login", data={"username": attack, "password": ""})
    assert answer.status_code == 200
    assert "do not belong together" in answer.text and "Level: impossible" in answer.text
    assert "Log out" not in attacker.get("/").text


def test_an_injection_into_the_search_of_1_1_0_shows_password_hashes(low: Shop) -> None:
    answer = low.visitor().get("/search", query_string={"q": PASSWORD_ATTACK})
    assert hashlib.sha256(b"wonderland").hexdigest() in answer.text


def test_an_injection_into_the_search_of_1_0_0_finds_nothing(impossible: Shop) -> None:
    answer = impossible.visitor().get("/search", query_string={"q": PASSWORD_ATTACK})
    assert "0 found" in answer.text and "scrypt" not in answer.text


def test_the_search_of_1_1_0_echoes_markup(low: Shop) -> None:
    assert SCRIPT in low.visitor().get("/search", query_string={"q": SCRIPT}).text


def test_the_search_of_1_0_0_escapes_markup_and_forbids_scripts(impossible: Shop) -> None:
    answer = impossible.visitor().get("/search", query_string={"q": SCRIPT})
    assert "<script" not in answer.text and "&lt;script&gt;" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", [OUTSIDE, "../" * 16 + str(HOME / "shop/site.py")[1:]])
def test_a_download_of_1_1_0_leaves_its_directory(low: Shop, name: str) -> None:
    answer = low.visitor().get("/download", query_string={"file": name})
    assert answer.status_code == 200 and "from __future__ import annotations" in answer.text


@pytest.mark.parametrize("name", [OUTSIDE, "../papers/first-wall.txt", "/etc/passwd", "first-wall.txt\0", ""])
def test_a_download_of_1_0_0_is_on_the_list_or_not_found(impossible: Shop, name: str) -> None:
    answer = impossible.visitor().get("/download", query_string={"file": name})
    assert answer.status_code == 404 and "There is no such brochure." in answer.text


def test_the_ping_of_1_1_0_runs_a_second_command(low: Shop) -> None:
    assert "42x" in low.visitor().post("/tools/ping", data={"host": COMMAND}).text


@pytest.mark.parametrize(
    "host", [COMMAND, "$(id)", "-h", "a..b", "a b", "fe80::1%`id`", "x" * 64, "a\n.b", "a;"]
)
def test_the_ping_of_1_0_0_runs_nothing_but_ping_on_a_host(impossible: Shop, host: str) -> None:
    answer = impossible.visitor().post("/tools/ping", data={"host": host})
    assert "neither a host name nor an address" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "a-b.example"])
def test_the_ping_of_1_0_0_takes_hosts(impossible: Shop, host: str) -> None:
    is_host = impossible.app.view_functions["ping"].__globals__["is_host"]
    assert is_host(host)


# What both versions do.


@pytest.mark.parametrize(
    "path", ["/", "/login", "/search", "/search?q=tile", "/comments", "/tools/ping", "/nowhere"]
)
def test_every_page_shows_its_version_and_level(shop: Shop, path: str) -> None:
    assert f"hackable {shop.version} · Level: {VERSIONS[shop.version]}" in shop.visitor().get(path).text


@pytest.mark.parametrize(("name", "password"), [("alice", "wonderland"), ("bob", "builder")])
def test_a_user_logs_in_and_out(shop: Shop, name: str, password: str) -> None:
    visitor = shop.visitor()
    visitor.post("/login", data={"username": name, "password": password})
    assert f"Welcome, {name}." in visitor.get("/").text
    visitor.get("/logout")
    assert "Welcome" not in visitor.get("/").text


@pytest.mark.parametrize(("name", "password"), [("alice", "builder"), ("carol", ""), ("", "")])
def test_a_wrong_name_or_password_is_told_without_saying_which(shop: Shop, name: str, password: str) -> None:
    answer = shop.visitor().post("/login", data={"username": name, "password": password})
    assert "That name and password do not belong together." in answer.text


def test_the_first_answer_of_any_page_gives_a_session(shop: Shop) -> None:
    for answer in (shop.visitor().get("/comments"), shop.visitor().post("/login", data={})):
        assert re.fullmatch(
            "session=[0-9a-f]{32}; HttpOnly; Path=/; SameSite=Lax", answer.headers["Set-Cookie"]
        )


def test_a_session_is_given_once(shop: Shop) -> None:
    visitor = shop.visitor()
    assert session_of(visitor.get("/")) and session_of(visitor.get("/")) is None


def test_a_login_renews_the_session(shop: Shop) -> None:
    visitor = shop.visitor()
    planted = session_of(visitor.get("/"))
    renewed = session_of(visitor.post("/login", data=ALICE))
    assert planted and renewed and planted != renewed
    other = shop.visitor()
    other.set_cookie("session", planted)
    assert "Welcome" not in other.get("/").text


@pytest.mark.parametrize("session", ["x", "' or 1=1 -- ", "A" * 32, "0" * 33, "a" * 4000])
def test_a_session_that_is_none_of_ours_is_replaced(shop: Shop, session: str) -> None:
    visitor = shop.visitor()
    visitor.set_cookie("session", session)
    assert session_of(visitor.get("/")) not in (None, session)


def test_a_customer_who_is_moved_stays_logged_in(low: Shop, impossible: Shop) -> None:
    session = session_of(low.visitor().post("/login", data=ALICE))
    assert session
    moved = impossible.visitor()
    moved.set_cookie("session", session)
    assert "Welcome, alice." in moved.get("/").text


def test_a_comment_is_shown_escaped_with_its_author(shop: Shop) -> None:
    visitor = shop.visitor()
    visitor.post("/login", data=ALICE)
    visitor.post("/comments", data={"text": f"hot {SCRIPT}"})
    assert "<b>alice</b>hot &lt;script&gt;" in visitor.get("/comments").text


@pytest.mark.parametrize(
    ("text", "problem"), [("  ", "nothing in that comment"), ("x" * 501, "more than 500")]
)
def test_an_empty_or_overlong_comment_is_refused(shop: Shop, text: str, problem: str) -> None:
    assert problem in shop.visitor().post("/comments", data={"text": text}).text


def test_old_comments_make_room_for_new_ones(shop: Shop) -> None:
    visitor = shop.visitor()
    for number in range(205):
        visitor.post("/comments", data={"text": f"comment {number}"})
    page = visitor.get("/comments").text
    assert page.count('class="comment"') == 50 and "comment 204" in page
    with sqlite3.connect(shop.data / "shop.sqlite") as database:
        assert database.execute("SELECT count(*) FROM comments").fetchone() == (200,)
    database.close()


def test_a_search_finds_by_part_of_a_name(shop: Shop) -> None:
    page = shop.visitor().get("/search?q=Tile").text
    assert "Divertor tile, tungsten" in page and "€ 48.00" in page and "Breeder" not in page


def test_a_search_without_result_says_so(shop: Shop) -> None:
    assert "Nothing here by that name." in shop.visitor().get("/search?q=unobtainium").text


def test_every_brochure_on_offer_is_there(shop: Shop) -> None:
    visitor = shop.visitor()
    links = re.findall(r'href="(/download\?file=[^"]+)"', visitor.get("/").text)
    answers = [visitor.get(link) for link in links]
    assert [(a.status_code, a.mimetype) for a in answers] == [(200, "text/plain")] * 3


def test_health_touches_the_database_and_starts_no_session(shop: Shop) -> None:
    before = len(shop.statements())
    answer = shop.visitor().get("/health")
    assert (answer.status_code, answer.text, session_of(answer)) == (200, "ok\n", None)
    assert shop.statements()[before:] == ["SELECT count(*) FROM products"]


def test_a_statement_takes_one_line_of_the_log(shop: Shop) -> None:
    before = len(shop.statements())
    shop.visitor().post("/comments", data={"text": "one\r\ntwo\x1b[31m"})
    (inserted, _deleted) = shop.statements()[before:]
    assert "one\\r\\ntwo\\x1b[31m" in inserted


def test_a_statement_the_database_does_not_understand_is_an_error_page(low: Shop) -> None:
    answer = low.visitor().get("/search?q='")
    assert answer.status_code == 500
    assert "Our database did not understand that." in answer.text and "syntax" not in answer.text


def test_a_body_that_is_too_large_is_refused(shop: Shop) -> None:
    answer = shop.visitor().post("/comments", data={"text": "x" * 100_000})
    assert answer.status_code == 413 and shop.version in answer.text


def test_several_workers_may_start_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import v1_1_0.app"]
    environment = {**os.environ, "HACKABLE_DATA": str(tmp_path), "HACKABLE_SESSIONS": str(tmp_path / "s")}
    workers = [subprocess.Popen(command, cwd=HOME, env=environment) for _ in range(4)]
    assert [worker.wait(30) for worker in workers] == [0] * 4
    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        assert database.execute("SELECT count(*) FROM users").fetchone() == (2,)
    database.close()


@pytest.mark.parametrize(
    ("given", "data", "sessions"),
    [
        ({}, "data/1.1.0", "data/sessions.sqlite"),
        ({"DIVERTOR_DATA": "/d", "DIVERTOR_SHARED": "/s"}, "/d", "/s/sessions.sqlite"),
        ({"DIVERTOR_DATA": "/d", "HACKABLE_DATA": "/h", "HACKABLE_SESSIONS": "/x"}, "/h", "/x"),
    ],
)
def test_the_environment_says_where_files_are(given: dict[str, str], data: str, sessions: str) -> None:
    places = runpy.run_path(str(HOME / "shop/settings.py"))["places_of"](given, "1.1.0")
    assert (places.data, places.sessions) == (Path(data).absolute(), Path(sessions).absolute())


# How it is run.


def test_the_blueprint_sends_customers_to_the_newest_and_attackers_to_the_audited_version() -> None:
    blueprint = read_blueprint((HOME / "blueprint.yaml").read_text(), "blueprint.yaml")
    (cluster,), (policy,) = blueprint.clusters, blueprint.isolation
    weights = {route.path: route.weight for gateway in cluster.gateways for route in gateway.routes}
    assert weights == {"hackable:1.0.0": 0, "hackable:1.1.0": 100}
    assert policy.to == "hackable:1.0.0"
    assert policy.keys == (KeySelector(KeyKind.COOKIE, "session"), KeySelector(KeyKind.ADDRESS))
    assert [(gateway.port, gateway.routes[0].path) for gateway in blueprint.gateways] == [
        (9051, "hackable/port")
    ]


@pytest.mark.parametrize(
    ("signal", "alerts"), [("attack", ["slack", "command", "isolate"]), ("vulnerability", [])]
)
def test_the_rules_tell_of_and_isolate_an_attack(signal: str, alerts: list[str]) -> None:
    payload = SEED_ATTACK if signal == "attack" else "O'Brien"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    body = {"divertor": {"detection": {"signal": signal}}, "detections": {"payload": payload}}
    event = Event("1", "detection", now, now, indices=("divertor-detection", "bitsensor"), body=body)
    matches = [match for rule in load_rules(HOME / "rules") for match in backtest(rule, [event])]
    assert [alert.name for match in matches for alert in match.rule.alerts] == alerts


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a 1.1.0 served by the command of the blueprint, in the blueprint's directory."""
    blueprint = read_blueprint((HOME / "blueprint.yaml").read_text(), "blueprint.yaml")
    newest = blueprint.clusters[0].services[-1].breed
    assert isinstance(newest, Breed)
    _python, *words = newest.deployable.definition.split()
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "DIVERTOR_DATA": str(tmp_path),
        "DIVERTOR_SHARED": str(tmp_path),
    }
    server = subprocess.Popen(
        [sys.executable, *words], cwd=HOME, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        assert any("Listening at" in line for line in iter(server.stderr.readline, ""))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_the_command_of_the_blueprint_serves_the_shop(served: str, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"{served}/", timeout=10) as answer:
        assert "Level: low" in answer.read().decode()
    assert {"shop.sqlite", "sessions.sqlite", "statements.log"} <= {path.name for path in tmp_path.iterdir()}


def free_port() -> int:
    """A port nobody listens on, below the range that clients take theirs from."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
