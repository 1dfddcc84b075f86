"""`alert: chatwork`: messages of a room."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import text


def _plain(value: str) -> str:
    """Without tags: `[toall]` would call everybody."""
    return value.replace("[", "[\u200b")


def request(delivery: Delivery) -> Request:
    options = delivery.options
    return Request(
        f"https://api.chatwork.com/v2/rooms/{options['chatwork_room_id']}/messages",
        form={"body": text(delivery.notification, _plain, 2047)},
        headers={"x-chatworktoken": options["chatwork_apikey"]},
    )


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "chatwork", request)
