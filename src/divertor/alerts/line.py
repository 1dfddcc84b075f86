"""`alert: line`: pushes by the LINE Messaging API, which takes a repeated message once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Tools, uuid_of
from divertor.alerts.http import Request, Transport, WebClient, exchange, refused
from divertor.alerts.wording import text

_ADDRESS = "https://api.line.me/v2/bot/message/push"

#: The message of this key was accepted before.
_KNOWN = 409


def request(delivery: Delivery) -> Request:
    options = delivery.options
    return Request(
        _ADDRESS,
        {
            "to": options["line_to"],
            "messages": [{"type": "text", "text": text(delivery.notification, limit=5000)}],
        },
        headers={
            "authorization": f"Bearer {options['line_channel_access_token']}",
            "x-line-retry-key": uuid_of(delivery.key),
        },
    )


class Line:
    """Pushes; a message that was accepted before has arrived."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the service did not take it."""
        made = request(delivery)
        answer = await exchange(self._client, made, Transport.of(delivery.options, "line"))
        if not 200 <= answer.status < 300 and answer.status != _KNOWN:
            raise refused(made.url, answer.status)


def make(tools: Tools) -> Alerter:
    return Line(tools.client)
