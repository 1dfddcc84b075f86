"""`webex_webhook`: incoming webhooks of Webex."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "webex_webhook",
    (
        Option("webex_webhook_id", path_part, required=True),
        Option("webex_webhook_msgtype", choice("text", "markdown"), default="text"),
        *transport("webex_webhook"),
    ),
    resolved="a message that says so",
)
