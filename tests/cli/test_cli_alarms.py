"""`divertor alarms`, `divertor silences` and mutes against a server that keeps what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.cli.answering import answering
from typer.testing import CliRunner, Result

from divertor.cli.main import app

ALARM = {
    "id": "a1" + "0" * 30,
    "rule": "many\x1b[31m",
    "key": "10.0.0.1",
    "severity": "critical",
    "state": "open",
    "opened": "2026-01-01T00:00:00.000000Z",
    "last": "2026-01-01T00:05:00.000000Z",
    "ended": None,
    "matches": 12,
    "alerts": 2,
    "suppressed": 10,
    "acknowledged": {"by": "admin", "comment": "mine", "created": "2026", "until": None},
}
TOLD = {
    "timestamp": "2026-01-01T00:05:01.000000Z",
    "body": {"alert": {"alerter": "slack", "subject": "many\x1b", "ok": True, "status": "resolved"}},
}
SILENCE = {
    "id": "s1",
    "rule": "login *",
    "key": "",
    "fields": {"user": "backup"},
    "since": "2026-01-01T00:00:00.000000Z",
    "until": "2026-01-01T04:00:00.000000Z",
    "cron": "",
    "zone": "",
    "lasting": "",
    "mute": False,
    "state": "active",
    "by": "admin",
    "comment": "moving",
    "created": "2026-01-01T00:00:00.000000Z",
    "suppressed": 3,
}


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, Any]] = []
        self.empty = self.twice = self.waiting = False


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200, [] if self.server.empty else self._list())

    def do_POST(self) -> None:
        if "missing" in self.path:
            self._answer(404, {"message": "no alarm 'missing'"})
        elif self.path.endswith("/unmute"):
            self._answer(204, None)
        else:
            self._answer(200, ALARM if self.path.endswith("/ack") else SILENCE)

    def do_DELETE(self) -> None:
        self._answer(204, None)

    def _list(self) -> Any:
        if "/alarms/" in self.path:
            return ALARM
        if "/alerts" in self.path:
            return [{}] if self.server.waiting else []
        if "/events" in self.path:
            return [TOLD] if f"alert.alarm%3A{ALARM['id']}" in self.path else []
        alarms = [ALARM, {**ALARM, "id": "a1" + "1" * 30}] if self.server.twice else [ALARM]
        return alarms if "/alarms" in self.path else [SILENCE]

    def _answer(self, status: int, data: Any) -> None:
        length = int(self.headers["content-length"] or 0)
        sent = self.rfile.read(length)
        self.server.asked.append((self.command, self.path, json.loads(sent) if sent else None))
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with answering(Server(), monkeypatch) as made:
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_open_alarms_are_listed_and_cannot_move_the_cursor(server: Server) -> None:
    shown = run("alarms").stdout
    assert "a1" in shown and "critical" in shown and "admin" in shown
    assert "\x1b[31m" not in shown and "\\x1b[31m" in shown


def test_no_alarms_are_said_so(server: Server) -> None:
    server.empty = True
    assert "No alarm is open." in run("alarms", "list").stdout
    assert "No alarm has ended lately." in run("alarms", "list", "--over").stdout
    assert "Nothing is silenced." in run("silences").stdout


def test_an_alarm_is_shown_with_who_looks_after_it(server: Server) -> None:
    shown = run("alarms", "show", "a1").stdout
    assert "by admin until it is over: mine" in shown
    assert json.loads(run("alarms", "show", "a1", "--json").stdout) == ALARM


def test_an_alarm_is_shown_with_what_was_told_of_it(server: Server) -> None:
    last = run("alarms", "show", "a1").stdout.splitlines()[-1]
    assert last == "2026-01-01 00:05:01  slack: Resolved: many\\x1b (delivered)"


def test_an_alarm_of_which_something_was_not_delivered_yet_says_so(server: Server) -> None:
    server.waiting = True
    last = run("alarms", "show", "a1").stdout.splitlines()[-1]
    assert last == "1 more to be delivered; see `divertor alerts`"


def test_the_beginning_of_an_id_is_enough_if_only_one_begins_so(server: Server) -> None:
    run("alarms", "ack", "a10")
    assert server.asked[-1][1] == f"/api/v1/alarms/{ALARM['id']}/ack"
    server.twice = True
    refused = run("alarms", "ack", "a1")
    assert refused.exit_code == 2 and "2 alarms begin with" in refused.stderr


def test_open_alarms_fit_a_terminal(server: Server) -> None:
    assert max(map(len, run("alarms").stdout.splitlines())) <= 80


def test_an_alarm_is_acknowledged(server: Server) -> None:
    assert run("alarms", "ack", "a1", "--for", "4h", "--comment", "mine").exit_code == 0
    path = f"/api/v1/alarms/{ALARM['id']}/ack"
    assert server.asked[-1] == ("POST", path, {"for": "4h", "comment": "mine"})


def test_an_acknowledgement_is_taken_back(server: Server) -> None:
    assert "Told again" in run("alarms", "ack", "a1", "--undo").stdout
    assert server.asked[-1] == ("DELETE", f"/api/v1/alarms/{ALARM['id']}/ack", None)


def test_an_alarm_that_is_not_there_is_told_on_standard_error(server: Server) -> None:
    result = run("alarms", "ack", "missing")
    assert result.exit_code != 0 and "no alarm 'missing'" in result.stderr


def test_a_silence_is_added(server: Server) -> None:
    given = ["--rule", "login *", "--field", "user=backup", "--from", "2026-01-01T00:00:00Z", "--for", "4h"]
    shown = run("silences", "add", *given).stdout
    wanted = {"rule": "login *", "fields": {"user": "backup"}, "from": "2026-01-01T00:00:00Z", "for": "4h"}
    assert server.asked == [("POST", "/api/v1/silences", wanted)]
    assert "login *, user=backup (s1)" in shown


@pytest.mark.parametrize(
    "given, said",
    [
        (["--for", "4h"], "say what"),
        (["--rule", "x"], "say how long"),
        (["--field", "user", "--for", "4h"], "PATH=VALUE"),
    ],
)
def test_half_a_silence_is_refused(server: Server, given: list[str], said: str) -> None:
    result = run("silences", "add", *given)
    assert result.exit_code == 2 and said in result.stderr and server.asked == []


def test_silences_are_listed_with_what_they_held_back(server: Server) -> None:
    shown = run("silences", "list").stdout
    assert "login *, user=backup" in shown and "active" in shown and " 3 " in shown


def test_silences_are_removed(server: Server) -> None:
    assert run("silences", "rm", "s1", "s/2", "--json").exit_code == 0
    assert [path for _, path, _ in server.asked] == ["/api/v1/silences/s1", "/api/v1/silences/s%2F2"]


def test_a_rule_is_muted_and_speaks_again(server: Server) -> None:
    assert "is muted until 2026-01-01 04:00:00" in run("rules", "mute", "a rule", "--for", "4h").stdout
    assert "is told again" in run("rules", "unmute", "a rule").stdout
    assert [path for _, path, _ in server.asked] == [
        "/api/v1/rules/a%20rule/mute",
        "/api/v1/rules/a%20rule/unmute",
    ]
