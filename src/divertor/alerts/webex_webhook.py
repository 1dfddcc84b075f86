"""`alert: webex_webhook`: an incoming webhook of Webex."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.text import as_is
from divertor.alerts.wording import markdown, text_in_bytes

_ADDRESS = "https://webexapis.com/v1/webhooks/incoming/"


def request(delivery: Delivery) -> Request:
    kind = delivery.options["webex_webhook_msgtype"]
    escape = markdown if kind == "markdown" else as_is
    said = text_in_bytes(delivery.notification, 7000, escape)
    return Request(_ADDRESS + delivery.options["webex_webhook_id"], {kind: said})


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "webex_webhook", request)
