"""`discord`: webhooks of Discord."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, transport
from divertor.rules.reading.options import Option, integer, text, urls

DECLARATION = AlerterDeclaration(
    "discord",
    (
        Option("discord_webhook_url", urls, required=True),
        Option("discord_emoji_title", text, default=":warning:"),
        Option("discord_embed_color", integer(0, 0xFFFFFF), default=0xFFFFFF),
        *defaults("discord_embed_footer", "discord_embed_icon_url", "discord_thread_id"),
        *defaults("discord_proxy_password"),
        *transport("discord"),
    ),
    resolved="a green message",
)
