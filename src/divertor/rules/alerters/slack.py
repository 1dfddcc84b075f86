"""`slack`: incoming webhooks, or a bot that keeps an alarm's messages in a thread."""

from __future__ import annotations

from typing import Any

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    colour,
    defaults,
    discover,
    entries,
    header_text,
    required_unless,
    transport,
)
from divertor.rules.reading.options import Given, Option, boolean, text, texts, urls


def _check(options: dict[str, Any], given: Given) -> None:
    required_unless(options, given, "slack_webhook_url", "slack_bot_token")
    if options["slack_bot_token"] and not all(options["slack_channel_override"]):
        given.read(Option("slack_channel_override", texts, required=True), "slack_bot_token")


DECLARATION = AlerterDeclaration(
    "slack",
    (
        Option("slack_webhook_url", urls, default=()),
        Option("slack_bot_token", header_text, default=""),
        Option("slack_api_url", urls, default=("https://slack.com/api",)),
        Option("slack_channel_override", texts, default=("",)),
        Option("slack_username_override", text, default="elastalert"),
        Option("slack_parse_override", text, default="none"),
        Option("slack_emoji_override", text, default=":ghost:"),
        Option("slack_msg_color", colour, default="danger"),
        Option("slack_alert_fields", entries("title", "value", optional=("short",)), default=()),
        *defaults(
            "slack_text_string",
            "slack_icon_url_override",
            "slack_title",
            "slack_title_link",
            "slack_footer",
            "slack_footer_icon",
            "slack_image_url",
            "slack_thumb_url",
            "slack_author_name",
            "slack_author_link",
            "slack_author_icon",
            "slack_msg_pretext",
        ),
        *discover("slack"),
        Option("slack_attach_jira_ticket_url", boolean, default=False),
        Option("slack_jira_ticket_color", text, default="#ec4b98"),
        Option("slack_jira_ticket_title", text, default="Jira Ticket"),
        *transport("slack"),
    ),
    check=_check,
    resolved="a green message; with `slack_bot_token` in the alarm's thread",
)
