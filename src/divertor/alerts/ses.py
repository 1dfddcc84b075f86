"""`alert: ses`: a mail through Amazon SES, the same as `email` would send."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from divertor.alerts import aws
from divertor.alerts.contract import Alerter, Delivery, Receipt
from divertor.alerts.hook import Tools
from divertor.alerts.http import Request, Transport, WebClient, send
from divertor.alerts.mail import Envelope, mail, recipients, thread


class Ses:
    """Sends the whole mail, so that its thread is kept."""

    def __init__(self, client: WebClient, wall: Callable[[], datetime]) -> None:
        self._client = client
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: the service did not take it."""
        options = delivery.options
        made = mail(delivery, envelope(delivery), self._wall())
        region = aws.region(options, "ses")
        url = (options["ses_url"] or (f"https://email.{region}.amazonaws.com/",))[0]
        signer = aws.Signer(aws.credentials(options, "ses"), region, "ses", self._wall)
        form = {
            "Action": "SendRawEmail",
            "Version": "2010-12-01",
            "RawMessage.Data": base64.b64encode(made.as_bytes()).decode(),
            **{
                f"Destinations.member.{place}": address
                for place, address in enumerate(envelope(delivery).everybody, 1)
            },
        }
        await send(self._client, signer.signed(Request(url, form=form)), Transport.of(options, "ses"))
        return thread(delivery, made)


def envelope(delivery: Delivery) -> Envelope:
    """Who writes to whom."""
    options = delivery.options
    return Envelope(
        sender=options["ses_from_addr"],
        to=recipients(
            delivery.notification,
            options["ses_email"],
            options["ses_email_from_field"],
            options["ses_email_add_domain"],
        ),
        cc=options["ses_cc"],
        bcc=options["ses_bcc"],
        reply_to=options["ses_email_reply_to"],
    )


def make(tools: Tools) -> Alerter:
    return Ses(tools.client, tools.wall)
