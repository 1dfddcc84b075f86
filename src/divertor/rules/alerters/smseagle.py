"""`smseagle`: messages and calls of an SMSEagle device."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    choice,
    defaults,
    header_text,
    plain,
    transport,
)
from divertor.rules.reading.options import Given, Option, integer, text, texts, urls


def _check(options: dict[str, Any], given: Given) -> None:
    if not any(options[f"smseagle_{name}"] for name in ("to", "contacts", "groups")):
        given.read(Option("smseagle_to", text, required=True), "alert smseagle")


DECLARATION = AlerterDeclaration(
    "smseagle",
    (
        Option("smseagle_url", urls, required=True),
        Option("smseagle_token", header_text, required=True),
        Option("smseagle_message_type", choice("sms", "ring", "tts", "tts_adv"), required=True),
        *defaults("smseagle_text"),
        Option("smseagle_to", texts, default=()),
        Option("smseagle_contacts", plain, default=()),
        Option("smseagle_groups", plain, default=()),
        Option("smseagle_duration", integer(1, 600), default=10),
        Option("smseagle_voice_id", integer(0, 10**6), default=1),
        *transport("smseagle"),
    ),
    check=_check,
    resolved="a message that says so",
)
