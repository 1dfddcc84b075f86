"""Alerts: matches delivered to people and programs. `standard_alerters` and `Dispatcher` are the way in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx

from divertor.alerts.command import Command
from divertor.alerts.contract import Alerter, DeliveryError, Outcome
from divertor.alerts.debug import Debug
from divertor.alerts.dispatcher import Dispatcher, Retry
from divertor.alerts.event import Publish, SayEvent
from divertor.alerts.http import new_client
from divertor.alerts.isolate import Isolate, Isolator
from divertor.alerts.post import Post
from divertor.alerts.release import Release, RollBack
from divertor.alerts.slack import Slack
from divertor.alerts.text import body, subject
from divertor.alerts.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Deeds:
    """What actions need done by others; `wall` is the time of day, UTC."""

    isolate: Isolator
    roll_back: RollBack
    publish: Publish
    wall: Callable[[], datetime]


def standard_alerters(client: httpx.AsyncClient, deeds: Deeds, log: logging.Logger) -> dict[str, Alerter]:
    """Every alerter there is, by the name a rule file uses."""
    return {
        "slack": Slack(client),
        "command": Command(log),
        "post": Post(client),
        "debug": Debug(log),
        "isolate": Isolate(deeds.isolate),
        "release": Release(deeds.roll_back),
        "webhook": Webhook(client, deeds.wall),
        "event": SayEvent(deeds.publish, deeds.wall),
    }


__all__ = [
    "Alerter",
    "Deeds",
    "DeliveryError",
    "Dispatcher",
    "Isolator",
    "Outcome",
    "Retry",
    "body",
    "new_client",
    "standard_alerters",
    "subject",
]
