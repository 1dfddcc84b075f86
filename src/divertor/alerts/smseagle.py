"""`alert: smseagle`: messages, rings and spoken texts of an SMSEagle device."""

from __future__ import annotations

from typing import Any

from divertor.alerts.attachments import given
from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import text

_PATHS = {
    "sms": "/api/v2/messages/sms",
    "ring": "/api/v2/calls/ring",
    "tts": "/api/v2/calls/tts",
    "tts_adv": "/api/v2/calls/tts_advanced",
}


def request(delivery: Delivery) -> Request:
    options = delivery.options
    kind = options["smseagle_message_type"]
    payload: dict[str, Any] = {
        "text": options["smseagle_text"] or text(delivery.notification, limit=1000),
        **given(options, "smseagle", "to", "contacts", "groups"),
    }
    if kind != "sms":
        payload["duration"] = options["smseagle_duration"]
    if kind == "tts_adv":
        payload["voice_id"] = options["smseagle_voice_id"]
    url = options["smseagle_url"].rstrip("/") + _PATHS[kind]
    return Request(url, payload, headers={"access-token": options["smseagle_token"]})


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "smseagle", request, spread=("smseagle_url",))
