"""`alert: alerta`: an event of Alerta, which correlates by environment, resource and event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, Receipt
from divertor.alerts.filling import filled, plain_text
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.alerts.wording import colour, text, title
from divertor.rules.document import lookup

_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"


def event(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The event; texts may hold fields of the first match."""
    notification, options = delivery.notification, delivery.options
    match = notification.first

    def made(name: str) -> str:
        return filled(options[f"alerta_{name}"], match)

    def each(name: str) -> list[str]:
        return [filled(one, match) for one in options[f"alerta_{name}"]]

    time = match.time if options["alerta_use_match_timestamp"] else now
    return {
        "resource": _resource(delivery),
        "severity": colour(notification, made("severity"), "normal"),
        "timeout": options["alerta_timeout"],
        "createTime": time.astimezone(UTC).strftime(_FORM)[:-4] + "Z",
        "type": options["alerta_type"],
        "environment": made("environment"),
        "origin": made("origin"),
        "group": made("group"),
        "event": made("event") or title(notification),
        "text": made("text") or text(notification, limit=4000),
        "value": made("value"),
        "service": each("service"),
        "tags": each("tags"),
        "correlate": each("correlate"),
        "attributes": dict(zip(options["alerta_attributes_keys"], each("attributes_values"), strict=False)),
        "rawData": text(notification),
    }


def _resource(delivery: Delivery) -> str:
    match, keys = delivery.notification.first, delivery.notification.rule.query_key
    found = lookup(match.document, ",".join(keys)) if keys else None
    if delivery.options["alerta_use_qk_as_resource"] and found:
        return plain_text(found)
    return filled(delivery.options["alerta_resource"], match)


class Alerta:
    """Posts to the API."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Any) -> list[Any]:
        return spread(options, "alerta_api_url")

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: the service did not take it."""
        options, key = delivery.options, delivery.options["alerta_api_key"]
        headers = {"authorization": f"Key {key}"} if key else None
        # `alerta_timeout` is the life of the event, so how long to wait for an answer has no option.
        way = Transport.of({**options, "alerta_timeout": 10.0}, "alerta")
        if options["alerta_api_skip_ssl"]:
            way = Transport.of(
                {**options, "alerta_timeout": 10.0, "alerta_ignore_ssl_errors": True}, "alerta"
            )
        request = Request(options["alerta_api_url"], event(delivery, self._wall()), headers=headers)
        await send(self._client, request, way)
        return None


def make(tools: Tools) -> Alerter:
    return Alerta(tools.client, tools.wall)
