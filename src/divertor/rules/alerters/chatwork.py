"""`chatwork`: messages of a Chatwork room."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, header_text, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "chatwork",
    (
        Option("chatwork_apikey", header_text, required=True),
        Option("chatwork_room_id", path_part, required=True),
        *transport("chatwork"),
    ),
    resolved="a message that says so",
)
