"""`gitter`: activity of a Gitter room."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, transport
from divertor.rules.reading.options import Option, urls

DECLARATION = AlerterDeclaration(
    "gitter",
    (
        Option("gitter_webhook_url", urls, required=True),
        Option("gitter_msg_level", choice("error", "info"), default="error"),
        *transport("gitter"),
    ),
    resolved="a message of level info",
)
