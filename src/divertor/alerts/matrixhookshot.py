"""`alert: matrixhookshot`: a generic webhook of Matrix Hookshot, which reads `text` as markdown."""

from __future__ import annotations

from divertor.alerts.attachments import given
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import markdown, text


def request(delivery: Delivery) -> Request:
    own = given(delivery.options, "matrixhookshot", "username", "html", "text")
    payload = {"text": text(delivery.notification, markdown, 30_000, width=75, fence="```"), **own}
    return Request(delivery.options["matrixhookshot_webhook_url"], payload)


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "matrixhookshot", request, spread=("matrixhookshot_webhook_url",))
