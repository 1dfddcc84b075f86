"""`alert: gitter`: the activity feed of a room."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import colour, markdown, text


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    level = colour(notification, options["gitter_msg_level"], "info")
    return Request(
        options["gitter_webhook_url"], {"message": text(notification, markdown, 4096), "level": level}
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "gitter", request, spread=("gitter_webhook_url",))
