"""All that is wrong with a rule file, at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from divertor.cli.main import app
from divertor.rules import load_rule
from divertor.rules.reading.lint import Level, lint_rule

BAD = """\
name: r
type: frequency
tpye: x
index: logs
num_events: 0
timeframe: {minuets: 3}
realert: 5
filter:
- query_string: {query: "a OR b AND c"}
- trem: {a: b}
- query_string: {query: "(a"}
alert: [emial, {command: {comand: x}}, debug]
alert_text: "a {}"
es_host: x
boto_profile: p
aggregation_key: x
owner: $FOO
timestamp_format_expr: x
"""

FOUND = [
    (3, 1, "error", "unknown option 'tpye'"),
    (5, 13, "error", "num_events is 0"),
    (6, 13, "error", "'minuets' in timeframe is no unit of time"),
    (7, 10, "error", "realert is no length of time"),
    (9, 25, "warning", "AND, + and OR are mixed"),
    (10, 3, "error", "unknown query 'trem'"),
    (11, 25, "error", "parenthesis without an end"),
    (12, 9, "error", "unknown alerter 'emial'"),
    (12, 27, "error", "unknown option 'comand' of command"),
    (13, 13, "warning", "{} in alert_text is shown as it is"),
    (14, 1, "hint", "es_host has no effect: it says how to reach Elasticsearch"),
    (15, 1, "hint", "profile has no effect"),
    (15, 1, "hint", "boto_profile is now called profile"),
    (16, 1, "warning", "aggregation_key has no effect without aggregation"),
    (17, 8, "warning", "$FOO stays as it is"),
    (18, 1, "error", "the option 'timestamp_format_expr' is refused: it is Python code"),
]


def test_all_problems_are_told_in_order_with_their_places() -> None:
    found = [
        (one.position.line, one.position.column, one.severity.value, one.message)
        for one in lint_rule(BAD, "r.yaml")
    ]
    assert [one[:3] for one in found] == [one[:3] for one in FOUND]
    assert all(one[3].startswith(wanted[3]) for one, wanted in zip(found, FOUND, strict=True))
    assert len(FOUND) == 16


def test_a_problem_reads_like_a_compilers() -> None:
    (problem,) = lint_rule("name: r\ntype: any\nindex: logs\nalert: debug\nrealrt: {}", "r.yaml")
    assert str(problem) == "r.yaml:5:1: error: unknown option 'realrt'; expected 'realert'"


def test_a_good_rule_has_nothing_to_say() -> None:
    text = "name: r\ntype: any\nindex: logs\nalert: debug\nowner: me\npriority: 1\ndescription: fine"
    assert lint_rule(text, "r.yaml") == []


def test_what_is_no_rule_at_all_is_one_problem() -> None:
    assert [one.message for one in lint_rule("- a", "r.yaml")] == ["not a rule"]


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("ab {}%$*:!", max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner)),
    max_leaves=5,
)
NAMES = (
    "name type index alert filter realert query_key include command isolate alert_text alert_text_args "
    "alert_text_kw alert_text_type slack_webhook_url num_events timeframe aggregation summary_table_fields "
    "links timestamp_type timestamp_format match_enhancements top_count_keys import copy_fields dashboard_url"
).split()


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.sampled_from(["any", "frequency", "spike", "blacklist"]),
    st.sampled_from(["slack", "command", "email", "isolate"]),
)
def test_lint_finds_an_error_in_just_the_rules_that_loading_refuses(
    options: dict[str, object], kind: str, alert: str
) -> None:
    text = json.dumps({"type": kind, "index": "i", "alert": alert, **options})
    errors = [one for one in lint_rule(text, "r.yaml") if one.severity is Level.ERROR]
    try:
        load_rule(text, "r.yaml")
    except Exception as problem:
        assert type(problem).__name__ == "InputError" and errors
    else:
        assert not errors


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_linted(text: str) -> None:
    assert lint_rule(text, "r.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text("name: r\ntype: any\nindex: logs\nalert: debug\nes_port: 1\n")
    (tmp_path / "bad.yaml").write_text("name: b\ntype: any\nindex: logs\nalert: debug\nrealrt: 1\n")
    (tmp_path / "twin.yaml").write_text("name: r\ntype: any\nindex: logs\nalert: debug\n")
    (tmp_path / "config.yaml").write_text("es_host: x\nbufer_time: {minutes: 1}\n")
    return tmp_path


def test_the_command_lints_a_directory_and_fails_on_errors(folder: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "lint", str(folder)])
    assert done.exit_code == 1
    assert [line.removeprefix(f"{folder}/") for line in done.output.splitlines()] == [
        "config.yaml:2:1: error: unknown option 'bufer_time'; expected 'buffer_time'",
        "bad.yaml:5:1: error: unknown option 'realrt'; expected 'realert'",
        "good.yaml:5:1: hint: es_port has no effect: it says how to reach Elasticsearch, and rules read the "
        "event stream",
        f"twin.yaml:1:1: error: a second rule named 'r'; expected one, as in {folder}/good.yaml",
        "3 files: 3 errors, 0 warnings, 1 hint",
    ]


def test_the_command_succeeds_without_errors_and_can_leave_hints_out(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    done = CliRunner().invoke(app, ["rules", "lint", "--no-hints", str(folder / "good.yaml")])
    assert (done.exit_code, done.output) == (0, "1 file: 0 errors, 0 warnings, 1 hint\n")


def test_the_command_prints_json(folder: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "lint", "--json", str(folder / "bad.yaml")])
    found = json.loads(done.output)
    assert (found["files"], [one["line"] for one in found["problems"]]) == (1, [2, 5])


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "lint", str(tmp_path / "gone.yaml")])
    assert done.exit_code != 0


def test_a_list_whose_file_is_not_there_is_an_error(folder: Path) -> None:
    text = (
        "name: l\ntype: blacklist\nindex: logs\nalert: debug\ncompare_key: a\nblacklist:\n- '!file gone.txt'"
    )
    (folder / "list.yaml").write_text(text)
    done = CliRunner().invoke(app, ["rules", "lint", str(folder / "list.yaml")])
    assert f"{folder}/list.yaml:7:4: error: {folder}/gone.txt: No such file" in done.output


def test_a_directory_without_rules_is_an_error_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "rule.yaml.disabled").write_text("name: r")
    done = CliRunner().invoke(app, ["rules", "lint", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].startswith(f"{tmp_path}: error: no rule file in this directory")
    assert (
        json.loads(CliRunner().invoke(app, ["rules", "lint", "--json", str(tmp_path)]).stdout)["files"] == 0
    )
