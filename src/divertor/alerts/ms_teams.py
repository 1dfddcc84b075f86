"""`alert: ms_teams`: a message card for one of Teams' old connectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.filling import plain_text
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, discover_address, first_value, markdown, text, title
from divertor.rules.notification import Notification


def message(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    """The card."""
    heading = title(notification, markdown)
    section: dict[str, Any] = {"text": _text(notification, options)}
    if options["ms_teams_alert_facts"]:
        section["facts"] = [_fact(notification, fact) for fact in options["ms_teams_alert_facts"]]
    theme = colour(notification, options["ms_teams_theme_color"], "2EB67D")
    actions = _actions(notification, options)
    return {
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "summary": options["ms_teams_alert_summary"] or heading,
        "title": heading,
        "sections": [section],
        **({"themeColor": theme} if theme else {}),
        **({"potentialAction": actions} if actions else {}),
    }


def _text(notification: Notification, options: Mapping[str, Any]) -> str:
    if not options["ms_teams_alert_fixed_width"]:
        return text(notification, markdown, 20_000, discover=False)
    lines = text(notification, limit=15_000, discover=False).replace("`", "'").rstrip("\n").split("\n")
    return "\n\n".join(f"```{line}```" for line in lines if line)


def _fact(notification: Notification, fact: Mapping[str, Any]) -> dict[str, Any]:
    found = first_value(notification, str(fact["value"]))
    return {**fact, "value": fact["value"] if found is None else markdown(plain_text(found))}


def _actions(notification: Notification, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    out = []
    for product in ("kibana", "opensearch"):
        link = discover_address(notification, product)
        if options[f"ms_teams_attach_{product}_discover_url"] and link:
            name = options[f"ms_teams_{product}_discover_title"]
            targets = [{"os": "default", "uri": link}]
            out.append({"@type": "OpenUri", "name": name, "targets": targets})
    return out


def request(delivery: Delivery) -> Request:
    return Request(delivery.options["ms_teams_webhook_url"], message(delivery.notification, delivery.options))


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "ms_teams", request, spread=("ms_teams_webhook_url",))
