"""`mattermost`: incoming webhooks of Mattermost."""

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
    "mattermost",
    (
        Option("mattermost_webhook_url", urls, required=True),
        Option("mattermost_username_override", text, default="elastalert"),
        Option("mattermost_channel_override", texts, default=("",)),
        Option("mattermost_emoji_override", text, default=":ghost:"),
        Option("mattermost_msg_color", colour, default="danger"),
        Option("mattermost_msg_fields", entries("title", optional=("value", "args", "short")), default=()),
        *defaults(
            "mattermost_icon_url_override",
            "mattermost_msg_pretext",
            "mattermost_image_url",
            "mattermost_title",
            "mattermost_title_link",
            "mattermost_footer",
            "mattermost_footer_icon",
            "mattermost_thumb_url",
            "mattermost_author_name",
            "mattermost_author_link",
            "mattermost_author_icon",
        ),
        *discover("mattermost"),
        *transport("mattermost"),
    ),
    resolved="a green message",
)
