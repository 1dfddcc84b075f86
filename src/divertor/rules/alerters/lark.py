"""`lark`: messages of a Lark (Feishu) robot."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "lark",
    (
        Option("lark_bot_id", path_part, required=True),
        Option("lark_msgtype", choice("text"), default="text"),
        *transport("lark"),
    ),
    resolved="a message that says so",
)
