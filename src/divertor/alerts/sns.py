"""`alert: sns`: a notification of an Amazon SNS topic."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from divertor.alerts import aws
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Tools
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.alerts.wording import incident, text_in_bytes, title

#: SNS takes 256 KiB and a subject of 100 characters of ASCII.
_MAX = 250_000


class Sns:
    """Publishes; a FIFO topic takes a repetition once."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the service did not take it."""
        options = delivery.options
        region = (
            options["sns_aws_region"] or _region_of(options["sns_topic_arn"]) or aws.region(options, "sns")
        )
        url = (options["sns_url"] or (f"https://sns.{region}.amazonaws.com/",))[0]
        signer = aws.Signer(aws.credentials(options, "sns"), region, "sns", self._wall)
        request = signer.signed(Request(url, form=form(delivery)))
        await send(self._client, request, Transport.of(options, "sns"))


def form(delivery: Delivery) -> dict[str, str]:
    """The action's parameters."""
    notification, arn = delivery.notification, delivery.options["sns_topic_arn"]
    subject = re.sub(r"[^\x20-\x7e]", "?", title(notification, limit=100))
    made = {
        "Action": "Publish",
        "Version": "2010-03-31",
        "TopicArn": arn,
        "Subject": subject.replace("\u2026", "...")[:99].strip() or "alert",
        "Message": text_in_bytes(notification, _MAX),
    }
    if arn.endswith(".fifo"):
        made |= {"MessageGroupId": incident(notification)[:128], "MessageDeduplicationId": delivery.key[:128]}
    return made


def _region_of(arn: str) -> str:
    parts = arn.split(":")
    return parts[3] if len(parts) > 5 and re.fullmatch(r"[a-z0-9-]{1,40}", parts[3]) else ""


def make(tools: Tools) -> Alerter:
    return Sns(tools.client, tools.wall)
