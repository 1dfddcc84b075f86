"""`alert: telegram`: messages of a bot; later messages of an alarm answer its first one."""

from __future__ import annotations

import html
import re
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, Receipt
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Answer, Request
from divertor.alerts.wording import text, title

#: Telegram takes 4,096 characters, markup not counted.
_MAX = 3800
_V2 = re.compile(r"([_*\[\]()~`>#+\-=|{}.!\\])")
#: Within a block of code, only its end is markup.
_V2_CODE = re.compile(r"([`\\])")
_V1 = re.compile(r"[_*`\[\]]")
_NO_TICK = "\u02cb"
_ESCAPED = r"\\\1"


def message(delivery: Delivery) -> str:
    """The title and, as code, the text: nothing in it is markup or a link."""
    notification, mode = delivery.notification, delivery.options["telegram_parse_mode"].lower()
    heading, said = title(notification, limit=200), text(notification, limit=_MAX)
    if mode == "html":
        return f"\u26a0 {html.escape(heading, quote=False)} \u26a0 \n{html.escape(said, quote=False)}"
    if mode == "markdownv2":
        return f"\u26a0 *{_V2.sub(_ESCAPED, heading)}* \u26a0 ```\n{_V2_CODE.sub(_ESCAPED, said)} ```"
    # The old markdown cannot escape: what would be markup is replaced.
    plain = _V1.sub(" ", heading)
    return f"\u26a0 *{plain}* \u26a0 ```\n{said.replace('`', _NO_TICK)} ```"


def request(delivery: Delivery) -> Request:
    options = delivery.options
    payload: dict[str, Any] = {
        "chat_id": options["telegram_room_id"],
        "text": message(delivery),
        "parse_mode": options["telegram_parse_mode"],
        "disable_web_page_preview": True,
        "message_thread_id": options["telegram_thread_id"],
    }
    first = (delivery.receipt or {}).get("message_id")
    if first is not None:
        # The first message may have been deleted: this one is to arrive all the same.
        payload["reply_parameters"] = {"message_id": first, "allow_sending_without_reply": True}
    return Request(f"{options['telegram_api_url']}/bot{options['telegram_bot_token']}/sendMessage", payload)


def _keep(delivery: Delivery, answer: Answer) -> Receipt | None:
    sent = answer.get("result", "message_id")
    return delivery.receipt or ({"message_id": sent} if isinstance(sent, int) else None)


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "telegram", request, keep=_keep)
