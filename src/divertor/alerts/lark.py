"""`alert: lark`: a robot of Lark or Feishu. It answers 200 with a code of its own."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools, accepted_by
from divertor.alerts.http import Request
from divertor.alerts.wording import text_in_bytes, title

_ADDRESS = "https://open.feishu.cn/open-apis/bot/v2/hook/"

#: Too many requests, in its own words.
_BUSY = frozenset({9499, 11232})


def _plain(value: str) -> str:
    """Without tags: `<at user_id="all">` would call everybody."""
    return value.replace("<", "\u2039")


def request(delivery: Delivery) -> Request:
    notification, options = delivery.notification, delivery.options
    content = {"title": title(notification, _plain), "text": text_in_bytes(notification, 18_000, _plain)}
    return Request(
        _ADDRESS + options["lark_bot_id"], {"msg_type": options["lark_msgtype"], "content": content}
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "lark", request, keep=accepted_by("code", _BUSY))
