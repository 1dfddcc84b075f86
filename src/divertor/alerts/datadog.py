"""`alert: datadog`: an event; those of one alarm are aggregated."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, incident, text, title


def _nobody(value: str) -> str:
    """Without mentions: `@all` would send the event to everybody."""
    return value.replace("@", "@\u200b")


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    return Request(
        options["datadog_api_url"],
        {
            "title": title(notification, _nobody, 100),
            "text": text(notification, _nobody, 4000),
            "alert_type": colour(notification, "error", "success"),
            "aggregation_key": incident(notification)[:100],
        },
        headers={"dd-api-key": options["datadog_api_key"], "dd-application-key": options["datadog_app_key"]},
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "datadog", request, spread=("datadog_api_url",))
