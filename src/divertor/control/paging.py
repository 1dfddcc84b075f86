"""Telling people at once that a rule needs them, by whatever that rule alerts people with.

For what must not wait for a rule of somebody's own on `divertor-trouble`: no silence, hour or `realert` holds
it back. It is sent straight away and tried a few times; the lasting record is the event of type `trouble`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.rules import Match, Notification, Rule
from divertor.rules.alarms import identity
from divertor.rules.alerters import ACTIONS
from divertor.rules.rule import Severity, Status, TextOptions
from divertor.rules.wording.template import literal

log = logging.getLogger("divertor.alerts")

#: Seconds before each attempt.
PAUSES = (0.0, 5.0, 30.0, 120.0, 600.0)


class Paging:
    """`alerters` gives every alerter there is; `sleep` is how pauses are made."""

    def __init__(
        self,
        alerters: Callable[[], Mapping[str, Alerter]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._alerters = alerters
        self._sleep = sleep
        self._sending: set[asyncio.Task[None]] = set()

    def page(self, match: Match, message: str) -> None:
        """Sends `message` to all whom the rule of the match tells; answers at once."""
        notification = Notification.of(_saying(match, message))
        for place, alert in enumerate(match.rule.alerts):
            if alert.name in ACTIONS:
                continue
            alerter = self._alerters()[alert.name]
            for target, options in enumerate(alerter.targets(alert.options)):
                key = identity(notification.id, str(place), str(target))
                delivery = Delivery(notification, options, key)
                task = asyncio.create_task(self._send(alert.name, alerter, delivery))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def sent(self) -> None:
        """Waits for what is being sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def _send(self, name: str, alerter: Alerter, delivery: Delivery) -> None:
        problem: Any = None
        for pause in PAUSES:
            await self._sleep(pause)
            try:
                await alerter.deliver(delivery)
                return
            except DeliveryError as failed:
                problem = failed
                if not failed.again:
                    break
            except Exception as fault:  # a boundary: its text may hold an address
                problem = type(fault).__name__
                break
        log.error("nobody was paged by %s: %s", name, problem)


def _saying(match: Match, message: str) -> Match:
    """The match of a rule that says just this."""
    rule = match.rule
    words = TextOptions(
        literal(f"{rule.name}: needs a person"), 0, literal(message), "alert_text_only", "", headed=False
    )
    alerts = tuple(replace(alert, words=None) for alert in rule.alerts)
    speaking: Rule = replace(rule, words=words, alerts=alerts)
    id = identity("page", rule.name, message, match.id)
    return replace(
        match,
        id=id,
        rule=speaking,
        document={"message": message},
        event=None,
        alarm=id,
        status=Status.FIRING,
        severity=Severity.CRITICAL,
    )
