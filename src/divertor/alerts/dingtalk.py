"""`alert: dingtalk`: a robot, whose requests are signed when it has a secret. It answers 200 with a code of
its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools, accepted_by
from divertor.alerts.http import Request
from divertor.alerts.text import as_is
from divertor.alerts.wording import markdown, text_in_bytes, title
from divertor.rules.notification import Notification

_ADDRESS = "https://oapi.dingtalk.com/robot/send?access_token="

#: The system is busy; too many messages.
_BUSY = frozenset({-1, 130101, 130102})


def signature(secret: str, milliseconds: int) -> str:
    """HMAC-SHA256 of time and secret, for an address."""
    digest = hmac.new(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256).digest()
    return quote_plus(base64.b64encode(digest))


def payload(notification: Notification, options: Mapping[str, Any]) -> dict[str, Any]:
    kind = options["dingtalk_msgtype"]
    said = text_in_bytes(notification, 18_000, as_is if kind == "text" else markdown)
    if kind == "text":
        return {"msgtype": "text", "text": {"content": said}}
    card: dict[str, Any] = {"title": title(notification), "text": said}
    if kind == "markdown":
        return {"msgtype": "markdown", "markdown": card}
    if kind == "single_action_card":
        card |= {"singleTitle": options["dingtalk_single_title"], "singleURL": options["dingtalk_single_url"]}
    else:
        card |= (
            {"btnOrientation": options["dingtalk_btn_orientation"]}
            if options["dingtalk_btn_orientation"]
            else {}
        )
        card |= {"btns": list(options["dingtalk_btns"])} if options["dingtalk_btns"] else {}
    return {"msgtype": "actionCard", "actionCard": card}


def _requests(wall: Callable[[], datetime]) -> Callable[[Delivery], Request]:
    def request(delivery: Delivery) -> Request:
        options = delivery.options
        url = _ADDRESS + options["dingtalk_access_token"]
        if options["dingtalk_sign"]:
            now = round(wall().timestamp() * 1000)
            url += f"&timestamp={now}&sign={signature(options['dingtalk_sign'], now)}"
        return Request(url, payload(delivery.notification, options))

    return request


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "dingtalk", _requests(tools.wall), keep=accepted_by("errcode", _BUSY))
