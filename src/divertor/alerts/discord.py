"""`alert: discord`: a webhook, with an embed. Mentions are switched off: a payload could call everybody."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, markdown, text, title

_GREEN = 0x2EB67D


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    emoji = options["discord_emoji_title"]
    embed: dict[str, Any] = {
        "description": text(notification, markdown, 4096),
        "color": colour(notification, options["discord_embed_color"], _GREEN),
    }
    if options["discord_embed_footer"]:
        embed["footer"] = {
            "text": options["discord_embed_footer"],
            "icon_url": options["discord_embed_icon_url"] or None,
        }
    content = f"{emoji} {title(notification, markdown, 1800)} {emoji}"
    return Request(
        _address(options["discord_webhook_url"], options["discord_thread_id"]),
        {"content": content, "embeds": [embed], "allowed_mentions": {"parse": []}},
    )


def _address(url: str, thread: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}thread_id={quote(thread, safe='')}" if thread else url


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "discord", request, spread=("discord_webhook_url",))
