"""Attachments as Slack has them, and whoever speaks its format: Mattermost and Rocket.Chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.text import Escape
from divertor.alerts.wording import discover_address, escaped_within, first_value
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
        link = discover_address(notification, product)
        if options[f"{prefix}_attach_{product}_discover_url"] and link:
            out.append(
                {
                    "color": options[f"{prefix}_{product}_discover_color"],
                    "title": options[f"{prefix}_{product}_discover_title"],
                    "title_link": link,
                }
            )
    return out


def given(options: Mapping[str, Any], prefix: str, *names: str) -> dict[str, Any]:
    """`name: value` for each option `<prefix>_<name>` that is not empty."""
    return {name: options[f"{prefix}_{name}"] for name in names if options[f"{prefix}_{name}"]}
