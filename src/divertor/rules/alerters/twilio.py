"""`twilio`: text messages through Twilio."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    defaults,
    header_text,
    path_part,
    transport,
)
from divertor.rules.reading.options import Given, Option, boolean, text


def _check(options: dict[str, Any], given: Given) -> None:
    name = "twilio_message_service_sid" if options["twilio_use_copilot"] else "twilio_from_number"
    if not options[name]:
        given.read(Option(name, text, required=True), "alert twilio")


DECLARATION = AlerterDeclaration(
    "twilio",
    (
        Option("twilio_account_sid", path_part, required=True),
        Option("twilio_auth_token", header_text, required=True),
        Option("twilio_to_number", text, required=True),
        *defaults("twilio_from_number", "twilio_message_service_sid"),
        Option("twilio_use_copilot", boolean, default=False),
        *transport("twilio"),
    ),
    check=_check,
    resolved="a message that says so",
)
