"""Every change of what is wanted as an event: who, what, when, and the revision itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

from divertor.model.events import Event

#: What verbs that do not end in e are like when it is done.
_PAST = {"drop": "dropped", "retry": "retried"}


def archive_event(
    now: datetime,
    kind: str,
    name: str,
    verb: str,
    by: str,
    revision: Mapping[str, Any] | None,
    *,
    what: str = "",
) -> Event:
    """A revision of an artifact; Vamp's tags (`archiving:create`, `breeds:NAME`). `what` says in other words
    than kind and name what was changed.
    """
    tags = (f"archiving:{verb}", f"{kind}:{name}")
    done = _PAST.get(verb, f"{verb}d")
    what = what or f"{kind.removesuffix('s')} {name}"
    return _event(now, "archive", tags, {"by": by, "message": f"{by} {done} {what}", "revision": revision})


def routing_event(now: datetime, gateway: str, by: str, changes: list[str]) -> Event:
    """A change of who gets which version; `changes` in words, route by route."""
    body = {"by": by, "message": f"{by} changed gateway {gateway}: {'; '.join(changes)}", "changes": changes}
    return _event(now, "routing", (f"gateways:{gateway}", "gateways"), body)


def lifecycle_event(now: datetime, deployment: str, what: str, by: str, message: str) -> Event:
    """Something happened to a deployment; Vamp's tags (`synchronization:deployed`)."""
    tags = (f"synchronization:{what}", f"deployments:{deployment}")
    return _event(now, "synchronization", tags, {"by": by, "message": message})


def _event(now: datetime, kind: str, tags: tuple[str, ...], body: dict[str, Any]) -> Event:
    identity = blake2b(
        repr((now.timestamp(), kind, tags, body["message"])).encode(), digest_size=16
    ).hexdigest()
    return Event(identity, kind, now, now, (f"divertor-{kind}",), tags, None, body)
