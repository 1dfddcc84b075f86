"""`alert: googlechat`: a webhook of a space. The messages of an alarm are one thread, unless
`googlechat_thread: false`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import incident, text_in_bytes
from divertor.rules.notification import Notification

_MAX = 28_000


def _plain(value: str) -> str:
    """Without markup: `<users/all>` would call everybody."""
    return value.replace("<", "\u2039")


def message(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """A text, or a card with an optional header and footer."""
    if options["googlechat_format"] != "card":
        return {"text": text_in_bytes(notification, _MAX, _plain)}
    said = text_in_bytes(notification, _MAX, html.escape)
    card: dict[str, Any] = {"sections": [{"widgets": [{"textParagraph": {"text": said}}]}]}
    if options["googlechat_header_title"]:
        card["header"] = {
            "title": options["googlechat_header_title"],
            "subtitle": options["googlechat_header_subtitle"] or None,
            "imageUrl": options["googlechat_header_image"] or None,
        }
    if options["googlechat_footer_kibanalink"]:
        link = {"openLink": {"url": options["googlechat_footer_kibanalink"]}}
        button = {"textButton": {"text": "VISIT KIBANA", "onClick": link}}
        card["sections"].append({"widgets": [{"buttons": [button]}]})
    return {"cards": [card]}


def request(delivery: Delivery) -> Request:
    url, options = delivery.options["googlechat_webhook_url"], delivery.options
    payload = message(delivery.notification, options)
    if options["googlechat_thread"]:
        payload["thread"] = {"threadKey": incident(delivery.notification)}
        url += f"{'&' if '?' in url else '?'}messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
    return Request(url, payload)


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "googlechat", request, spread=("googlechat_webhook_url",))
