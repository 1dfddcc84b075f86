"""`alert: debug`: one line in the log. The text is JSON-quoted, so that a payload cannot forge log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Alerter, Delivery
from divertor.alerts.hook import Tools
from divertor.alerts.wording import text, title


class Debug:
    """Writes to the logger it is given, at level info."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        notification = delivery.notification
        self._log.info(
            "alert for %s at %s: %s",
            json.dumps(notification.rule.name),
            notification.first.time.isoformat(),
            json.dumps({"subject": title(notification), "body": text(notification)}, ensure_ascii=True),
        )


def make(tools: Tools) -> Alerter:
    return Debug(tools.log)
