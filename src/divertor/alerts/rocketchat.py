"""`alert: rocketchat`: an incoming webhook. Webhooks cannot write into a thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.attachments import discover_links, fields
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, markdown, text, title
from divertor.rules.notification import Notification


def message(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that is posted."""
    attachment = {
        "color": colour(notification, options["rocket_chat_msg_color"], "good"),
        "title": title(notification, markdown),
        "text": text(notification, markdown, 16_000, width=75, fence="```", discover=False),
        "fields": fields(notification, options["rocket_chat_alert_fields"], markdown),
    }
    emoji = options["rocket_chat_emoji_override"]
    return {
        "username": options["rocket_chat_username_override"],
        "channel": options["rocket_chat_channel_override"],
        "text": options["rocket_chat_text_string"],
        **({"emoji": emoji} if emoji else {}),
        "attachments": [attachment, *discover_links(notification, options, "rocket_chat")],
    }


def request(delivery: Delivery) -> Request:
    return Request(
        delivery.options["rocket_chat_webhook_url"], message(delivery.notification, delivery.options)
    )


def make(tools: Tools) -> Alerter:
    spread = ("rocket_chat_webhook_url", "rocket_chat_channel_override")
    return Hook(tools.client, "rocket_chat", request, spread=spread)
