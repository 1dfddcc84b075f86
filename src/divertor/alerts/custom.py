"""`alert: package.module.Class`: an alerter of the user's own with ElastAlert's interface.

The class is made with the rule's options as one mapping, `alert` is given the documents of the matches, in a
thread. It need not derive from anything: what counts is `alert(matches)`; `required_options` and `get_info`
are used when they are there.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

from divertor.alerts.contract import Delivery, DeliveryError, Receipt
from divertor.alerts.wording import text, title
from divertor.rules.reading.plugins import class_at


class Custom:
    """Alerters by dotted path, each class looked up once."""

    def __init__(self, path: str) -> None:
        self._path = path

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: there is no such class, an option is missing, or it failed."""
        return await asyncio.to_thread(self._run, delivery)

    def _run(self, delivery: Delivery) -> Receipt | None:
        found = _class_at(self._path)
        options = {**copy.deepcopy(dict(delivery.options)), "name": delivery.notification.rule.name}
        missing = sorted(set(getattr(found, "required_options", ())) - set(options))
        if missing:
            raise DeliveryError(f"{self._path} needs {', '.join(map(str, missing))[:200]}", again=False)
        matches = [copy.deepcopy(dict(match.document)) for match in delivery.notification.matches]
        try:
            alerter = found(options)
            _complete(alerter, delivery)
            alerter.alert(matches)
            info = alerter.get_info() if hasattr(alerter, "get_info") else None
        except Exception as fault:
            # A boundary: the code is the user's. Its text may hold an address or a payload.
            raise DeliveryError(f"{self._path} failed ({type(fault).__name__})", again=True) from None
        return {"type": str(info["type"])[:200]} if isinstance(info, dict) and "type" in info else None


def _complete(alerter: Any, delivery: Delivery) -> None:
    """What ElastAlert's base class would have, as far as the class has nothing of its own."""
    ready = {
        "pipeline": dict(delivery.others),
        "create_alert_body": lambda _matches: text(delivery.notification),
        "create_title": lambda _matches: title(delivery.notification),
    }
    for name, value in ready.items():
        if not hasattr(alerter, name):
            setattr(alerter, name, value)


def _class_at(path: str) -> Any:
    try:
        found = class_at(path)
    except ValueError as fault:
        raise DeliveryError(
            f"{path} cannot be imported ({type(fault.__cause__).__name__})", again=False
        ) from None
    if not callable(getattr(found, "alert", None)):
        raise DeliveryError(f"{path} has no method alert", again=False)
    return found
