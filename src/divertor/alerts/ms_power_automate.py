"""`alert: ms_power_automate`: an adaptive card for a workflow of Power Automate, usually into Teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import plain_text
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import discover_address, first_value, markdown, text, title, web_address
from divertor.rules.notification import Notification

_PREFIX = "ms_power_automate"


def card(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The adaptive card."""
    said = {
        "type": "TextBlock",
        "text": text(notification, markdown, 20_000, discover=False),
        "spacing": "Large",
        "wrap": True,
    }
    if options["ms_power_automate_body_text_size"]:
        said["size"] = options["ms_power_automate_body_text_size"]
    summary = {
        "type": "TextBlock",
        "text": options["ms_power_automate_alert_summary"] or title(notification, markdown),
        "weight": "Bolder",
        "wrap": True,
        "size": options["ms_power_automate_summary_text_size"],
    }
    made: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [summary, said, *_facts(notification, options)],
        "actions": _actions(notification, options),
    }
    return made | (
        {"msteams": {"width": "Full"}} if options["ms_power_automate_teams_card_width_full"] else {}
    )


def _facts(notification: Notification, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    facts = [
        {"title": fact["name"], "value": fact_value(notification, str(fact["value"]))}
        for fact in options["ms_power_automate_alert_facts"]
    ]
    return [{"type": "FactSet", "facts": facts}] if facts else []


def fact_value(notification: Notification, written: str) -> str:
    """The field that is named, else the text as it is written."""
    found = first_value(notification, written)
    return written if found is None else markdown(plain_text(found))


def _actions(notification: Notification, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    out = []
    for product in ("kibana", "opensearch"):
        link = discover_address(notification, product)
        if options[f"{_PREFIX}_{product}_discover_attach_url"] and link:
            out.append(
                {
                    "type": "Action.OpenUrl",
                    "title": options[f"{_PREFIX}_{product}_discover_title"],
                    "url": link,
                    "style": options[f"{_PREFIX}_{product}_discover_color"],
                }
            )
    return out


def request(delivery: Delivery) -> Request:
    options = delivery.options
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": card(delivery.notification, options),
    }
    return Request(_address(delivery), {"type": "message", "attachments": [attachment]})


def _address(delivery: Delivery) -> str:
    """The workflow's address, or one that an enhancement put into the match."""
    field = delivery.options["ms_power_automate_webhook_url_from_field"]
    found = web_address(first_value(delivery.notification, field)) if field else ""
    url: str = found or delivery.options["ms_power_automate_webhook_url"]
    return url


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, _PREFIX, request, spread=("ms_power_automate_webhook_url",))
