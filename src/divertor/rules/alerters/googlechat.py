"""`googlechat`: webhooks of Google Chat; the messages of an alarm are one thread."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, defaults, transport
from divertor.rules.reading.options import Option, boolean, urls

DECLARATION = AlerterDeclaration(
    "googlechat",
    (
        Option("googlechat_webhook_url", urls, required=True),
        Option("googlechat_format", choice("basic", "card"), default="basic"),
        *defaults(
            "googlechat_header_title",
            "googlechat_header_subtitle",
            "googlechat_header_image",
            "googlechat_footer_kibanalink",
        ),
        Option("googlechat_thread", boolean, default=True),
        *transport("googlechat"),
    ),
    resolved="a message in the alarm's thread",
)
