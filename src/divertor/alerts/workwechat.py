"""`alert: workwechat`: a robot of WeCom. It answers 200 with a code of its own."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools, accepted_by
from divertor.alerts.http import Request
from divertor.alerts.text import as_is
from divertor.alerts.wording import markdown, text_in_bytes

_ADDRESS = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key="

#: The system is busy; too many messages.
_BUSY = frozenset({-1, 45009, 45033})

#: Bytes of a message by its kind.
_LIMITS = {"text": 2048, "markdown": 4096}


def request(delivery: Delivery) -> Request:
    kind = delivery.options["work_wechat_msgtype"]
    escape = markdown if kind == "markdown" else as_is
    content = text_in_bytes(delivery.notification, _LIMITS[kind], escape)
    return Request(
        _ADDRESS + delivery.options["work_wechat_bot_id"], {"msgtype": kind, kind: {"content": content}}
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "work_wechat", request, keep=accepted_by("errcode", _BUSY))
