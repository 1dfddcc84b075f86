"""`alert: flashduty`: a standard event; its key keeps an alarm's messages together."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, incident, text

_ADDRESS = "https://api.flashcat.cloud/event/push/alert/standard?integration_key="
_LABELS = ("check", "service", "cluster", "resource", "metric", "group", "env", "app")


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    labels = {name: options[f"flashduty_{name}"] or None for name in _LABELS}
    return Request(
        _ADDRESS + options["flashduty_integration_key"],
        {
            "title": options["flashduty_title"],
            "description": options["flashduty_description"] or None,
            "event_status": colour(notification, options["flashduty_event_status"], "Ok"),
            "alert_key": options["flashduty_alert_key"] or incident(notification),
            "labels": {**labels, "information": text(notification, limit=2048)},
        },
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "flashduty", request)
