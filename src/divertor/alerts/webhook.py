"""`alert: webhook`: all that is known of a match, as JSON, signed, for programs of one's own.

The receiver can trust it (`X-Divertor-Signature`, HMAC-SHA256 of time and body by a secret both know), can
tell a repetition (`Idempotency-Key`), and is told when the alarm is over.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx

from divertor.alerts.contract import Delivery
from divertor.alerts.http import Request, Transport, send, to_json
from divertor.alerts.text import body, subject
from divertor.alerts.wording import message_links
from divertor.model.events import format_time
from divertor.rules.notification import Notification
from divertor.rules.reading.actions import WebhookOptions
from divertor.rules.rule import Match


def payload(notification: Notification) -> dict[str, Any]:
    """`matches` has every match; the rest is about the first."""
    return {
        "id": notification.id,
        "rule": notification.rule.name,
        "alarm": notification.alarm,
        "status": str(notification.status),
        "subject": subject(notification),
        "text": body(notification),
        "links": {link.title: link.url for link in message_links(notification)},
        "matches": [_match(match) for match in notification.matches],
    }


def _match(match: Match) -> dict[str, Any]:
    return {
        "id": match.id,
        "time": format_time(match.time),
        "key": match.key,
        "event": match.event_id or None,
        "num_hits": match.num_hits,
        "num_matches": match.num_matches,
        "document": match.document,
    }


def signature(secret: str, time: str, content: bytes) -> str:
    """`t=<time>,v1=<hex>`: HMAC-SHA256 of the time, a dot and the body; the time lets receivers refuse what
    was recorded and sent again.
    """
    digest = hmac.new(secret.encode(), f"{time}.".encode() + content, hashlib.sha256)
    return f"t={time},v1={digest.hexdigest()}"


class Webhook:
    """Posts; `wall` is the time that is signed."""

    def __init__(self, client: httpx.AsyncClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the endpoint did not take it."""
        options: WebhookOptions = delivery.options["webhook"]
        content = to_json(payload(delivery.notification))  # once: what is signed is what is sent
        headers = {"content-type": "application/json", **_lower(options.headers)}
        headers["idempotency-key"] = delivery.key
        if options.secret:
            time = str(int(self._wall().timestamp()))
            headers["x-divertor-signature"] = signature(options.secret, time, content)
        request = Request(options.url, headers=headers, content=content)
        await send(self._client, request, Transport(timeout=options.timeout))


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Names of headers are the same in any case: one of each is sent."""
    return {name.lower(): value for name, value in headers.items()}
