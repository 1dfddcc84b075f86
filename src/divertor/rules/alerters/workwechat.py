"""`workwechat`: messages of a WeCom robot."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, choice, path_part, transport
from divertor.rules.reading.options import Option

DECLARATION = AlerterDeclaration(
    "workwechat",
    (
        Option("work_wechat_bot_id", path_part, required=True),
        Option("work_wechat_msgtype", choice("text", "markdown"), default="text"),
        *transport("work_wechat"),
    ),
    resolved="a message that says so",
)
