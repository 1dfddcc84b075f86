"""`slack` and `post` against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from divertor.alerts import DeliveryError, new_client
from divertor.alerts.contract import Delivery, redacted
from divertor.alerts.post import Post
from divertor.alerts.slack import Slack, message
from divertor.rules import Match, Notification

Matches = Callable[..., Match]


def deliver(kind: type[Slack] | type[Post], match: Match) -> None:
    """Everything the match's first alert asks for, once."""

    async def run() -> None:
        async with new_client() as client:
            alerter = kind(client)
            for options in alerter.targets(match.rule.alerts[0].options):
                await alerter.deliver(Delivery(Notification.of(match), options))

    asyncio.run(run())


def slack_message(match: Match) -> dict[str, Any]:
    (options, *_) = Slack(None).targets(match.rule.alerts[0].options)  # type: ignore[arg-type]
    return message(Notification.of(match), options)


def test_slack_gets_the_message_field_for_field(match: Matches, webhook: Any) -> None:
    deliver(
        Slack,
        match(
            {"ip": "203.0.113.9"},
            alert="slack",
            slack_webhook_url=f"{webhook.url}/services/secret",
            alert_subject="Attack",
            alert_text="from {}",
            alert_text_args=["ip"],
            alert_text_type="alert_text_only",
        ),
    )
    ((path, headers, payload),) = webhook.requests
    assert path == "/services/secret" and headers["content-type"] == "application/json"
    assert payload == {
        "username": "elastalert",
        "channel": "",
        "parse": "none",
        "text": "",
        "icon_emoji": ":ghost:",
        "attachments": [
            {
                "color": "danger",
                "title": "Attack",
                "text": "from 203.0.113.9\n\n",
                "mrkdwn_in": ["text", "pretext"],
                "fields": [],
            }
        ],
    }


def test_slack_options_change_their_part_of_the_message(match: Matches) -> None:
    made = slack_message(
        match(
            {"user": "<u>"},
            alert="slack",
            slack_webhook_url="http://h/",
            slack_username_override="bot",
            slack_icon_url_override="http://icon",
            slack_msg_color="#00ff00",
            slack_title="T",
            slack_title_link="http://t",
            slack_text_string="see",
            slack_footer="F",
            slack_msg_pretext="P",
            slack_alert_fields=[{"title": "User", "value": "user", "short": True}],
        )
    )
    (attachment,) = made["attachments"]
    assert (made["username"], made["icon_url"], made["text"]) == ("bot", "http://icon", "see")
    assert "icon_emoji" not in made
    assert attachment["fields"] == [{"title": "User", "value": "&lt;u&gt;", "short": True}]
    assert {key: attachment[key] for key in ("color", "title", "title_link", "footer", "pretext")} == {
        "color": "#00ff00",
        "title": "T",
        "title_link": "http://t",
        "footer": "F",
        "pretext": "P",
    }


def test_a_payload_cannot_mention_a_channel(match: Matches) -> None:
    made = slack_message(
        match(
            {"ua": "<!channel> & <http://evil|click>"},
            alert="slack",
            slack_webhook_url="http://h/",
            alert_text="<!here> {}",
            alert_text_args="ua",
            alert_text_type="alert_text_only",
        )
    )
    text = made["attachments"][0]["text"]
    assert text == "<!here> &lt;!channel&gt; &amp; &lt;http://evil|click&gt;\n\n"


def test_slack_posts_to_every_webhook_and_channel(match: Matches, webhook: Any) -> None:
    urls = [f"{webhook.url}/1", f"{webhook.url}/2"]
    deliver(Slack, match(alert="slack", slack_webhook_url=urls, slack_channel_override=["#a", "#b"]))
    seen = [(path, payload["channel"]) for path, _headers, payload in webhook.requests]
    assert seen == [("/1", "#a"), ("/1", "#b"), ("/2", "#a"), ("/2", "#b")]


def test_post_sends_the_whole_match_by_default(match: Matches, webhook: Any) -> None:
    found = match({"a": {"b": 1}}, alert="post", http_post_url=webhook.url)
    deliver(Post, found)
    assert webhook.payloads == [found.document]


def test_post_sends_chosen_fields_with_headers(match: Matches, webhook: Any) -> None:
    deliver(
        Post,
        match(
            {"a": {"b": 1}},
            alert="post",
            http_post_url=webhook.url,
            http_post_payload={"bee": "a.b", "gone": "x"},
            http_post_static_payload={"team": "red"},
            http_post_headers={"x-key": "k"},
        ),
    )
    ((_path, headers, payload),) = webhook.requests
    assert payload == {"bee": 1, "gone": None, "team": "red"}
    assert headers["x-key"] == "k"


@pytest.mark.parametrize(
    ("status", "again"), [(500, True), (503, True), (429, True), (404, False), (302, False)]
)
def test_an_answer_says_whether_to_try_again(match: Matches, webhook: Any, status: int, again: bool) -> None:
    webhook.answers = [status]
    with pytest.raises(DeliveryError) as caught:
        deliver(Post, match(alert="post", http_post_url=f"{webhook.url}/secret?token=t"))
    assert caught.value.again is again
    assert str(caught.value) == f"{webhook.url}/… answered {status}"
    assert len(webhook.requests) == 1


def test_an_unreachable_webhook_is_told_without_its_address(match: Matches, webhook: Any) -> None:
    webhook.server.server_close()
    with pytest.raises(DeliveryError) as caught:
        deliver(Slack, match(alert="slack", slack_webhook_url=f"{webhook.url}/services/secret"))
    assert caught.value.again and "secret" not in str(caught.value)


def test_a_redacted_address_keeps_scheme_and_host_only() -> None:
    assert redacted("https://user:pw@hooks.example:8443/a/b?c#d") == "https://hooks.example:8443/…"
    assert redacted("http://[bad") == "…"
