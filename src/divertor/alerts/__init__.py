"""Alerts: matches delivered to people and programs. `standard_alerters` and `Dispatcher` are the way in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Outcome, Receipt
from divertor.alerts.custom import Custom
from divertor.alerts.dispatcher import Dispatcher
from divertor.alerts.event import Publish, SayEvent
from divertor.alerts.hook import Tools
from divertor.alerts.http import WebClient, new_client
from divertor.alerts.isolate import Isolate, Isolator
from divertor.alerts.outbox import Outbox
from divertor.alerts.release import Release, RollBack
from divertor.alerts.sending import Retry
from divertor.alerts.text import body, subject
from divertor.alerts.webhook import Webhook
from divertor.rules.alerters import MESSENGERS


@dataclass(frozen=True, slots=True)
class Deeds:
    """What actions need done by others; `wall` is the time of day, UTC."""

    isolate: Isolator
    roll_back: RollBack
    publish: Publish
    wall: Callable[[], datetime]


class Alerters(dict[str, Alerter]):
    """Alerters by the name a rule file uses; a dotted name is a class of the user's own."""

    def __missing__(self, name: str) -> Alerter:
        if "." not in name:
            raise KeyError(name)
        found = self[name] = Custom(name)
        return found


class _Linked:
    """An alerter whose messages lead to this installation."""

    def __init__(self, inner: Alerter, base: str) -> None:
        self._inner = inner
        self._base = base

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return self._inner.targets(options)

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        linked = replace(delivery.notification, base=self._base)
        return await self._inner.deliver(replace(delivery, notification=linked))


def standard_alerters(client: WebClient, deeds: Deeds, log: logging.Logger, base: str = "") -> Alerters:
    """Every alerter there is: the actions, and what the modules named like the declarations make. `base` is
    the address at which people reach this installation.
    """
    tools = Tools(client, log, deeds.wall)
    made = {name: import_module(f"{__name__}.{name}").make(tools) for name in MESSENGERS}
    made["webhook"] = Webhook(client, deeds.wall)
    telling = {name: _Linked(one, base) for name, one in made.items()} if base else made
    return Alerters(
        {
            **telling,
            "isolate": Isolate(deeds.isolate),
            "release": Release(deeds.roll_back),
            "event": SayEvent(deeds.publish, deeds.wall),
        }
    )


__all__ = [
    "Alerter",
    "Alerters",
    "Deeds",
    "DeliveryError",
    "Dispatcher",
    "Isolator",
    "Outbox",
    "Outcome",
    "Retry",
    "WebClient",
    "body",
    "new_client",
    "standard_alerters",
    "subject",
]
