"""What an alerter is: something that delivers one notification once and says whether trying again could help.

Retrying, queueing and reporting belong to the dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from divertor.errors import DivertorError
from divertor.rules.notification import Notification
from divertor.rules.rule import AlertSpec


class DeliveryError(DivertorError):
    """An alert did not arrive. `again` says whether another attempt may succeed, `after` how many seconds the
    destination asked to be left alone until then (`Retry-After`); None: it did not.

    The message is shown and stored: it must not hold a webhook's address (`redacted`) or unbounded output.
    """

    def __init__(self, message: str, *, again: bool, after: float | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.after = after


#: What a service said about a message that later ones refer to: a thread, a ticket, an incident.
Receipt: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on its way to one target.

    `options` are the target's. `key` is the same for every attempt at this delivery, for services that can
    tell a repetition by it. `receipt` is what the target answered to an earlier message about the same alarm.
    `others` are the receipts of this alarm's other alerters by name, as far as there are any: a message may
    link to the ticket that `jira` made, which stands before it in `rule.alerts`. `attempts` is how many of
    this delivery failed before.
    """

    notification: Notification
    options: Mapping[str, Any]
    key: str = ""
    receipt: Receipt | None = None
    others: Mapping[str, Receipt] = field(default_factory=dict)
    attempts: int = 0


class Alerter(Protocol):
    """One kind of destination."""

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The options of each delivery that succeeds or fails by itself (one per webhook address)."""

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """Deliver once. What is returned is given to later deliveries about this alarm to this target.

        :raises DeliveryError: it did not arrive.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at a delivery ended. `error` is empty when it arrived; `again`: another one follows.
    No attempt at all: that is what a rule on trial (`dry_run`) would have done.
    """

    notification: Notification
    alert: AlertSpec
    ok: bool
    attempts: int
    error: str = ""
    again: bool = False


def redacted(url: str) -> str:
    """A webhook's address without what is secret in it: `https://hooks.example/…`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "…"
    return f"{parts.scheme}://{host}{port}/…"
