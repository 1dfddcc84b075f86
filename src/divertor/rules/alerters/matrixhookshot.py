"""`matrixhookshot`: generic webhooks of Matrix Hookshot."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, transport
from divertor.rules.reading.options import Option, urls

DECLARATION = AlerterDeclaration(
    "matrixhookshot",
    (
        Option("matrixhookshot_webhook_url", urls, required=True),
        *defaults("matrixhookshot_username", "matrixhookshot_text", "matrixhookshot_html"),
        *transport("matrixhookshot"),
    ),
    resolved="a message that says so",
)
