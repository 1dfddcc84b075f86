"""`alert: yzj`: a robot of Yunzhijia."""

from __future__ import annotations

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Hook, Tools
from divertor.alerts.http import Request
from divertor.alerts.wording import text


def request(delivery: Delivery) -> Request:
    options = delivery.options
    host = options["yzj_custom_loc"] or "www.yunzhijia.com"
    url = f"https://{host}/gateway/robot/webhook/send?yzjtype={options['yzj_type']}&yzjtoken={options['yzj_token']}"
    return Request(url, {"content": text(delivery.notification, limit=5000)})


def make(tools: Tools) -> Alerter:
    return Hook(tools.client, "yzj", request)
