"""`exotel`: text messages through Exotel."""

from __future__ import annotations

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    defaults,
    header_text,
    path_part,
    transport,
)
from divertor.rules.reading.options import Option, text

DECLARATION = AlerterDeclaration(
    "exotel",
    (
        Option("exotel_account_sid", path_part, required=True),
        Option("exotel_auth_token", header_text, required=True),
        Option("exotel_to_number", text, required=True),
        Option("exotel_from_number", text, required=True),
        *defaults("exotel_message_body"),
        *transport("exotel"),
    ),
    resolved="a message that says so",
)
