"""`divertor alerts` against a server that keeps what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.cli.answering import answering
from typer.testing import CliRunner, Result

from divertor.cli.main import app


def alert(id: str, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": id + "0" * (32 - len(id)),
        "rule": "many\x1b[31m",
        "rule_gone": False,
        "alerter": "slack",
        "target": "https://hooks.slack.com/…",
        "alarm": "f" * 32,
        "state": "failing",
        "attempts": 4,
        "error": "refused with 500",
        "created": (now - timedelta(minutes=61, seconds=5)).isoformat(),
        "next_try": (now + timedelta(seconds=90)).isoformat(),
        "until": None,
        **changes,
    }


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.alerts = [alert("a1"), alert("a2", rule_gone=True), alert("b1", state="sending")]
        self.left = [0]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        size, alerter = int(asked.get("per_page", ["100"])[0]), asked.get("alerter", [""])[0]
        found = [each for each in self.server.alerts if alerter in ("", each["alerter"])]
        self._answer(200, found[:size], len(found))

    def do_POST(self) -> None:
        self._answer(200, {"retried": len(self.server.alerts), "left": self.server.left[0]})

    def do_DELETE(self) -> None:
        single = "?" not in self.path
        self._answer(204 if single else 200, None if single else self._dropped())

    def _dropped(self) -> Any:
        left = self.server.left.pop(0) if self.server.left else 0
        return {"dropped": len(self.server.alerts), "left": left}

    def _answer(self, status: int, data: Any, total: int = 0) -> None:
        self.server.asked.append((self.command, self.path))
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-total-count", str(total))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with answering(Server(), monkeypatch) as made:
        yield made


def run(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["alerts", *arguments], input=typed)


def test_what_waits_is_listed_with_where_to_since_when_and_why(server: Server) -> None:
    row = run().stdout.splitlines()[2]
    for part in ("a1000000", "slack https://hooks.slack.com/…", "1h 1m", " 4 ", "in 1m", "refused with 500"):
        assert part in row
    assert "\x1b" not in row


def test_a_removed_rule_and_what_is_on_its_way_are_said_so(server: Server) -> None:
    _, removed, sending = run("list").stdout.splitlines()[2:]
    assert "(removed)" in removed and "sending" in sending


def test_what_comes_after_another_message_says_so(server: Server) -> None:
    server.alerts = [alert("a1", next_try=None, state="waiting")]
    assert "after another" in run().stdout


def test_nothing_that_waits_is_said_so(server: Server) -> None:
    server.alerts = []
    assert run().stdout == "Nothing waits to be delivered.\n"
    assert run("--json").stdout == "[]\n"


def test_how_many_more_there_are_is_said(server: Server) -> None:
    assert run("--limit", "1").stdout.splitlines()[-1] == "1 of 3; --limit shows more."


def test_what_is_listed_can_be_narrowed_down(server: Server) -> None:
    run("list", "--rule", "many probes", "--alerter", "slack", "--status", "failing")
    asked = parse_qs(urlsplit(server.asked[-1][1]).query)
    assert (asked["rule"], asked["alerter"], asked["state"]) == (["many probes"], ["slack"], ["failing"])


def test_one_is_dropped_when_it_is_confirmed(server: Server) -> None:
    dropped = run("drop", "b", typed="y\n")
    assert "Drop 1 alert that waits?" in dropped.stderr and "Dropped: 1" in dropped.stdout
    assert server.asked[-1] == ("DELETE", f"/api/v1/alerts/{server.alerts[2]['id']}")


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_nothing_is_dropped_that_is_not_confirmed(server: Server, typed: str) -> None:
    assert run("drop", "--rule", "many", typed=typed).exit_code == 1
    assert all(method == "GET" for method, _path in server.asked)


def test_all_of_a_rule_are_dropped_however_many_requests_it_takes(server: Server) -> None:
    server.left = [3, 0]
    dropped = run("drop", "--rule", "many", "--yes", "--json")
    assert json.loads(dropped.stdout) == {"dropped": 6}
    assert [path for method, path in server.asked if method == "DELETE"] == ["/api/v1/alerts?rule=many"] * 2


def test_it_is_said_when_somebody_would_not_be_isolated(server: Server) -> None:
    asked = run("drop", "--rule", "many", typed="n\n").stderr
    assert "Drop 3 alerts that wait (rule many)? Nobody" in asked
    server.alerts.append(alert("c1", alerter="isolate"))
    asked = run("drop", "--rule", "many", typed="n\n").stderr
    assert "Drop 4 alerts that wait (rule many), 1 of which isolate somebody?" in asked


def test_dropping_nothing_asks_nothing(server: Server) -> None:
    server.alerts = []
    assert run("drop", "--alerter", "slack").stdout == "Nothing of that kind waits.\n"


def test_all_are_dropped_only_when_it_is_said(server: Server) -> None:
    refused = run("drop", "--yes")
    assert refused.exit_code == 2 and "say which" in refused.stderr
    assert run("drop", "--all", "--yes").exit_code == 0 and "all=true" in server.asked[-1][1]


def test_ids_and_filters_do_not_go_together(server: Server) -> None:
    assert run("drop", "a1", "--rule", "many", "--yes").exit_code == 2


def test_a_beginning_that_several_have_is_refused(server: Server) -> None:
    refused = run("drop", "a", "--yes")
    assert refused.exit_code == 2 and "2 alerts begin with 'a'" in refused.stderr


def test_one_is_tried_now(server: Server) -> None:
    assert "Tried now: 1;" in run("retry", "a1").stdout
    assert server.asked[-1] == ("POST", f"/api/v1/alerts/{server.alerts[0]['id']}/retry")


def test_all_of_an_alerter_are_tried_now_and_what_is_left_is_said(server: Server) -> None:
    server.left = [12]
    shown = run("retry", "--alerter", "slack").stdout
    assert "Tried now: 3;" in shown and "The other 12 are tried as planned." in shown
    assert server.asked[-1] == ("POST", "/api/v1/alerts/retry?alerter=slack")
