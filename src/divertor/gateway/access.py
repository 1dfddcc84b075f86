"""Envoy's log of isolated, diverted and refused requests: one `Seen` per request. The others: `requests`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from divertor.gateway.following import LogFile
from divertor.model.events import Event, parse_time
from divertor.model.isolation import KeyKind


@dataclass(frozen=True, slots=True)
class Added:
    """A key the gateway has isolated by itself."""

    kind: KeyKind
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One isolated, diverted or refused request as the gateway saw it; times in UTC."""

    id: str
    kind: str
    time: datetime
    scope: str
    added: tuple[Added, ...]
    #: The isolated key of the client, when it is his own.
    by: Added | None
    fields: dict[str, Any]

    def event(self, received: datetime, target: str) -> Event:
        """The event: what was asked, what was answered, by whom. The isolated key itself is not in it."""
        get = self.fields.get
        body = {
            "http": {
                "request": {"method": get("method"), "id": get("request_id")},
                "response": {"status_code": get("status")},
                "host": get("host"),
            },
            "url": {"path": str(get("path") or "").partition("?")[0], "original": get("path")},
            "client": {"address": get("client")},
            "user_agent": {"original": get("user_agent")},
            "divertor": {
                "scope": self.scope,
                "served_by": _service(get("upstream")) or target,
                "route": get("route"),
                "key": get("key") or (self.added[0].kind if self.added else None),
                "milliseconds": get("milliseconds"),
            },
            "envoy": {"flags": get("flags")},
        }
        deployment = self.scope.partition("/")[0]
        tags = (f"request:{self.kind}", f"deployment:{deployment}")
        return Event(self.id, "request", self.time, received, ("divertor-request",), tags, None, body)


def _service(upstream: Any) -> str:
    parts = str(upstream or "").split("/")
    return parts[2] if len(parts) > 2 else ""


def parse_line(line: bytes, position: int) -> Seen | None:
    """A line of the log; None for one that is damaged (the disk was full, Envoy was killed)."""
    try:
        fields = json.loads(line)
        route = str(fields["route"] or "")
        time = parse_time(fields["time"])
        scope = str(fields["scope"])
    except (ValueError, KeyError, TypeError):
        return None
    if fields.get("simulated"):
        kind = "simulated"
    elif route.endswith("#divert"):
        kind = "diverted"
    elif route.endswith("#isolated"):
        kind = "isolated"
    else:
        kind = "refused"
    added = tuple(_added(item) for item in str(fields.get("added") or "").split())
    identity = blake2b(line + position.to_bytes(8, "little"), digest_size=16).hexdigest()
    by = _added(str(fields.get("by") or ""))
    return Seen(identity, kind, time, scope, tuple(each for each in added if each), by, fields)


def _added(text: str) -> Added | None:
    """`kind|name|value`, percent-encoded; None for one that is cut short."""
    parts = [unquote_to_bytes(part).decode("utf-8", "surrogateescape") for part in text.split("|")]
    if len(parts) != 3 or parts[0] not in set(KeyKind):
        return None
    return Added(KeyKind(parts[0]), parts[1] if parts[0] != KeyKind.ADDRESS else "", parts[2])


class AccessLog(LogFile[Seen]):
    """The log of isolated requests at `path`: every line of it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, parse_line)
