"""What is told of isolations: events, in which no key stands as it is. Pure."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Any

from divertor.isolation.identity import masked
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeySelector


def isolation_event(what: str, isolation: Isolation, by: str, reason: str, now: datetime) -> Event:
    """`what` (`added`, `removed`, `allowed`) happened to an isolation, or would have."""
    who = f"{isolation.selector} {masked(isolation.value)} in {isolation.scope}"
    happened = f"would have been {what}" if isolation.simulated else what
    body = {
        "isolation": {
            "id": isolation.id,
            "scope": isolation.scope,
            "key": str(isolation.selector),
            "value": masked(isolation.value),
            "target": isolation.target,
            "expires": isolation.to_json()["expires"],
            "cause": isolation.cause,
            "simulated": isolation.simulated,
        },
        "by": by,
        "reason": reason,
        "message": f"{who} {happened}: {reason}",
    }
    tags = [f"isolation:{what}"]
    if isolation.simulated:
        tags.append("isolation:simulated")
    return _event(f"{isolation.id} {what}", now, tags, isolation.scope, body)


def allowed_event(
    scope: str, selector: KeySelector, value: str, by: str, reason: str, cause: str, now: datetime
) -> Event:
    """Somebody on the allowlist was not isolated."""
    who = f"{selector} {masked(value)} in {scope}"
    body = {
        "isolation": {"scope": scope, "key": str(selector), "value": masked(value), "cause": cause},
        "by": by,
        "reason": reason,
        "message": f"{who} is on the allowlist, and stays: {reason}",
    }
    return _event(f"{scope} {selector} {value} {cause} allowed", now, ["isolation:allowed"], scope, body)


def bulk_event(what: str, scope: str, number: int, by: str, reason: str, now: datetime) -> Event:
    """Many isolations at once (`imported`, `expired`): one event says so."""
    body = {
        "isolation": {"scope": scope, "number": number},
        "by": by,
        "reason": reason,
        "message": f"{number} keys in {scope} {what}: {reason}",
    }
    return _event(f"{scope} {what} {number} {reason}", now, [f"isolation:{what}"], scope, body)


def _event(identity: str, now: datetime, tags: list[str], scope: str, body: dict[str, Any]) -> Event:
    text = f"{identity} {now.timestamp()}".encode("utf-8", "surrogateescape")
    id = blake2b(text, digest_size=16).hexdigest()
    every = (*tags, f"deployment:{scope.partition('/')[0]}")
    return Event(id, "isolation", now, now, ("divertor-isolation",), every, None, body)
