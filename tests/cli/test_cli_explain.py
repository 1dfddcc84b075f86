"""`divertor rules explain`: a rule, an event, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from divertor.cli.main import app

RULE = """
name: many
type: frequency
num_events: 2
timeframe: {minutes: 5}
query_key: who
index: logs-*
filter: [{query_string: {query: 'who:bob AND NOT what:"test"'}}]
alert: debug
"""


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE)
    return path


def bare(second: int, **body: str) -> dict[str, str]:
    return {"@timestamp": f"2026-01-01T00:00:{second:02}Z", "_id": f"e{second}", **body}


def lines(path: Path, *events: dict[str, str]) -> str:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return str(path)


def run(rule: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["rules", "explain", str(rule), *more])


def test_the_tree_of_the_filter_is_shown(rule: Path) -> None:
    event = lines(rule.with_name("e.jsonl"), bare(1, who="bob", what="a test"))
    result = run(rule, "--event", event)
    assert result.exit_code == 0
    assert "✓   who:bob ← bob" in result.stdout
    assert '✓     what:"test" ← a test' in result.stdout
    assert "✗ the filter did not let the event pass" in result.stdout


def test_the_last_event_of_a_file_is_judged_after_the_others(rule: Path) -> None:
    event = lines(rule.with_name("e.jsonl"), bare(1, who="bob"), bare(2, who="bob"))
    result = run(rule, "--event", event)
    assert "1 events before it, 1 passed the filter" in result.stdout
    assert "✓ the rule fired, and tells of it" in result.stdout


def test_an_event_of_the_stream_is_found_by_its_id(rule: Path) -> None:
    events = lines(rule.with_name("e.jsonl"), bare(1, who="bob"), bare(2, who="bob"), bare(3, who="bob"))
    result = run(rule, "--event", "e2", "--events", events, "--json")
    told = json.loads(result.stdout)
    assert (told["event"], told["outcome"], told["events_before"]) == ("e2", "told", 1)
    assert told["query_key"] == {"fields": ["who"], "value": "bob"}
    assert told["filter"]["parts"][0] == {"text": "who:bob", "passed": True, "found": "bob", "parts": []}


def test_a_value_cannot_move_the_cursor(rule: Path) -> None:
    event = lines(rule.with_name("e.jsonl"), bare(1, who="\x1b[2Jbob"))
    assert "\x1b" not in run(rule, "--event", event).stdout


def test_a_file_without_an_event_is_refused(rule: Path) -> None:
    result = run(rule, "--event", lines(rule.with_name("e.jsonl")))
    assert result.exit_code == 1 and "no event" in result.stderr


def test_a_stored_event_needs_a_stack(rule: Path, tmp_path: Path) -> None:
    result = run(rule, "--event", "unknown", "--state", str(tmp_path / "none"))
    assert result.exit_code == 3


SIGMA = """
title: Whoami by cmd
logsource: {product: windows}
detection:
  sel: {Image|endswith: '\\cmd.exe', CommandLine|contains: whoami}
  flt: {User: SYSTEM}
  condition: sel and not flt
"""


def test_a_sigma_rule_is_explained_as_the_queries_it_becomes(tmp_path: Path) -> None:
    path = tmp_path / "sigma_rule.yml"
    path.write_text(SIGMA)
    event = lines(tmp_path / "e.jsonl", bare(1, Image="C:\\cmd.exe", CommandLine="x", User="bob"))
    shown = run(path, "--event", event).stdout.splitlines()
    assert "✓     wildcard Image.keyword: *\\\\cmd.exe ← C:\\cmd.exe" in shown
    assert "✗     wildcard CommandLine.keyword: *whoami* ← x" in shown
    assert "✓   not" in shown
