"""`dingtalk`: messages of a DingTalk robot."""

from __future__ import annotations

from divertor.rules.alerters.declaration import (
    AlerterDeclaration,
    choice,
    defaults,
    entries,
    path_part,
    transport,
)
from divertor.rules.reading.options import Option, text

DECLARATION = AlerterDeclaration(
    "dingtalk",
    (
        Option("dingtalk_access_token", path_part, required=True),
        *defaults("dingtalk_sign"),
        Option(
            "dingtalk_msgtype",
            choice("text", "markdown", "single_action_card", "action_card"),
            default="text",
        ),
        Option("dingtalk_single_title", text, default="elastalert"),
        *defaults("dingtalk_single_url", "dingtalk_btn_orientation"),
        Option("dingtalk_btns", entries("title", "actionURL"), default=()),
        *transport("dingtalk"),
    ),
    resolved="a message that says so",
)
