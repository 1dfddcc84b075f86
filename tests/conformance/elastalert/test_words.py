"""Subjects and texts of alerts beside ElastAlert's own, for generated rules and matches."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.elastalert.client import oracle_python
from tests.conftest import missing_server

from divertor.alerts.text import body, subject
from divertor.rules import Match, Notification, load_rule
from divertor.rules.rule import Status

CASES = 400
SCRIPT = Path(__file__).with_name("words.py")
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIELDS = ("user", "host.name", "count", "gone", "tags", "owner", "request")
TEXTS = ("plain", "two\nlines\n", "ends\n\n", "", "curly {} {x}", "ünïcode ☃ 漢字")


@dataclass(frozen=True, slots=True)
class Says:
    """A rule type that says a sentence: what types say is compared with their own tests."""

    inner: Any
    sentence: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def summary(self, _document: Any, _time: datetime) -> str:
        return self.sentence


def value(chance: random.Random) -> Any:
    return chance.choice(
        [
            "x",
            "",
            "a | b & <c>",
            "long " * 30,
            "漢字 wide",
            5,
            -1.5,
            True,
            None,
            [1, "a"],
            {"k": [None]},
            "1\n2",
        ]
    )


def document(chance: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"@timestamp": "2026-01-01T12:00:00Z", "num_hits": 1, "num_matches": 1}
    for name in ("user", "count", "tags", "request"):
        if chance.random() < 0.8:
            made[name] = value(chance)
    if chance.random() < 0.8:
        made["host"] = {"name": value(chance), "ip": "10.0.0.1"}
    return made


def holes(chance: random.Random, fields: list[str]) -> str:
    parts = [chance.choice(["Attack on {}", "{}", "a {} b", "{{}} {}"]) for _ in fields]
    return chance.choice([" ", "\n", ", "]).join(parts)


def options(chance: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"name": "A rule", "owner": "me", "priority": 3}
    some = [chance.choice(FIELDS) for _ in range(chance.randint(1, 3))]
    kind = chance.choice(
        [None, "alert_text_only", "exclude_fields", "aggregation_summary_only", "alert_text_jinja"]
    )
    if kind:
        made["alert_text_type"] = kind
    if kind == "alert_text_jinja":
        made["alert_text"] = chance.choice(
            [
                "{{ user }} {{ _data['host']['name'] }} {{ gone }}",
                "{% for one in [1, 2] %}{{ one }}-{% endfor %}{{ owner }}\n",
                "{{ count | default('none') }}{% if tags %} tags{% endif %}",
                "no holes",
            ]
        )
        made |= {"alert_subject": "{{ user }} of {{ name }}"} if chance.random() < 0.5 else {}
    elif chance.random() < 0.5:
        made |= {"alert_text": holes(chance, some), "alert_text_args": some}
    elif chance.random() < 0.3:
        made |= {"alert_text": "{who} from {where}", "alert_text_kw": {"user": "who", "host.name": "where"}}
    elif chance.random() < 0.5:
        made["alert_text"] = chance.choice(TEXTS)
    if "alert_subject" not in made and chance.random() < 0.5:
        made |= {"alert_subject": holes(chance, some), "alert_subject_args": some}
    if chance.random() < 0.2:
        made["alert_subject_max_len"] = chance.choice([5, 20])
    if chance.random() < 0.2:
        made["alert_missing_value"] = "-"
    return made | summary(chance)


def summary(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.5:
        return {}
    fields = chance.sample(FIELDS, chance.randint(1, 3))
    made: dict[str, Any] = {"summary_table_fields": chance.choice([fields, fields[0]])}
    made["summary_table_type"] = chance.choice(["ascii", "ascii", "markdown", "html"])
    if made["summary_table_type"] != "html" and chance.random() < 0.3:
        made["summary_prefix"] = "Before"
    if chance.random() < 0.3:
        made["summary_suffix"] = "After"
    if chance.random() < 0.3:
        made["summary_table_max_rows"] = chance.choice([1, 2, 10])
    return made


def made(number: int) -> dict[str, Any]:
    chance = random.Random(number)
    size = chance.choice([1, 1, 2, 3, 6])
    documents = [document(chance) for _ in range(size)]
    documents += documents[: chance.randint(0, 1)]
    said = chance.choice(["", "At least 3 events", "two\n"])
    return {"options": options(chance), "matches": documents, "summary": said}


def ask(cases: list[dict[str, Any]]) -> list[list[str]]:
    python = oracle_python()
    if python is None:
        missing_server(
            "no environment with elastalert2: `make setup` makes .venv-oracle, or set DIVERTOR_ORACLE"
        )
    done = subprocess.run(
        [str(python), "-W", "ignore", str(SCRIPT)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


@cache
def theirs() -> list[list[str]]:
    return ask([made(number) for number in range(CASES)])


def ours(case: dict[str, Any]) -> list[str]:
    rule = load_rule(
        json.dumps({"type": "any", "index": "logs", "alert": "debug", **case["options"]}), "r.yaml"
    )
    rule = replace(rule, behaviour=Says(rule.behaviour, case["summary"]))
    matches = tuple(
        Match(str(number), rule, one, None, 1, 1, MOMENT, status=Status.FIRING)
        for number, one in enumerate(case["matches"])
    )
    notification = Notification("n", rule, matches)
    return [subject(notification), body(notification)]


@pytest.mark.parametrize("block", range(8))
def test_the_words_are_elastalerts(block: int) -> None:
    answers = theirs()
    for number in range(block * 50, (block + 1) * 50):
        case = made(number)
        given = ours(case)
        if answers[number][1] or not given[1]:
            assert [alike(case, text) for text in given] == [alike(case, text) for text in answers[number]], (
                case
            )


def alike(case: dict[str, Any], text: str) -> str:
    """Without what differs on purpose: in our markdown tables no value ends its cell or its line."""
    if case["options"].get("summary_table_type") != "markdown":
        return text
    head, rule, rest = text.partition("\n\n|")
    table, end, after = rest.partition("|\n\n")
    plain = table.replace("1\n2", "1 2").replace("\\|", "|")
    return f"{head}{rule}{plain}{end}{after}"


def test_all_cases_are_there() -> None:
    raised = sum(1 for one in theirs() if not one[1])
    assert (len(theirs()), raised) == (CASES, 55)


def one(fields: dict[str, Any], **more: Any) -> list[str]:
    return ours({"options": {"name": "A rule", **more}, "matches": [fields], "summary": ""})


@pytest.mark.parametrize(
    ("more", "raised"),
    [
        ({"alert_text_type": "alert_text_jinja", "alert_text": "{{ gone.deeper }}"}, "UndefinedError"),
        ({"summary_table_type": "html", "summary_table_fields": ["count"]}, "ValueError"),
        ({"summary_table_fields": [f"f{number}" for number in range(30)]}, "ValueError"),
    ],
)
def test_what_would_disable_the_rule_there_is_still_told_here(more: dict[str, Any], raised: str) -> None:
    case = {"options": {"name": "A rule", **more}, "matches": [{"count": 7}], "summary": ""}
    assert ask([case]) == [[raised, ""]]
    assert "count: 7" in ours(case)[1]


def test_a_value_cannot_break_out_of_a_markdown_table() -> None:
    text = one({"a": "x | y\n| z"}, summary_table_fields="a", summary_table_type="markdown")[1]
    assert "| x \\| y \\| z | 1 |" in text


def test_an_html_table_keeps_what_stands_before_it() -> None:
    table = {"summary_table_fields": "a", "summary_table_type": "html", "summary_prefix": "Look:"}
    case = {"options": {"name": "A rule", **table}, "matches": [{"a": "<b>"}], "summary": ""}
    theirs_html = ask([case])[0][1]
    assert ours(case)[1] == f"Look:\n{theirs_html}"


def test_a_length_of_nothing_cuts_no_subject() -> None:
    assert one({}, alert_subject="a b", alert_subject_max_len=0)[0] == "a b"
