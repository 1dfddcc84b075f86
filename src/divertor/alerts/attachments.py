"""Attachments as Slack has them, and whoever speaks its format: Mattermost and Rocket.Chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from divertor.alerts.text import Escape
from divertor.alerts.wording import escaped_within, first_value
from divertor.rules.notification import Notification


def fields(notification: Notification, wanted: tuple[Mapping[str, Any], ...], escape: Escape) -> list[Any]:
    """Entries as they are written, `value` replaced by the field of the first match that it names."""
    return [
        {**entry, "value": escaped_within(first_value(notification, str(entry["value"])), escape)}
        for entry in wanted
    ]


def discover_links(
    notification: Notification, options: Mapping[str, Any], prefix: str
) -> list[dict[str, Any]]:
    """An attachment for each link to Discover that the match has and the rule wants."""
    out = []
    for product in ("kibana", "opensearch"):
        link = web_address(first_value(notification, f"{product}_discover_url"))
        if options[f"{prefix}_attach_{product}_discover_url"] and link:
            out.append(
                {
                    "color": options[f"{prefix}_{product}_discover_color"],
                    "title": options[f"{prefix}_{product}_discover_title"],
                    "title_link": link,
                }
            )
    return out


def web_address(value: Any) -> str:
    """The value, if it is an http(s) address: a match must not bring links of another kind."""
    if not isinstance(value, str) or len(value) > 8192:
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme in ("http", "https") and parts.hostname else ""


def given(options: Mapping[str, Any], prefix: str, *names: str) -> dict[str, Any]:
    """`name: value` for each option `<prefix>_<name>` that is not empty."""
    return {name: options[f"{prefix}_{name}"] for name in names if options[f"{prefix}_{name}"]}
