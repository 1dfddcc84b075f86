"""`divertor rules test`: a rule against a file of events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cli.answering import answering
from typer.testing import CliRunner, Result

from divertor.cli.main import app

RULE = """\
name: many
type: frequency
index: logs-*
num_events: 2
timeframe: {minutes: 1}
alert: debug
alert_subject: "{} twice"
alert_subject_args: [who]
"""


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE)
    return path


def run(rule: Path, events: Sequence[object] | str, *more: str) -> Result:
    path = rule.with_name("events.jsonl")
    path.write_text(
        events if isinstance(events, str) else "".join(json.dumps(each) + "\n" for each in events)
    )
    return CliRunner().invoke(app, ["rules", "test", str(rule), "--events", str(path), *more])


def bare(second: int, who: str = "bob") -> dict[str, str]:
    return {"@timestamp": f"2026-01-01T00:00:{second:02}Z", "who": who}


def test_bare_documents_count_as_the_rules_index(rule: Path) -> None:
    result = run(rule, [bare(0), bare(30)])
    assert result.exit_code == 0
    assert "bob twice" in result.stdout and "many: 1 alerts on 2 events" in result.stdout


def test_the_end_of_an_alarm_is_shown_and_is_no_alert(rule: Path) -> None:
    rule.write_text(RULE + "recovery: {after: {seconds: 10}}\n")
    result = run(rule, [bare(0), bare(1), bare(40, "eve")])
    assert "Resolved: bob twice" in result.stdout and "many: 1 alerts on 3 events" in result.stdout


def test_events_are_judged_by_their_own_index(rule: Path) -> None:
    event = {"type": "log", "timestamp": "2026-01-01T00:00:00Z", "received": "2026-01-01T00:00:00Z"}
    events = [
        {**event, "id": str(number), "indices": [name]} for number, name in enumerate(["logs-a", "other"] * 2)
    ]
    result = run(rule, events)
    assert "many: 1 alerts on 4 events" in result.stdout


def test_a_rule_whose_index_no_event_fits_is_told_what_they_are_of(rule: Path) -> None:
    event = {"type": "log", "timestamp": "2026-01-01T00:00:00Z", "received": "2026-01-01T00:00:00Z"}
    result = run(rule, [{**event, "id": str(number), "indices": [f"web-{number}"]} for number in range(4)])
    told = "none of the events is of index logs-*: they are of web-0, web-1, web-2 and 1 more"
    assert result.stdout.splitlines()[-1] == told


def test_json_gives_one_line_per_alert(rule: Path) -> None:
    result = run(rule, [bare(0), bare(1), bare(2), bare(3)], "--json")
    alerts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [alert["subject"] for alert in alerts] == ["bob twice"]
    assert alerts[0]["rule"] == "many" and alerts[0]["document"]["who"] == "bob"


def test_a_line_that_is_no_event_is_refused_with_its_number(rule: Path) -> None:
    result = run(rule, json.dumps(bare(0)) + "\n\n[1]\n")
    assert result.exit_code == 1
    assert "events.jsonl:3:1: not an event" in result.stderr


def test_a_document_without_a_time_is_refused(rule: Path) -> None:
    result = run(rule, [{"who": "bob"}])
    assert result.exit_code == 1 and "it says no time" in result.stderr


def test_a_bad_rule_is_refused_at_its_place(rule: Path) -> None:
    rule.write_text("name: x\ntype: anny\nalert: debug\n")
    result = run(rule, [])
    assert result.exit_code == 1 and "rule.yaml:2:7:" in result.stderr


def test_a_file_that_is_not_there_is_told(rule: Path) -> None:
    result = CliRunner().invoke(app, ["rules", "test", str(rule), "--events", "/nonexistent"])
    assert result.exit_code == 1 and "/nonexistent: No such file" in result.stderr


class Answers(BaseHTTPRequestHandler):
    """A rule that runs as it was before its file was changed, one that was stopped, one that is disabled; and
    a file that never was understood.
    """

    def do_GET(self) -> None:
        old = {
            "name": "old",
            "type": "any",
            "matches": 3,
            "error": "not used as it is written: a.yaml:1:1: bad",
        }
        refused = {"a.yaml": "a.yaml:1:1: bad", "b.yaml": "b.yaml:2:7: worse"}
        many = {"name": "many", "type": "any", "matches": 9, "error": ""}
        quiet = {"name": "quiet", "type": "any", "matches": 0, "error": "", "enabled": False}
        begun = "2026-01-01T00:00:00Z"
        deaf = {"name": "deaf", "type": "any", "matches": 0, "index": ["web-*"], "watched_since": begun}
        mute = {"mute": True, "until": "2026-01-01T04:00:00Z", "by": "ann"}
        deaf |= {"matches_since": begun, "silenced": mute}
        status = {"rules": {"refused": refused}, "stopped_rules": {"many": "more than 2"}}
        data: object = status if "/status" in self.path else [old, many, quiet, deaf]
        data = many if self.path.endswith("/rules/many") else data
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("x-total-count", "7")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack that answers so."""
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Answers), monkeypatch):
        yield


@pytest.fixture
def listed(stack: None) -> str:
    """What `rules list` shows."""
    return CliRunner().invoke(app, ["rules", "list"]).stdout


def test_a_file_that_is_refused_is_listed_with_why(listed: str) -> None:
    assert listed.splitlines()[-1] == "refused: b.yaml:2:7: worse" and listed.count("a.yaml:1:1") == 1


def test_a_rule_that_does_nothing_says_why(listed: str) -> None:
    assert "stopped: more than 2" in listed and "disabled" in listed


def test_what_keeps_a_rule_from_being_heard_is_listed(listed: str) -> None:
    assert listed.splitlines()[0].split() == ["RULE", "TYPE", "MATCHES", "LAST", "MATCH", "QUIET", "TROUBLE"]
    assert "muted until 2026-01-01 04:00:00 by ann" in listed
    assert "no event of web-* has come since 2026-01-01 00:00:00" in listed
    assert "Matches are counted since 2026-01-01 00:00:00." in listed


def test_a_rule_is_shown_with_all_that_is_known(stack: None) -> None:
    shown = CliRunner().invoke(app, ["rules", "show", "many"]).stdout
    for part in ("rule        many", "trouble     stopped: more than 2", "waiting     7 messages wait"):
        assert part in shown
    assert json.loads(CliRunner().invoke(app, ["rules", "show", "many", "--json"]).stdout)["name"] == "many"
