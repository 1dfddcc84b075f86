"""`rocketchat`: incoming webhooks of Rocket.Chat."""

from __future__ import annotations

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    colour,
    defaults,
    discover,
    entries,
    transport,
)
from divertor.rules.reading.options import Option, text, texts, urls

DECLARATION = AlerterDeclaration(
    "rocketchat",
    (
        Option("rocket_chat_webhook_url", urls, required=True),
        Option("rocket_chat_username_override", text, default="elastalert2"),
        Option("rocket_chat_channel_override", texts, default=("",)),
        Option("rocket_chat_emoji_override", text, default=":ghost:"),
        Option("rocket_chat_msg_color", colour, default="danger"),
        *defaults("rocket_chat_text_string"),
        Option("rocket_chat_alert_fields", entries("title", "value", optional=("short",)), default=()),
        *discover("rocket_chat"),
        *transport("rocket_chat"),
    ),
    resolved="a green message",
)
