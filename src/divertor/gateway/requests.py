"""Envoy's log of failed requests, and of a sample of those that went well, as events.

Nothing here may cost the isolated ones anything: it is another file, another queue, and both are bounded.
Envoy bounds the failures (`envoy.logging`), a `Budget` the sample. What a customer sent beside method, path
and user agent is not in the log, so it is in no event.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from divertor.envoy.logging import FAILED_FLAGS, FAILED_STATUS
from divertor.gateway.following import LogFile
from divertor.model.events import Event, parse_time

#: Seconds between looks at the log: nobody reacts to these within milliseconds.
INTERVAL = 0.5
#: Bytes of unread log beyond which the older ones are given up.
BACKLOG = 32 << 20
#: Requests that went well, as events: at once, and then in a second.
SAMPLED_BURST = 500
SAMPLED_RATE = 50
_FAILED_FLAGS = frozenset(FAILED_FLAGS)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the gateway saw it: `failed`, or one of the sample. Time in UTC."""

    id: str
    failed: bool
    time: datetime
    fields: dict[str, Any]

    def event(self, received: datetime) -> Event:
        """The event: what was asked, what was answered, by which version, how fast."""
        get = self.fields.get
        deployment, service = _served(get("upstream"))
        body = {
            "http": {
                "request": {"method": get("method"), "id": get("request_id"), "bytes": get("bytes_received")},
                "response": {"status_code": get("status"), "bytes": get("bytes_sent")},
                "host": get("host"),
            },
            "url": {"path": get("path")},
            "client": {"address": get("client")},
            "user_agent": {"original": get("user_agent")},
            "divertor": {
                "gateway": get("gateway"),
                "route": get("route"),
                "upstream": get("upstream"),
                "served_by": service,
                "version": service.partition(":")[2],
                "milliseconds": get("milliseconds"),
            },
            "envoy": {"flags": get("flags"), "details": get("details")},
        }
        tags = [f"request:{'failed' if self.failed else 'sampled'}", f"gateways:{get('gateway')}"]
        if service:
            tags += [f"deployment:{deployment}", f"service:{service}"]
        return Event(self.id, "request", self.time, received, ("divertor-request",), tuple(tags), None, body)


def parse_request(line: bytes, position: int) -> Request | None:
    """A line of the log; None for one that is damaged."""
    try:
        fields = json.loads(line)
        time = parse_time(fields["time"])
        status = int(fields["status"] or 0)
        flags = str(fields["flags"] or "")
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    failed = status >= FAILED_STATUS or not _FAILED_FLAGS.isdisjoint(flags.split(","))
    identity = blake2b(line + position.to_bytes(8, "little"), digest_size=16).hexdigest()
    return Request(identity, failed, time, fields)


class RequestLog(LogFile[Request]):
    """The log of everybody's requests at `path`; of too much of it the newest is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, parse_request, INTERVAL, BACKLOG)


@dataclass(slots=True)
class Budget:
    """How many of the sample become events: `burst` at once, then `rate` a second. Pure: times (seconds, of a
    clock that never goes back) are arguments. `refused` counts the others."""

    rate: float = SAMPLED_RATE
    burst: float = SAMPLED_BURST
    refused: int = 0
    _left: float = -1.0
    _at: float = 0.0

    def within(self, requests: list[Request], now: float) -> list[Request]:
        """Every failed one, and as many of the others as there is room for."""
        self._left = (
            self.burst if self._left < 0 else min(self.burst, self._left + (now - self._at) * self.rate)
        )
        self._at = now
        kept = []
        for each in requests:
            if not each.failed:
                if self._left < 1:
                    self.refused += 1
                    continue
                self._left -= 1
            kept.append(each)
        return kept


def _served(upstream: Any) -> tuple[str, str]:
    """The deployment and the service that were asked; empty for what belongs to no deployment."""
    parts = str(upstream or "").split("/")
    return (parts[0], parts[2]) if len(parts) > 2 else ("", "")
