"""`alert: mattermost`: an incoming webhook. Webhooks cannot write into a thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.attachments import discover_links, given
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import formatted
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.text import value_text
from divertor.alerts.wording import colour, markdown, text, title
from divertor.rules.notification import Notification

_OPTIONAL = (
    "title title_link footer footer_icon image_url thumb_url author_name author_link author_icon".split()
)


def message(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that is posted."""
    heading, pretext = title(notification, markdown), options["mattermost_msg_pretext"]
    attachment: dict[str, Any] = {
        "fallback": f"{heading}: {pretext}",
        "color": colour(notification, options["mattermost_msg_color"], "good"),
        "title": heading,
        "pretext": pretext,
        "fields": [_field(notification, entry) for entry in options["mattermost_msg_fields"]],
        **given(options, "mattermost", *_OPTIONAL),
    }
    payload: dict[str, Any] = {
        "username": options["mattermost_username_override"],
        "channel": options["mattermost_channel_override"],
        "attachments": [attachment, *discover_links(notification, options, "mattermost")],
    }
    alone = notification.rule.words.kind == "alert_text_only"
    (attachment if alone else payload)["text"] = text(
        notification, markdown, 16_000, width=75, fence="```", discover=False
    )
    icon = options["mattermost_icon_url_override"]
    return payload | ({"icon_url": icon} if icon else {"icon_emoji": options["mattermost_emoji_override"]})


def _field(notification: Notification, entry: Mapping[str, Any]) -> dict[str, Any]:
    """`args` fill the holes of `value`, or are its lines."""
    made = {name: value for name, value in entry.items() if name != "args"}
    if "args" not in entry:
        return made
    match, args = notification.first, [str(arg) for arg in entry["args"]]
    if "value" in entry:
        return {**made, "value": formatted(str(entry["value"]), args, match, markdown)}
    return {**made, "value": "\n".join(markdown(value_text(match, arg)) for arg in args)}


def request(delivery: Delivery) -> Request:
    return Request(
        delivery.options["mattermost_webhook_url"], message(delivery.notification, delivery.options)
    )


def make(tools: Tools) -> Alerter:
    spread = ("mattermost_webhook_url", "mattermost_channel_override")
    return Hook(tools.client, "mattermost", request, spread=spread)
