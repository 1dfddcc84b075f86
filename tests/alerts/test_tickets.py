"""Tickets, threads and documents in several steps: Jira, Slack's bot, IRIS' cases, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.alerts.conftest import Rerouted
from tests.alerts.test_messengers import deliver, found

from divertor.alerts import DeliveryError, WebClient
from divertor.alerts.contract import Delivery
from divertor.alerts.jira import escape
from divertor.alerts.slack import Slack
from divertor.alerts.tickets import PATIENCE
from divertor.rules import Match, Notification

Matches = Callable[..., Match]


@pytest.fixture
def account(tmp_path: Path) -> str:
    file = tmp_path / "account.yaml"
    file.write_text("user: me\npassword: S3CRET\n")
    return str(file)


def jira(account: str, **more: Any) -> dict[str, Any]:
    least = {"jira_server": "https://jira.example", "jira_account_file": account}
    return {**least, "jira_project": "SEC", "jira_issuetype": "Bug", **more}


def paths(webhook: Any) -> list[str]:
    return [
        f"{method} {path.removeprefix('/rest/api/2/')}"
        for method, (path, _headers, _payload) in zip(webhook.methods, webhook.requests, strict=True)
    ]


def test_jira_opens_a_ticket_and_keeps_it(match: Matches, webhook: Any, account: str) -> None:
    webhook.says = {"search": {"issues": []}, "issue": {"key": "SEC-7"}}
    more = jira(
        account, jira_components=["web"], jira_labels="a b", jira_assignee="ann", jira_watchers=["bob"]
    )
    receipt = deliver(found(match, "jira", **more), webhook)
    assert receipt == [{"key": "SEC-7", "url": "https://jira.example/browse/SEC-7"}]
    assert paths(webhook) == [
        "POST search",
        "POST issue",
        "PUT issue/SEC-7/assignee",
        "POST issue/SEC-7/watchers",
    ]
    fields = webhook.payloads[1]["fields"]
    assert fields["project"] == {"key": "SEC"} and fields["components"] == [{"name": "web"}]
    assert fields["labels"][0] == "a_b" and fields["summary"] == "r"


def test_jira_finds_the_ticket_that_an_earlier_attempt_made(
    match: Matches, webhook: Any, account: str
) -> None:
    webhook.says = {"search": {"issues": [{"key": "SEC-7", "fields": {}}]}}
    assert deliver(found(match, "jira", **jira(account)), webhook)[0] is not None
    assert paths(webhook)[0] == "POST search" and "POST issue" not in paths(webhook)
    assert webhook.payloads[0]["jql"].startswith('labels = "divertor-')


def test_jira_bumps_a_ticket_with_the_same_title(match: Matches, webhook: Any, account: str) -> None:
    webhook.says = {"search": {"issues": []}}
    more = jira(account, jira_bump_tickets=True, jira_bump_only=True, jira_bump_in_statuses=["To Do"])
    words: dict[str, Any] = {"alert_subject": 'x" OR project = Y {}', "alert_subject_args": ["user"]}
    assert deliver(found(match, "jira", **more, **words), webhook) == [None]
    jql = webhook.payloads[1]["jql"]
    assert 'summary ~ "x OR project Y eve"' in jql and 'status in ("To Do")' in jql


def test_a_further_message_is_a_comment_and_the_end_moves_the_ticket(
    match: Matches, webhook: Any, account: str
) -> None:
    webhook.says = {"transitions": {"transitions": [{"id": "31", "name": "Done"}]}}
    more, known = jira(account, jira_resolve_transition="Done"), {"key": "SEC-7", "url": "u"}
    deliver(found(match, "jira", **more), webhook, known)
    assert paths(webhook) == ["POST issue/SEC-7/comment"]
    deliver(found(match, "jira", over=True, **more), webhook, known)
    assert paths(webhook)[1:] == [
        "POST issue/SEC-7/comment",
        "GET issue/SEC-7/transitions",
        "POST issue/SEC-7/transitions",
    ]
    assert webhook.payloads[-1] == {"transition": {"id": "31"}}


def test_custom_fields_have_the_form_that_jira_says(match: Matches, webhook: Any, account: str) -> None:
    webhook.says = {
        "search": {"issues": []},
        "issue": {"key": "SEC-7"},
        "field": [
            {"id": "customfield_1", "name": "Attacked host", "schema": {"type": "string"}},
            {"id": "customfield_2", "name": "Teams", "schema": {"type": "array", "items": "option"}},
            {"id": "customfield_3", "name": "Count", "schema": {"type": "number"}},
        ],
        "priority": [{"id": "1"}, {"id": "2"}],
    }
    own: dict[str, Any] = {
        "jira_attacked_host": "#user",
        "jira_teams": "red",
        "jira_count": "5",
        "jira_priority": 1,
    }
    deliver(found(match, "jira", **jira(account, **own)), webhook)
    fields = webhook.payloads[-1]["fields"]
    assert (fields["customfield_1"], fields["customfield_2"]) == ("eve", [{"value": "red"}])
    assert (fields["customfield_3"], fields["priority"]) == (5, {"id": "2"})


def test_a_misspelt_option_of_jira_is_no_field(match: Matches, account: str) -> None:
    with pytest.raises(Exception, match=r"unknown option 'jira_asignee'.*'jira_assignee'"):
        match(alert="jira", **jira(account, jira_asignee="x"))


def test_jira_markup_in_values_is_escaped(match: Matches, webhook: Any, account: str) -> None:
    webhook.says = {"search": {"issues": []}, "issue": {"key": "SEC-7"}}
    deliver(found(match, "jira", **jira(account)), webhook)
    said = webhook.payloads[1]["fields"]["description"]
    assert "\\{code\\}" in said and "\\[a\\]" in said


def test_a_backslash_of_a_value_does_not_undo_jiras_escaping() -> None:
    assert escape(r"\{code} \\[~eve] C:\temp") == r"&#92;\{code\} &#92;&#92;\[\~eve\] C:\temp"


def test_an_account_that_cannot_be_read_is_told_without_its_content(
    match: Matches, webhook: Any, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("password: S3CRET\n")
    for file in (bad, tmp_path / "gone.yaml"):
        with pytest.raises(DeliveryError) as caught:
            deliver(found(match, "jira", **jira(str(file))), webhook)
        assert "S3CRET" not in str(caught.value)


BOT: dict[str, Any] = {"slack_bot_token": "xoxb-S3CRET", "slack_channel_override": "#sec"}


def test_slacks_bot_begins_a_thread_and_ends_in_it(match: Matches, webhook: Any) -> None:
    webhook.says = {"chat.postMessage": {"ok": True, "channel": "C1", "ts": "17.5"}}
    made = found(match, "slack", slack_webhook_url=None, **BOT)
    (receipt,) = deliver(made, webhook)
    assert receipt == {"channel": "C1", "ts": "17.5"}
    over = found(match, "slack", over=True, slack_webhook_url=None, **BOT)
    assert deliver(over, webhook, receipt) == [receipt]
    first, last = webhook.payloads
    assert "thread_ts" not in first and (last["thread_ts"], last["channel"]) == ("17.5", "#sec")
    assert last["attachments"][0]["color"] == "good"
    assert webhook.requests[0][1]["authorization"] == "Bearer xoxb-S3CRET"


@pytest.mark.parametrize(
    ("error", "again", "said"),
    [
        ("ratelimited", True, "ratelimited"),
        ("invalid_auth", False, "invalid_auth"),
        ("<x>", False, "no reason"),
    ],
)
def test_slacks_bot_is_told_what_is_wrong(
    match: Matches, webhook: Any, error: str, again: bool, said: str
) -> None:
    webhook.says = {"chat.postMessage": {"ok": False, "error": error}}
    with pytest.raises(DeliveryError, match=said) as caught:
        deliver(found(match, "slack", slack_webhook_url=None, **BOT), webhook)
    assert caught.value.again is again


def test_slack_needs_a_webhook_or_a_bot_with_a_channel(match: Matches) -> None:
    with pytest.raises(Exception, match="slack_webhook_url"):
        match(alert="slack")
    with pytest.raises(Exception, match="slack_channel_override"):
        match(alert="slack", slack_bot_token="x")


def test_an_iris_case_that_is_there_is_not_opened_again(match: Matches, webhook: Any) -> None:
    webhook.says = {"add": {"data": {"case_id": 4}}}
    webhook.answers = [200, 400]
    with pytest.raises(DeliveryError, match="case 4 without all its indicators") as caught:
        deliver(found(match, "iris", iris_type="case"), webhook)
    assert not caught.value.again


def test_post_sends_every_match_with_a_key_of_its_own(match: Matches, webhook: Any) -> None:
    deliver(found(match, "post"), webhook)
    (_path, headers, _payload) = webhook.requests[0]
    assert headers["idempotency-key"] == "the-key"


def test_post2_cannot_be_broken_out_of(match: Matches, webhook: Any) -> None:
    more: dict[str, Any] = {
        "http_post2_payload": '{"who": "{{ user }}", "n": {{ n }}}',
        "http_post2_headers": {"x-who": "{{ user }}"},
    }
    made = match({"user": 'e","admin":"1\r\nx: y', "n": 5}, alert="post2", http_post2_url="http://p", **more)
    deliver(made, webhook)
    ((_path, headers, payload),) = webhook.requests
    assert payload == {"who": 'e","admin":"1\r\nx: y', "n": 5}
    assert headers["x-who"] == 'e","admin":"1x: y' and "x" not in headers


def test_post2_says_what_a_template_cannot_do(match: Matches, webhook: Any) -> None:
    made = match({}, alert="post2", http_post2_url="http://p", http_post2_payload="{{ x }}")
    with pytest.raises(DeliveryError, match="makes no JSON") as caught:
        deliver(made, webhook)
    assert not caught.value.again and webhook.requests == []


def test_pagerduty_keeps_a_key_that_the_rule_makes(match: Matches, webhook: Any) -> None:
    more: dict[str, Any] = {
        "pagerduty_incident_key": "{}-{}",
        "pagerduty_incident_key_args": ["user", "gone"],
    }
    deliver(found(match, "pagerduty", pagerduty_api_version="v1", **more), webhook)
    assert webhook.payloads[0]["incident_key"] == "eve-<MISSING VALUE>"
    with pytest.raises(Exception, match="hole number 2"):
        found(match, "pagerduty", pagerduty_incident_key="{} {}", pagerduty_incident_key_args=["user"])


def test_opsgenie_responders_come_from_fields_or_are_the_default(match: Matches, webhook: Any) -> None:
    more: dict[str, Any] = {"opsgenie_teams": ["team-{who}"], "opsgenie_teams_args": {"who": "user"}}
    deliver(found(match, "opsgenie", **more), webhook)
    other: dict[str, Any] = {
        **more,
        "opsgenie_teams_args": {"who": "gone"},
        "opsgenie_default_teams": ["all"],
    }
    deliver(found(match, "opsgenie", **other), webhook)
    assert [p["teams"][0]["name"] for p in webhook.payloads] == ["team-eve", "all"]


def test_a_workflow_from_a_field_must_be_a_web_address(match: Matches, webhook: Any) -> None:
    more: dict[str, Any] = {"ms_power_automate_webhook_url_from_field": "where"}
    least: dict[str, Any] = {"ms_power_automate_webhook_url": "http://default.example/x", **more}
    for where, path in (("http://other.example/y", "/y"), ("file:///etc/passwd", "/x")):
        deliver(match({"where": where}, alert="ms_power_automate", **least), webhook)
        assert webhook.requests[-1][0] == path


def test_alertmanager_labels_are_filled_by_jinja_and_fields(match: Matches, webhook: Any) -> None:
    more: dict[str, Any] = {
        "alertmanager_labels": {"team": "{{ user }}s"},
        "alertmanager_fields": {"ip": "ip"},
        "alertmanager_resolve_time": {"minutes": 5},
    }
    deliver(found(match, "alertmanager", **more), webhook)
    ((alert,),) = webhook.payloads
    assert (alert["labels"]["team"], alert["labels"]["ip"]) == ("eves", "203.0.113.9")
    assert alert["endsAt"] == "2026-01-01T13:05:00+00:00"


def sent_with(match: Match, webhook: Any, others: dict[str, Any], attempts: int) -> Any:
    async def run() -> None:
        async with WebClient(transport=Rerouted(webhook.url)) as client:
            options = match.rule.alerts[1].options
            for one in Slack(client).targets(options):
                notification = Notification.of(match)
                await Slack(client).deliver(Delivery(notification, one, "k", None, others, attempts))

    asyncio.run(run())
    return webhook.payloads[-1]["attachments"]


def test_a_message_waits_for_the_ticket_it_links_to_but_not_for_ever(
    match: Matches, webhook: Any, account: str
) -> None:
    slack = {"slack_webhook_url": "http://h", "slack_attach_jira_ticket_url": True}
    made = match({}, alert=["slack", "jira"], **slack, **jira(account))
    with pytest.raises(DeliveryError, match="waits for the ticket") as caught:
        sent_with(made, webhook, {}, 0)
    assert caught.value.again and webhook.requests == []
    assert len(sent_with(made, webhook, {}, PATIENCE)) == 1
    linked = sent_with(made, webhook, {"jira": {"url": "http://j/browse/S-1"}}, 0)
    assert linked[1] == {"color": "#ec4b98", "title": "Jira Ticket", "title_link": "http://j/browse/S-1"}
