"""`alert: slack`: an incoming webhook of Slack or of anything that speaks its format (Mattermost,
Rocket.Chat).

The message is ElastAlert's, field for field, with one difference: `&`, `<` and `>` in values of the match are
escaped, so that a user agent cannot mention a channel or forge a link.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from divertor.alerts.contract import Delivery
from divertor.alerts.http import post_json
from divertor.alerts.text import body, subject, value_text
from divertor.rules.notification import Notification
from divertor.rules.rule import Match

#: Option → key of the attachment; left out of the message when the option is not given.
_ATTACHMENT = {
    "slack_title": "title",
    "slack_title_link": "title_link",
    "slack_footer": "footer",
    "slack_footer_icon": "footer_icon",
    "slack_image_url": "image_url",
    "slack_thumb_url": "thumb_url",
    "slack_author_name": "author_name",
    "slack_author_link": "author_link",
    "slack_author_icon": "author_icon",
    "slack_msg_pretext": "pretext",
}


def escape(text: str) -> str:
    """Slack's three control characters, as its message format wants them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that is posted."""
    attachment: dict[str, Any] = {
        "color": options["slack_msg_color"],
        "title": subject(notification, escape),
        "text": body(notification, escape),
        "mrkdwn_in": ["text", "pretext"],
        "fields": [_field(notification.first, entry) for entry in options["slack_alert_fields"]],
    }
    attachment.update({key: options[name] for name, key in _ATTACHMENT.items() if options[name]})
    return {
        "username": options["slack_username_override"],
        "channel": options["slack_channel_override"],
        "parse": options["slack_parse_override"],
        "text": options["slack_text_string"],
        **_icon(options),
        "attachments": [attachment],
    }


def _icon(options: Mapping[str, Any]) -> dict[str, str]:
    if options["slack_icon_url_override"]:
        return {"icon_url": options["slack_icon_url_override"]}
    return {"icon_emoji": options["slack_emoji_override"]}


def _field(match: Match, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": entry["title"],
        "value": escape(value_text(match, entry["value"])),
        "short": entry["short"],
    }


class Slack:
    """Posts to each webhook and channel by itself, so that one that is down does not repeat the others."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [
            {**options, "slack_webhook_url": url, "slack_channel_override": channel}
            for url in options["slack_webhook_url"]
            for channel in options["slack_channel_override"]
        ]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the webhook did not take it."""
        options = delivery.options
        await post_json(
            self._client,
            options["slack_webhook_url"],
            message(delivery.notification, options),
            timeout=options["slack_timeout"],
        )
