"""`telegram`: messages of a Telegram bot."""

from __future__ import annotations

from divertor.model.documents import Node
from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    choice,
    defaults,
    host,
    path_part,
    transport,
)
from divertor.rules.reading.options import Option, integer, text, urls


def _api(node: Node, what: str) -> str:
    """A host, which is spoken to with https, or a whole address."""
    written = text(node, what)
    return urls(node, what)[0].rstrip("/") if "://" in written else f"https://{host(node, what)}"


DECLARATION = AlerterDeclaration(
    "telegram",
    (
        Option("telegram_bot_token", path_part, required=True),
        Option("telegram_room_id", text, required=True),
        Option("telegram_api_url", _api, default="https://api.telegram.org"),
        Option(
            "telegram_parse_mode",
            choice("markdown", "Markdown", "markdownV2", "MarkdownV2", "html", "HTML"),
            default="markdown",
        ),
        Option("telegram_thread_id", integer(0, 2**53)),
        *defaults("telegram_proxy_password"),
        *transport("telegram"),
    ),
    resolved="a reply to the first message",
)
