"""`alert: pagertree`: an incident, known by the alarm's id."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, incident, text, title


def request(delivery: Delivery) -> Request:
    notification = delivery.notification
    return Request(
        delivery.options["pagertree_integration_url"],
        {
            "event_type": colour(notification, "create", "resolve"),
            "Id": incident(notification),
            "Title": title(notification),
            "Description": text(notification),
        },
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "pagertree", request, spread=("pagertree_integration_url",))
