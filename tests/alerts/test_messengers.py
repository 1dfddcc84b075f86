"""All of ElastAlert's alerters over real HTTP: what each service gets when an alarm goes off and when it is
over, what an answer means, and that no secret is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from tests.alerts.conftest import Rerouted

from divertor.alerts import DeliveryError, WebClient
from divertor.alerts.contract import Delivery, Receipt
from divertor.alerts.hook import Tools
from divertor.rules import Match, Notification
from divertor.rules.alerters import ACTIONS, ALERTERS, MESSENGERS
from divertor.rules.rule import Status

Matches = Callable[..., Match]
NOW = datetime(2026, 1, 1, 13, tzinfo=UTC)
LOG = logging.getLogger("test.messengers")
SECRET = "S3CRET"

ELASTALERT = """alerta alertmanager chatwork command datadog debug dingtalk discord email exotel flashduty
    gelf gitter googlechat hivealerter indexer iris jira lark line matrixhookshot mattermost ms_power_automate
    opsgenie pagerduty pagertree post post2 rocketchat servicenow ses slack smseagle sns sqs stomp telegram
    tencent_sms twilio victorops webex_webhook workwechat yzj zabbix""".split()

#: The least options of each service that speaks HTTP, with every secret as `SECRET`.
LEAST: dict[str, dict[str, Any]] = {
    "alerta": {"alerta_api_url": f"http://alerta.example/{SECRET}", "alerta_api_key": SECRET},
    "alertmanager": {
        "alertmanager_hosts": [f"http://am.example/{SECRET}"],
        "alertmanager_basic_auth_login": "u",
        "alertmanager_basic_auth_password": SECRET,
    },
    "chatwork": {"chatwork_apikey": SECRET, "chatwork_room_id": 7},
    "datadog": {"datadog_api_key": SECRET, "datadog_app_key": SECRET},
    "dingtalk": {"dingtalk_access_token": SECRET, "dingtalk_sign": SECRET},
    "discord": {"discord_webhook_url": f"https://discord.example/api/webhooks/1/{SECRET}"},
    "exotel": {
        "exotel_account_sid": "sid",
        "exotel_auth_token": SECRET,
        "exotel_to_number": "1",
        "exotel_from_number": "2",
    },
    "flashduty": {"flashduty_integration_key": SECRET},
    "gelf": {
        "gelf_type": "http",
        "gelf_endpoint": f"http://g.example/{SECRET}",
        "gelf_payload": {"who": "user"},
    },
    "gitter": {"gitter_webhook_url": f"https://g.example/{SECRET}"},
    "googlechat": {"googlechat_webhook_url": f"https://chat.example/v1?key={SECRET}"},
    "hivealerter": {
        "hive_connection": {"hive_host": "http://hive.example", "hive_apikey": SECRET, "hive_verify": True},
        "hive_alert_config": {"type": "external", "tags": ["user", "plain"]},
        "hive_observable_data_mapping": [{"ip": "ip", "tlp": 3}],
    },
    "indexer": {
        "indexer_connection": {
            "es_host": "es.example",
            "es_username": "u",
            "es_password": SECRET,
            "indexer_alerts_name": "alerts",
        },
        "indexer_alert_config": {"who.name": "user", "kind": "fixed"},
    },
    "iris": {"iris_host": "iris.example", "iris_api_token": SECRET, "iris_iocs": [{"ioc_value": "ip"}]},
    "lark": {"lark_bot_id": SECRET},
    "line": {"line_channel_access_token": SECRET, "line_to": "U1"},
    "matrixhookshot": {"matrixhookshot_webhook_url": f"https://m.example/{SECRET}"},
    "mattermost": {"mattermost_webhook_url": f"https://mm.example/hooks/{SECRET}"},
    "ms_power_automate": {"ms_power_automate_webhook_url": f"https://pa.example/?sig={SECRET}"},
    "ms_teams": {"ms_teams_webhook_url": f"https://t.example/{SECRET}"},
    "opsgenie": {"opsgenie_key": SECRET},
    "pagerduty": {
        "pagerduty_service_key": SECRET,
        "pagerduty_client_name": "us",
        "pagerduty_api_version": "v2",
    },
    "pagertree": {"pagertree_integration_url": f"https://p.example/{SECRET}"},
    "post": {"http_post_url": f"https://p.example/{SECRET}"},
    "post2": {"http_post2_url": f"https://p.example/{SECRET}", "http_post2_payload": {"who": "{{ user }}"}},
    "rocketchat": {"rocket_chat_webhook_url": f"https://r.example/hooks/{SECRET}"},
    "servicenow": {
        "servicenow_rest_url": "https://s.example/api/now/table/incident",
        "username": "u",
        "password": SECRET,
        **dict.fromkeys(
            "short_description comments assignment_group category subcategory cmdb_ci caller_id".split(), "x"
        ),
    },
    "ses": {
        "ses_email": "a@example.org",
        "ses_from_addr": "b@example.org",
        "ses_aws_access_key_id": "AKID",
        "ses_aws_secret_access_key": SECRET,
    },
    "slack": {"slack_webhook_url": f"https://hooks.example/services/{SECRET}"},
    "smseagle": {
        "smseagle_url": "https://sms.example",
        "smseagle_token": SECRET,
        "smseagle_message_type": "sms",
        "smseagle_to": ["+1"],
    },
    "sns": {
        "sns_topic_arn": "arn:aws:sns:eu-west-1:1:t",
        "sns_aws_access_key_id": "AKID",
        "sns_aws_secret_access_key": SECRET,
    },
    "sqs": {
        "sqs_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/q",
        "sqs_aws_access_key_id": "AKID",
        "sqs_aws_secret_access_key": SECRET,
    },
    "telegram": {"telegram_bot_token": f"1:{SECRET}", "telegram_room_id": "-1"},
    "tencent_sms": {
        "tencent_sms_secret_id": "id",
        "tencent_sms_secret_key": SECRET,
        "tencent_sms_sdk_appid": "1",
        "tencent_sms_template_id": "2",
        "tencent_sms_to_number": ["+86"],
        "tencent_sms_template_parm": ["/user"],
    },
    "twilio": {
        "twilio_account_sid": "AC1",
        "twilio_auth_token": SECRET,
        "twilio_to_number": "1",
        "twilio_from_number": "2",
    },
    "victorops": {
        "victorops_api_key": SECRET,
        "victorops_routing_key": "team",
        "victorops_message_type": "CRITICAL",
    },
    "webex_webhook": {"webex_webhook_id": SECRET},
    "workwechat": {"work_wechat_bot_id": SECRET},
    "yzj": {"yzj_token": SECRET},
}

#: Where the request goes, and what is true of its payload when the alarm goes off.
FIRING: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "alerta": (
        "http://alerta.example/S3CRET",
        lambda p: p["severity"] == "warning" and "eve" in p["rawData"],
    ),
    "alertmanager": (
        "http://am.example/S3CRET/api/v2/alerts",
        lambda p: p[0]["labels"] == {"alertname": "r", "elastalert_rule": "r"} and "endsAt" not in p[0],
    ),
    "chatwork": ("https://api.chatwork.com/v2/rooms/7/messages", lambda p: "user: eve" in p["body"]),
    "datadog": ("https://api.datadoghq.com/api/v1/events", lambda p: p["alert_type"] == "error"),
    "dingtalk": ("https://oapi.dingtalk.com/robot/send", lambda p: "user: eve" in p["text"]["content"]),
    "discord": (
        "https://discord.example/api/webhooks/1/S3CRET",
        lambda p: p["allowed_mentions"] == {"parse": []} and "eve" in p["embeds"][0]["description"],
    ),
    "exotel": ("https://api.exotel.com/v1/Accounts/sid/Sms/send.json", lambda p: p["Body"] == "r"),
    "flashduty": (
        "https://api.flashcat.cloud/event/push/alert/standard",
        lambda p: (p["event_status"], p["alert_key"]) == ("Info", "the-alarm"),
    ),
    "gelf": ("http://g.example/S3CRET", lambda p: (p["level"], p["_who"]) == (5, "eve")),
    "gitter": ("https://g.example/S3CRET", lambda p: p["level"] == "error"),
    "googlechat": ("https://chat.example/v1", lambda p: p["thread"] == {"threadKey": "the-alarm"}),
    "hivealerter": (
        "http://hive.example:9000/api/alert",
        lambda p: (
            p["tags"] == ["eve", "plain"]
            and [(one["data"], one["tlp"]) for one in p["artifacts"]] == [("203.0.113.9", 3)]
        ),
    ),
    "indexer": (
        "http://es.example:9200/alerts/_doc/",
        lambda p: (p["who"], p["kind"], p["divertor"]) == ({"name": "eve"}, "fixed", {"status": "firing"}),
    ),
    "iris": (
        "https://iris.example/alerts/add",
        lambda p: p["alert_iocs"] == [{"ioc_value": "203.0.113.9"}] and p["alert_source_ref"] == "the-alarm",
    ),
    "lark": ("https://open.feishu.cn/open-apis/bot/v2/hook/S3CRET", lambda p: p["content"]["title"] == "r"),
    "line": ("https://api.line.me/v2/bot/message/push", lambda p: p["to"] == "U1"),
    "matrixhookshot": ("https://m.example/S3CRET", lambda p: "user: eve" in p["text"]),
    "mattermost": ("https://mm.example/hooks/S3CRET", lambda p: p["attachments"][0]["color"] == "danger"),
    "ms_power_automate": (
        "https://pa.example/",
        lambda p: p["attachments"][0]["content"]["body"][0]["text"] == "r",
    ),
    "ms_teams": ("https://t.example/S3CRET", lambda p: p["title"] == "r" and "themeColor" not in p),
    "opsgenie": (
        "https://api.opsgenie.com/v2/alerts",
        lambda p: (p["alias"], p["message"], p["tags"]) == ("the-alarm", "r", ["ElastAlert", "r"]),
    ),
    "pagerduty": (
        "https://events.pagerduty.com/v2/enqueue",
        lambda p: (p["event_action"], p["dedup_key"]) == ("trigger", "the-alarm"),
    ),
    "pagertree": (
        "https://p.example/S3CRET",
        lambda p: (p["event_type"], p["Id"]) == ("create", "the-alarm"),
    ),
    "post": ("https://p.example/S3CRET", lambda p: p["user"] == "eve"),
    "post2": ("https://p.example/S3CRET", lambda p: p == {"who": "eve"}),
    "rocketchat": ("https://r.example/hooks/S3CRET", lambda p: p["attachments"][0]["color"] == "danger"),
    "servicenow": ("https://s.example/api/now/table/incident", lambda p: p["correlation_id"] == "the-alarm"),
    "ses": (
        "https://email.us-east-1.amazonaws.com/",
        lambda p: p["Destinations.member.1"] == "a@example.org",
    ),
    "slack": ("https://hooks.example/services/S3CRET", lambda p: p["attachments"][0]["color"] == "danger"),
    "smseagle": ("https://sms.example/api/v2/messages/sms", lambda p: p["to"] == ["+1"]),
    "sns": (
        "https://sns.eu-west-1.amazonaws.com/",
        lambda p: (p["Subject"], p["Action"]) == ("r", "Publish"),
    ),
    "sqs": (
        "https://sqs.eu-west-1.amazonaws.com/",
        lambda p: json.loads(p["MessageBody"])["status"] == "firing",
    ),
    "telegram": ("https://api.telegram.org/bot1:S3CRET/sendMessage", lambda p: p["chat_id"] == "-1"),
    "tencent_sms": ("https://sms.tencentcloudapi.com/", lambda p: p["TemplateParamSet"] == ["eve"]),
    "twilio": (
        "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json",
        lambda p: p == {"Body": "r", "To": "1", "From": "2"},
    ),
    "victorops": (
        "https://alert.victorops.com/integrations/generic/20131114/alert/S3CRET/team",
        lambda p: (p["message_type"], p["entity_id"], p["user"]) == ("CRITICAL", "the-alarm", "eve"),
    ),
    "webex_webhook": (
        "https://webexapis.com/v1/webhooks/incoming/S3CRET",
        lambda p: "user: eve" in p["text"],
    ),
    "workwechat": ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send", lambda p: p["msgtype"] == "text"),
    "yzj": ("https://www.yunzhijia.com/gateway/robot/webhook/send", lambda p: "eve" in p["content"]),
}

#: What the first message's receipt is, where there is one, and what is true of the request when it is over.
OVER: dict[str, tuple[Receipt | None, Callable[[str, Any], bool]]] = {
    "alerta": (None, lambda _, p: p["severity"] == "normal"),
    "alertmanager": (None, lambda _, p: p[0]["endsAt"] == "2026-01-01T13:00:00+00:00"),
    "chatwork": (None, lambda _, p: "Resolved at" in p["body"]),
    "datadog": (None, lambda _, p: (p["alert_type"], p["aggregation_key"]) == ("success", "the-alarm")),
    "dingtalk": (None, lambda _, p: "Resolved at" in p["text"]["content"]),
    "discord": (None, lambda _, p: p["embeds"][0]["color"] == 0x2EB67D and "Resolved: r" in p["content"]),
    "exotel": (None, lambda _, p: p["Body"] == "Resolved: r"),
    "flashduty": (None, lambda _, p: (p["event_status"], p["alert_key"]) == ("Ok", "the-alarm")),
    "gelf": (None, lambda _, p: p["level"] == 6),
    "gitter": (None, lambda _, p: p["level"] == "info"),
    "googlechat": (None, lambda _, p: p["thread"] == {"threadKey": "the-alarm"}),
    "hivealerter": ({"id": "~12"}, lambda path, _: path == "/api/alert/~12/markAsRead"),
    "indexer": (None, lambda _, p: p["divertor"] == {"status": "resolved"}),
    "iris": ({"alert": 5}, lambda path, p: (path, p) == ("/alerts/update/5", {"alert_status_id": 6})),
    "lark": (None, lambda _, p: p["content"]["title"] == "Resolved: r"),
    "line": (None, lambda _, p: "Resolved at" in p["messages"][0]["text"]),
    "matrixhookshot": (None, lambda _, p: "Resolved at" in p["text"]),
    "mattermost": (None, lambda _, p: p["attachments"][0]["color"] == "good"),
    "ms_power_automate": (
        None,
        lambda _, p: p["attachments"][0]["content"]["body"][0]["text"] == "Resolved: r",
    ),
    "ms_teams": (None, lambda _, p: p["themeColor"] == "2EB67D"),
    "opsgenie": (None, lambda path, _: path == "/v2/alerts/the-alarm/close?identifierType=alias"),
    "pagerduty": (None, lambda _, p: (p["event_action"], p["dedup_key"]) == ("resolve", "the-alarm")),
    "pagertree": (None, lambda _, p: (p["event_type"], p["Id"]) == ("resolve", "the-alarm")),
    "post": (None, lambda _, p: p["user"] == "eve"),
    "post2": (None, lambda _, p: p == {"who": "eve"}),
    "rocketchat": (None, lambda _, p: p["attachments"][0]["color"] == "good"),
    "servicenow": (
        {"sys_id": "abc"},
        lambda path, p: path == "/api/now/table/incident/abc" and p["state"] == "6",
    ),
    "ses": ({"message_id": "<1@example.org>"}, lambda _, p: bool(p["RawMessage.Data"])),
    "slack": (None, lambda _, p: p["attachments"][0]["color"] == "good"),
    "smseagle": (None, lambda _, p: "Resolved at" in p["text"]),
    "sns": (None, lambda _, p: p["Subject"] == "Resolved: r"),
    "sqs": (None, lambda _, p: json.loads(p["MessageBody"])["status"] == "resolved"),
    "telegram": ({"message_id": 9}, lambda _, p: p["reply_parameters"]["message_id"] == 9),
    "tencent_sms": (None, lambda _, p: p["TemplateId"] == "2"),
    "twilio": (None, lambda _, p: p["Body"] == "Resolved: r"),
    "victorops": (None, lambda _, p: (p["message_type"], p["entity_id"]) == ("RECOVERY", "the-alarm")),
    "webex_webhook": (None, lambda _, p: "Resolved at" in p["text"]),
    "workwechat": (None, lambda _, p: "Resolved at" in p["text"]["content"]),
    "yzj": (None, lambda _, p: "Resolved at" in p["content"]),
}

#: Receipts by what the service answers, and where.
RECEIPTS: dict[str, tuple[str, Any, Receipt]] = {
    "telegram": ("sendMessage", {"ok": True, "result": {"message_id": 9}}, {"message_id": 9}),
    "servicenow": ("incident", {"result": {"sys_id": "abc"}}, {"sys_id": "abc"}),
    "hivealerter": ("alert", {"id": "~12"}, {"id": "~12"}),
    "iris": ("add", {"data": {"alert_id": 5}}, {"alert": 5}),
}

#: Answers of 200 that are none: the service, what it says, whether to try again.
REFUSALS: list[tuple[str, Any, bool]] = [
    ("lark", {"code": 19001}, False),
    ("lark", {"code": 11232}, True),
    ("dingtalk", {"errcode": 130101}, True),
    ("dingtalk", {"errcode": 310000}, False),
    ("workwechat", {"errcode": 45009}, True),
    ("workwechat", {"errcode": 93000}, False),
    ("tencent_sms", {"Response": {"Error": {"Code": "InternalError"}}}, True),
    ("tencent_sms", {"Response": {"Error": {"Code": "AuthFailure"}}}, False),
    ("tencent_sms", {"Response": {"SendStatusSet": [{"Code": "Ok"}, {"Code": "InternalError"}]}}, False),
]


def found(match: Matches, name: str, *, over: bool = False, **more: Any) -> Match:
    body = {"user": "eve", "ip": "203.0.113.9", "evil": "@all <b> `x` [a](http://e) *b* _c_ {code}"}
    made = match(body, alert=name, **{**LEAST.get(name, {}), **more})
    return replace(made, alarm="the-alarm", status=Status.RESOLVED if over else Status.FIRING)


def deliver(found: Match, webhook: Any, receipt: Receipt | None = None) -> list[Receipt | None]:
    """Everything the match's first alert asks for, once, whatever host it is for."""
    alert = found.rule.alerts[0]

    async def run() -> list[Receipt | None]:
        async with WebClient(transport=Rerouted(webhook.url)) as client:
            alerter = import_module(f"divertor.alerts.{alert.name}").make(Tools(client, LOG, lambda: NOW))
            notification = Notification.of(found)
            return [
                await alerter.deliver(Delivery(notification, options, "the-key", receipt))
                for options in alerter.targets(alert.options)
            ]

    return asyncio.run(run())


def test_every_alerter_of_elastalert_is_known() -> None:
    assert len(ELASTALERT) == 44 and set(ELASTALERT) <= set(MESSENGERS)
    assert set(ALERTERS) - set(ELASTALERT) == {"apprise", "ms_teams", *ACTIONS}
    assert len(LEAST) == 39 and set(LEAST) == set(FIRING) == set(OVER)


@pytest.mark.parametrize("name", sorted(LEAST))
def test_an_alarm_reaches_the_service(match: Matches, webhook: Any, name: str) -> None:
    deliver(found(match, name), webhook)
    (path, headers, payload) = webhook.requests[0]
    where, is_right = FIRING[name]
    assert (headers["x-meant-for"] + path).startswith(where)
    assert is_right(payload), payload


@pytest.mark.parametrize("name", sorted(OVER))
def test_the_end_of_an_alarm_is_told_where_it_was_told_of(match: Matches, webhook: Any, name: str) -> None:
    receipt, is_right = OVER[name]
    deliver(found(match, name, over=True), webhook, receipt)
    (path, _headers, payload) = webhook.requests[0]
    assert is_right(path, payload), payload


@pytest.mark.parametrize("name", sorted(RECEIPTS))
def test_a_receipt_is_what_later_messages_refer_to(match: Matches, webhook: Any, name: str) -> None:
    end, said, receipt = RECEIPTS[name]
    webhook.says[end] = said
    assert deliver(found(match, name), webhook) == [receipt]


@pytest.mark.parametrize("name", ["hivealerter", "iris", "servicenow"])
def test_what_was_never_opened_is_not_closed(match: Matches, webhook: Any, name: str) -> None:
    assert deliver(found(match, name, over=True), webhook) == [None] and webhook.requests == []


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_service_in_trouble_is_asked_again_and_no_secret_is_told(
    match: Matches, webhook: Any, name: str
) -> None:
    webhook.answers, webhook.headers = [503], {"retry-after": "17"}
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, name), webhook)
    assert (caught.value.again, caught.value.after) == (True, 17.0)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_service_that_refuses_is_not_asked_again(match: Matches, webhook: Any, name: str) -> None:
    webhook.answers = [403]
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, name), webhook)
    assert not caught.value.again and SECRET not in str(caught.value)


@pytest.mark.parametrize(("name", "said", "again"), REFUSALS)
def test_an_answer_of_200_can_be_a_refusal(
    match: Matches, webhook: Any, name: str, said: Any, again: bool
) -> None:
    webhook.says[""] = said
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, name), webhook)
    assert caught.value.again is again


def test_refusals_are_all_there() -> None:
    assert (len(REFUSALS), len(RECEIPTS)) == (9, 4)


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_misspelt_option_is_told_with_the_nearest_name(match: Matches, name: str) -> None:
    option = next(iter(LEAST[name]))
    with pytest.raises(Exception, match=rf"unknown option '{option}s'.*'{option}'"):
        match(alert=[{name: {**LEAST[name], f"{option}s": "x"}}])


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_long_text_stays_within_what_the_service_takes(match: Matches, webhook: Any, name: str) -> None:
    made = found(match, name)
    long = replace(made, document={**made.document, "user": "x" * 400_000})
    deliver(long, webhook)
    unbounded = {"indexer", "post", "post2", "victorops"}
    assert len(webhook.contents[0]) < 300_000 or name in unbounded


MENTIONS = {
    "discord": ("@all", "[a](http://e)"),
    "mattermost": ("@all", "[a](http://e)"),
    "rocketchat": ("@all", "[a](http://e)"),
    "matrixhookshot": ("@all", "[a](http://e)"),
    "ms_teams": ("[a](http://e)", "<b>"),
    "ms_power_automate": ("[a](http://e)", "*b*"),
    "slack": ("<b>",),
    "lark": ("<b>",),
    "googlechat": ("<b>",),
    "chatwork": ("[a]",),
    "gitter": ("[a](http://e)",),
    "datadog": ("@all",),
    "opsgenie": ("<b>",),
}


@pytest.mark.parametrize("name", sorted(MENTIONS))
def test_nothing_in_a_value_is_markup(match: Matches, webhook: Any, name: str) -> None:
    deliver(found(match, name), webhook)
    said = json.dumps(webhook.payloads[0], ensure_ascii=False)
    assert not any(markup in said for markup in MENTIONS[name])
    assert len(MENTIONS) == 13


@pytest.mark.parametrize("mode", ["markdown", "MarkdownV2", "html"])
def test_telegram_shows_values_as_they_are(match: Matches, webhook: Any, mode: str) -> None:
    deliver(found(match, "telegram", telegram_parse_mode=mode), webhook)
    text = webhook.payloads[0]["text"]
    if mode == "html":
        assert "<b>" not in text and "&lt;b&gt;" in text
    else:
        assert text.count("```") == 2 and ("\\`x" in text or "`x" not in text)


def test_links_lead_to_the_event_and_the_rules_own_places(match: Matches, webhook: Any) -> None:
    made = found(match, "lark", links={"Runbook": "https://wiki.example/{user}"})
    notification = replace(Notification.of(made), base="https://divertor.example")

    async def run() -> None:
        async with WebClient(transport=Rerouted(webhook.url)) as client:
            alerter = import_module("divertor.alerts.lark").make(Tools(client, LOG, lambda: NOW))
            await alerter.deliver(Delivery(notification, made.rule.alerts[0].options, "k"))

    asyncio.run(run())
    text = webhook.payloads[0]["content"]["text"]
    assert "Event: https://divertor.example/events/e1\n" in text
    assert "Runbook: https://wiki.example/eve\n" in text


#: What sends the match itself, or so few characters that nothing else has room.
WITHOUT_LINKS = {"exotel", "indexer", "post", "post2", "tencent_sms", "twilio"}


@pytest.mark.parametrize("name", sorted(LEAST.keys() - WITHOUT_LINKS))
def test_every_message_leads_to_the_event(match: Matches, webhook: Any, name: str) -> None:
    made = found(match, name)
    notification = replace(Notification.of(made), base="https://divertor.example")

    async def run() -> None:
        async with WebClient(transport=Rerouted(webhook.url)) as client:
            alerter = import_module(f"divertor.alerts.{name}").make(Tools(client, LOG, lambda: NOW))
            (options, *_) = alerter.targets(made.rule.alerts[0].options)
            with contextlib.suppress(DeliveryError):  # the answer is not what that service would say
                await alerter.deliver(Delivery(notification, options, "k"))

    asyncio.run(run())
    assert "/events/e1" in readable(b"".join(webhook.contents))


def readable(content: bytes) -> str:
    """What was sent, without the quoting of forms; of a mail its text."""
    form = parse_qs(content.decode())
    if "RawMessage.Data" in form:
        mail = message_from_bytes(b64decode(form["RawMessage.Data"][0]))
        return b"".join(part.get_payload(decode=True) or b"" for part in mail.walk()).decode()  # type: ignore[misc]
    return unquote_plus(content.decode())


def test_a_reference_is_the_rules_option(match: Matches, webhook: Any) -> None:
    there: dict[str, Any] = {
        "gitter_webhook_url": "$description$",
        "description": "https://g.example/from-there",
    }
    deliver(found(match, "gitter", **there), webhook)
    assert webhook.requests[0][0] == "/from-there"


def test_a_proxy_is_used_and_its_password_kept(match: Matches, webhook: Any) -> None:
    proxy = webhook.url.replace("http://", "")
    made = found(
        match,
        "gitter",
        gitter_webhook_url="http://g.example/x",
        gitter_proxy=proxy,
        gitter_proxy_login="me",
        gitter_proxy_pass=SECRET,
    )
    deliver(made, webhook)
    ((path, headers, _payload),) = webhook.requests
    assert path == "http://g.example/x" and headers["proxy-authorization"].startswith("Basic ")


def test_certificates_that_cannot_be_read_are_told(match: Matches, webhook: Any, tmp_path: Path) -> None:
    made = found(match, "gitter", gitter_ca_certs=str(tmp_path / "gone.pem"))
    with pytest.raises(DeliveryError, match="certificates cannot be read"):
        deliver(made, webhook)


def test_retry_after_may_be_a_date_or_in_the_json(match: Matches, webhook: Any) -> None:
    webhook.answers = [429]
    webhook.says[""] = {"parameters": {"retry_after": 5}}
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, "telegram"), webhook)
    assert caught.value.after == 5.0
    webhook.headers = {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, "telegram"), webhook)
    assert caught.value.after == 3600.0


def test_line_takes_a_repetition_once(match: Matches, webhook: Any) -> None:
    webhook.answers = [200, 409]
    made = found(match, "line")
    deliver(made, webhook)
    deliver(made, webhook)
    keys = {headers["x-line-retry-key"] for _path, headers, _payload in webhook.requests}
    assert len(webhook.requests) == 2 and len(keys) == 1
