"""`alert: slack`: incoming webhooks of Slack or of anything that speaks its format; or a bot, which can write
into threads: a webhook is not told what its message is called, so it cannot.

The message is ElastAlert's, field for field, with one difference: `&`, `<` and `>` in values of the match are
escaped, so that a user agent cannot mention a channel or forge a link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from divertor.alerts.attachments import discover_links, fields, given
from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Receipt
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Answer, Request, Transport, WebClient, send
from divertor.alerts.text import subject
from divertor.alerts.tickets import ticket
from divertor.alerts.wording import colour, resolved, text
from divertor.rules.notification import Notification

#: Keys of the attachment that are left out when their option is not given.
_OPTIONAL = (
    "title title_link footer footer_icon image_url thumb_url author_name author_link author_icon".split()
)

#: Errors of the bot's API after which another attempt may succeed.
_BUSY = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"})

#: Slack cuts a message's text at 40,000 characters.
_MAX = 38_000


def escape(value: str) -> str:
    """Slack's three control characters, as its message format wants them."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(notification: Notification, options: Mapping[str, Any], link: str = "") -> dict[str, Any]:
    """The JSON that is posted; `link` is where the alarm's ticket is."""
    heading = subject(notification, escape)
    attachment: dict[str, Any] = {
        "color": colour(notification, options["slack_msg_color"], "good"),
        "title": f"Resolved: {heading}" if resolved(notification) else heading,
        "text": text(notification, escape, _MAX, width=75, fence="```", discover=False),
        "mrkdwn_in": ["text", "pretext"],
        "fields": fields(notification, options["slack_alert_fields"], escape),
        **given(options, "slack", *_OPTIONAL),
    }
    if options["slack_msg_pretext"]:
        attachment["pretext"] = options["slack_msg_pretext"]
    return {
        "username": options["slack_username_override"],
        "channel": options["slack_channel_override"],
        "parse": options["slack_parse_override"],
        "text": options["slack_text_string"],
        **_icon(options),
        "attachments": [
            attachment,
            *discover_links(notification, options, "slack"),
            *_ticket(options, link),
        ],
    }


def _icon(options: Mapping[str, Any]) -> dict[str, str]:
    if options["slack_icon_url_override"]:
        return {"icon_url": options["slack_icon_url_override"]}
    return {"icon_emoji": options["slack_emoji_override"]}


def _ticket(options: Mapping[str, Any], link: str) -> list[dict[str, Any]]:
    if not link:
        return []
    return [
        {
            "color": options["slack_jira_ticket_color"],
            "title": options["slack_jira_ticket_title"],
            "title_link": link,
        }
    ]


class Slack:
    """Posts to each webhook and channel by itself, so that one that is down does not repeat the others."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        where = "slack_api_url" if options["slack_bot_token"] else "slack_webhook_url"
        return spread(options, where, "slack_channel_override")

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """The receipt of a bot's first message is where its thread is.

        :raises DeliveryError: Slack did not take it.
        """
        options = delivery.options
        link = ticket(delivery) if options["slack_attach_jira_ticket_url"] else ""
        said = message(delivery.notification, options, link)
        way = Transport.of(options, "slack")
        if not options["slack_bot_token"]:
            await send(self._client, Request(options["slack_webhook_url"], said), way)
            return None
        thread = (delivery.receipt or {}).get("ts")
        if thread:
            said["thread_ts"] = thread
        headers = {"authorization": f"Bearer {options['slack_bot_token']}"}
        url = options["slack_api_url"].rstrip("/") + "/chat.postMessage"
        answer = await send(self._client, Request(url, said, headers=headers), way)
        return _receipt(delivery, answer)


def _receipt(delivery: Delivery, answer: Answer) -> Receipt:
    if answer.get("ok") is not True:
        error = str(answer.get("error"))
        shown = error if re.fullmatch(r"[a-z_]{1,40}", error) else "no reason given"
        raise DeliveryError(f"refused by Slack ({shown})", again=error in _BUSY)
    return delivery.receipt or {"channel": answer.get("channel"), "ts": answer.get("ts")}


def make(tools: Tools) -> Alerter:
    return Slack(tools.client)
