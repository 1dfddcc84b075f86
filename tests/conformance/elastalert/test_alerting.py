"""What Slack and commands get, beside ElastAlert's own alerters: the same bytes for every option."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conformance.elastalert.client import oracle_python
from tests.conformance.elastalert.test_words import Says
from tests.conftest import missing_server

from divertor.alerts.command import Command
from divertor.alerts.contract import Delivery
from divertor.alerts.http import Transport, new_client
from divertor.alerts.slack import Slack, message
from divertor.rules import Match, Notification, load_rule
from divertor.rules.alerters.slack import DECLARATION

SCRIPT = Path(__file__).with_name("alerting.py")
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLIENT = new_client()
TICKET = {"jira_server": "https://jira.example", "jira_ticket": "SEC-7"}
MATCH: dict[str, Any] = {
    "@timestamp": "2026-01-01T12:00:00Z",
    "user": "eve",
    "host": {"name": "web-1", "ports": [80, 443]},
    "count": 5,
    "ok": True,
    "none": None,
    "text": "ünïcode ☃ \"quoted\" \\ 'single'\nline",
    "kibana_discover_url": "https://kibana.example/app?x=1",
    "opensearch_discover_url": "https://os.example/app?x=2",
    "num_hits": 1,
    "num_matches": 1,
}

#: Every option of ElastAlert's Slack alerter, with values of each kind.
TABLE: dict[str, list[Any]] = {
    "slack_webhook_url": ["http://a.example/1", ["http://a.example/1", "http://b.example/2"]],
    "slack_channel_override": ["#one", ["#one", "@two"], ""],
    "slack_username_override": ["bot"],
    "slack_parse_override": ["full"],
    "slack_text_string": ["see below <!here> & more"],
    "slack_emoji_override": [":robot:", ""],
    "slack_icon_url_override": ["http://i.example/i.png"],
    "slack_msg_color": ["good", "warning", "#12ab34"],
    "slack_msg_pretext": ["before"],
    "slack_title": ["A title"],
    "slack_title_link": ["http://t.example/"],
    "slack_footer": ["foot"],
    "slack_footer_icon": ["http://f.example/f.png"],
    "slack_image_url": ["http://i.example/x.png"],
    "slack_thumb_url": ["http://i.example/t.png"],
    "slack_author_name": ["me"],
    "slack_author_link": ["http://me.example/"],
    "slack_author_icon": ["http://me.example/i.png"],
    "slack_alert_fields": [
        [{"title": "User", "value": "user", "short": True}],
        [{"title": "Ports", "value": "host.ports"}, {"title": "Gone", "value": "gone", "short": False}],
        [{"title": "Count", "value": "count"}, {"title": "None", "value": "none"}],
    ],
    "slack_attach_kibana_discover_url": [True, False],
    "slack_kibana_discover_color": ["#000000"],
    "slack_kibana_discover_title": ["K"],
    "slack_attach_opensearch_discover_url": [True],
    "slack_opensearch_discover_color": ["#000001"],
    "slack_opensearch_discover_title": ["O"],
    "slack_attach_jira_ticket_url": [True],
    "slack_jira_ticket_color": ["#000002"],
    "slack_jira_ticket_title": ["J"],
    "slack_proxy": ["http://proxy.example:3128"],
    "slack_ignore_ssl_errors": [True],
    "slack_ca_certs": ["/etc/ca.pem"],
    "slack_timeout": [3],
}

#: Ours alone.
OURS = {"slack_bot_token", "slack_api_url", "slack_proxy_login", "slack_proxy_pass"}

WORDS: list[dict[str, Any]] = [
    {},
    {"alert_subject": "{} did it", "alert_subject_args": ["user"]},
    {
        "alert_text": "{} on {}",
        "alert_text_args": ["user", "host.name"],
        "alert_text_type": "alert_text_only",
    },
    {"alert_text_type": "exclude_fields"},
    {"slack_title": "$owner$", "owner": "the owner"},
    {"summary_table_fields": ["user", "count"], "gathered": True},
    {"summary_table_fields": ["text"], "gathered": True, "alert_text_type": "aggregation_summary_only"},
]


def cases() -> list[dict[str, Any]]:
    """Each value of each option by itself, then options at random together, over all ways of wording."""
    single = [{name: value} for name, values in TABLE.items() for value in values]
    chance = random.Random(7)
    mixed = [
        {name: chance.choice(TABLE[name]) for name in chance.sample(sorted(TABLE), 12)} for _ in range(60)
    ]
    made: list[dict[str, Any]] = []
    for number, options in enumerate([*single, *mixed]):
        words = WORDS[number % len(WORDS)]
        matches = [MATCH] * (1 if number % 3 else 2)
        least: dict[str, Any] = {"name": "A rule", "slack_webhook_url": "http://a.example/1"}
        made.append(
            {
                "alerter": "slack",
                "options": {**least, **words, **options},
                "matches": matches,
                "others": TICKET if number % 2 else {},
            }
        )
    for options in single:
        if "attach" in str(options):
            made.append({**made[0], "options": {**made[0]["options"], **options}, "others": TICKET})
    return made


def asked(questions: Sequence[Mapping[str, Any]]) -> list[Any]:
    python = oracle_python()
    if python is None:
        missing_server(
            "no environment with elastalert2: `make setup` makes .venv-oracle, or set DIVERTOR_ORACLE"
        )
    done = subprocess.run(
        [str(python), "-W", "ignore", str(SCRIPT)],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


def notification_of(case: Mapping[str, Any], **more: Any) -> Notification:
    options = {name: value for name, value in case["options"].items() if name != "gathered"}
    least = {"type": "any", "index": "logs", "alert": case["alerter"]}
    rule = load_rule(json.dumps({**least, **options, **more}), "r.yaml")
    rule = replace(rule, behaviour=Says(rule.behaviour, ""))
    matches = [
        Match(str(place), rule, document, None, 1, 1, MOMENT)
        for place, document in enumerate(case["matches"])
    ]
    return Notification("n", rule, tuple(matches))


def ours(case: Mapping[str, Any]) -> list[Any]:
    """What our alerter posts, in the oracle's form."""
    notification = notification_of(case)
    ticket = "https://jira.example/browse/SEC-7" if case["others"] else ""
    out = []
    for options in Slack(CLIENT).targets(notification.rule.alerts[0].options):
        said = message(notification, options, ticket if options["slack_attach_jira_ticket_url"] else "")
        way = Transport.of(options, "slack")
        travels = [
            {"https": way.proxy} if way.proxy else None,
            way.ca or way.verify,
            way.timeout,
            {"content-type": "application/json"},
        ]
        body = json.dumps(said, sort_keys=True, separators=(",", ":"))
        out.append([options["slack_webhook_url"], body, travels])
    return out


def test_slack_gets_the_same_bytes_for_every_option() -> None:
    questions = cases()
    answers = asked(questions)
    for case, answer in zip(questions, answers, strict=True):
        assert ours(case) == answer, case["options"]
    assert (len(TABLE), len(questions)) == (32, 105)


def test_every_option_of_slack_is_compared() -> None:
    assert {option.name for option in DECLARATION.options} == set(TABLE) | OURS


def test_differs_on_purpose_markup_in_values_is_escaped() -> None:
    document = {**MATCH, "user": "<!channel> & <http://evil|x>"}
    fields = [{"title": "User", "value": "user"}]
    case = {**cases()[0], "matches": [document]}
    case["options"] = {**case["options"], "slack_alert_fields": fields}
    ((_url, theirs, _travels),), ((_same, said, _ways),) = asked([case])[0], ours(case)
    plain = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert "<!channel>" in theirs and "<!channel>" not in said and plain == theirs


def test_differs_on_purpose_a_long_text_is_cut_at_what_slack_takes() -> None:
    case = {**cases()[0], "matches": [{**MATCH, "text": "x" * 100_000}]}
    ((_url, body, _travels),) = ours(case)
    assert len(json.loads(body)["attachments"][0]["text"]) == 38_000


PROGRAM = """import json, sys
given = "" if sys.argv[2] == "no" else sys.stdin.buffer.read().decode()
json.dump([given, sys.argv[3:]], open(sys.argv[1], "w"))
"""

ARGUMENTS = [
    ["plain", "two words", "", "-v", "100 per cent"],
    ["%(user)s", "{user}", "%(host.name)s", "{host[name]}", "{host[ports][1]}"],
    ["a%(user)sb{count}c", "%(gone)s", "{gone}", "%(count)s%(ok)s"],
    ["%(text)s", "{text}", "%(host)s", "%(host.ports)s"],
    ["100%%", "{{user}}", "%%(user)s", "{{{user}}}"],
    ["ünïcode ☃ %(user)s"],
]
PIPES: list[dict[str, Any]] = [
    {},
    {"pipe_match_json": True},
    {"pipe_alert_text": True},
    {"pipe_match_json": True, "pipe_alert_text": True},
    {"pipe_alert_text": True, "alert_text": "{} did it", "alert_text_args": ["user"]},
]


def commands(out: Path) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for arguments in ARGUMENTS:
        for pipes in PIPES:
            reads = "yes" if pipes else "no"
            program = [sys.executable, str(out.with_name("program.py")), str(out), reads]
            options: dict[str, Any] = {"name": "A rule", "command": [*program, *arguments]}
            options["fail_on_non_zero_exit"] = True
            matches = [MATCH] * (1 + len(made) % 2)
            case = {"alerter": "command", "options": {**options, **pipes}, "matches": matches}
            made.append({**case, "others": {}, "out": str(out)})
    return made


def test_a_program_gets_the_same_arguments_and_the_same_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "program.py").write_text(PROGRAM)
    questions = commands(out)
    answers = asked(questions)
    for case, answer in zip(questions, answers, strict=True):
        assert run(case, out) == answer, case["options"]
    assert len(questions) == 30 and not any(isinstance(answer, str) for answer in answers)


def run(case: Mapping[str, Any], out: Path) -> Any:
    """What the program notes when our alerter runs it."""
    out.unlink(missing_ok=True)
    notification = notification_of(case)
    options = notification.rule.alerts[0].options
    asyncio.run(Command(logging.getLogger("test")).deliver(Delivery(notification, options)))
    return json.loads(out.read_text())


DIFFERENT = [
    ("100%", "ValueError", "100%"),
    ("{print $1}", "<MISSING VALUE>", "{print $1}"),
    ("{host.name}", "AttributeError", "web-1"),
    ("{}", "IndexError", "{}"),
    ("%(none)s", "None", "<MISSING VALUE>"),
    ("%(evil)s", "eve", "{user}"),
]


def test_differs_on_purpose_what_elastalert_fails_at_and_values_that_look_like_fields(tmp_path: Path) -> None:
    """It is taken as it is, or means the field; a value is not a template."""
    out = tmp_path / "out"
    (tmp_path / "program.py").write_text(PROGRAM)
    questions = []
    for argument, _theirs, _said in DIFFERENT:
        case = {**commands(out)[0], "matches": [{**MATCH, "evil": "{user}"}]}
        case["options"] = {**case["options"], "command": [*case["options"]["command"][:4], argument]}
        questions.append(case)
    answers = [answer if isinstance(answer, str) else answer[1][0] for answer in asked(questions)]
    assert answers == [theirs for _argument, theirs, _said in DIFFERENT]
    said = [run(case, out)[1] for case in questions]
    assert said == [[one] for _argument, _theirs, one in DIFFERENT] and len(said) == 6
