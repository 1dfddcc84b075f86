"""`alert: sqs`: a message of an Amazon SQS queue: JSON with the rule's name, the matches and the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from divertor.alerts import aws
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Tools, spread
from divertor.alerts.http import Request, Transport, WebClient, send, to_json
from divertor.alerts.wording import incident, text, title

#: SQS takes 256 KiB (1 MiB in newer regions).
_MAX = 250_000


def body(delivery: Delivery) -> str:
    """The message; without its matches, or its text, when it would be too long with them."""
    notification = delivery.notification
    made: dict[str, Any] = {
        "rule_name": notification.rule.name,
        "status": str(notification.status),
        "alarm": incident(notification),
        "matches": [match.document for match in notification.matches],
        "text": text(notification),
    }
    for name, instead in (("text", title(notification)), ("matches", [])):
        content = to_json(made)
        if len(content) <= _MAX:
            return content.decode()
        made[name] = instead
    return to_json(made).decode()


class Sqs:
    """Sends; a FIFO queue takes a repetition once."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, "sqs_queue_url")

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the service did not take it."""
        options, url = delivery.options, delivery.options["sqs_queue_url"]
        made = {"QueueUrl": url, "MessageBody": body(delivery)}
        if url.endswith(".fifo"):
            group = incident(delivery.notification)[:128]
            made |= {"MessageGroupId": group, "MessageDeduplicationId": delivery.key[:128]}
        headers = {"x-amz-target": "AmazonSQS.SendMessage", "content-type": "application/x-amz-json-1.0"}
        region = options["sqs_aws_region"] or _region_of(url) or aws.region(options, "sqs")
        signer = aws.Signer(aws.credentials(options, "sqs"), region, "sqs", self._wall)
        parts = urlsplit(url)
        request = Request(f"{parts.scheme}://{parts.netloc}/", content=to_json(made), headers=headers)
        await send(self._client, signer.signed(request), Transport.of(options, "sqs"))


def _region_of(url: str) -> str:
    found = re.fullmatch(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?", urlsplit(url).hostname or "")
    return found[1] if found else ""


def make(tools: Tools) -> Alerter:
    return Sqs(tools.client, tools.wall)
