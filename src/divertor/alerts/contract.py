"""What an alerter is: something that delivers one match once, and says whether trying again could help.

Retrying, queueing and reporting belong to the dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from divertor.errors import DivertorError
from divertor.rules.rule import AlertSpec, Match


class DeliveryError(DivertorError):
    """An alert did not arrive. `again` says whether another attempt may succeed.

    The message is shown and stored: it must not hold a webhook's address (`redacted`) or unbounded output.
    """

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class Alerter(Protocol):
    """One kind of destination."""

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The options of each delivery that succeeds or fails by itself (one per webhook address)."""

    async def deliver(self, match: Match, options: Mapping[str, Any]) -> None:
        """Deliver once.

        :raises DeliveryError: it did not arrive.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one delivery ended. `error` is empty when it arrived, `attempts` 0 when it was dropped."""

    match: Match
    alert: AlertSpec
    ok: bool
    attempts: int
    error: str = ""


def redacted(url: str) -> str:
    """A webhook's address without what is secret in it: `https://hooks.example/…`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "…"
    return f"{parts.scheme}://{host}{port}/…"
