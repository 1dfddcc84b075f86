"""Alerts: matches delivered to people and programs. `standard_alerters` and `Dispatcher` are the way in."""

from __future__ import annotations

import logging

import httpx

from divertor.alerts.command import Command
from divertor.alerts.contract import Alerter, DeliveryError, Outcome
from divertor.alerts.debug import Debug
from divertor.alerts.dispatcher import Dispatcher, Retry
from divertor.alerts.http import new_client
from divertor.alerts.isolate import Isolate, Isolator
from divertor.alerts.post import Post
from divertor.alerts.slack import Slack
from divertor.alerts.text import body, subject


def standard_alerters(
    client: httpx.AsyncClient, isolate: Isolator, log: logging.Logger
) -> dict[str, Alerter]:
    """Every alerter there is, by the name a rule file uses."""
    return {
        "slack": Slack(client),
        "command": Command(log),
        "post": Post(client),
        "debug": Debug(log),
        "isolate": Isolate(isolate),
    }


__all__ = [
    "Alerter",
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
