"""`alert: twilio`: text messages."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import title


def request(delivery: Delivery) -> Request:
    options = delivery.options
    sid = options["twilio_account_sid"]
    sender = (
        {"MessagingServiceSid": options["twilio_message_service_sid"]}
        if options["twilio_use_copilot"]
        else {"From": options["twilio_from_number"]}
    )
    return Request(
        f"https://api.twilio.com/2010-04-01/Accounts/{sid}/Messages.json",
        form={"Body": title(delivery.notification, limit=1600), "To": options["twilio_to_number"], **sender},
        auth=(sid, options["twilio_auth_token"]),
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "twilio", request)
