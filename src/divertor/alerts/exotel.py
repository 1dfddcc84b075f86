"""`alert: exotel`: text messages."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import title


def request(delivery: Delivery) -> Request:
    options = delivery.options
    sid = options["exotel_account_sid"]
    return Request(
        f"https://api.exotel.com/v1/Accounts/{sid}/Sms/send.json",
        form={
            "From": options["exotel_from_number"],
            "To": options["exotel_to_number"],
            "Body": title(delivery.notification, limit=400) + options["exotel_message_body"],
        },
        auth=(sid, options["exotel_auth_token"]),
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "exotel", request)
