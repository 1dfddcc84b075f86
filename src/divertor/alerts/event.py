"""`alert: event`: a match said as an event of its own, which other rules judge in turn: alarms about alarms.

An event that rules say carries how many rules are behind it, so that two rules which feed each other stop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from divertor.alerts.contract import Delivery, DeliveryError
from divertor.alerts.text import subject
from divertor.errors import DivertorError
from divertor.model.events import Event
from divertor.rules.document import lookup
from divertor.rules.notification import Notification
from divertor.rules.reading.actions import EventOptions

Publish: TypeAlias = Callable[[list[Event]], Awaitable[None]]

#: Rules that may stand one behind the other.
MAX_DEPTH = 8
_DEPTH = "divertor.depth"


def event_of(notification: Notification, options: EventOptions, id: str, now: datetime) -> Event:
    """What is said of the first match; it happened when the match did.

    :raises DeliveryError: too many rules stand one behind the other.
    """
    match, name = notification.first, notification.rule.name
    depth = 1 + (_depth(match.event) if match.event is not None else 0)
    if depth > MAX_DEPTH:
        raise DeliveryError(f"rules feed each other, {MAX_DEPTH} deep", again=False)
    body = {
        **options.body,
        **{field: lookup(match.document, path) for field, path in options.fields.items()},
        "message": subject(notification),
        "rule": {"name": name, "alarm": match.alarm, "match": match.id, "status": str(match.status)},
        "cause": match.event_id,
        "divertor": {"depth": depth},
    }
    tags = (f"rules:{name}", *options.tags)
    indices = (f"divertor-{options.type}",)
    return Event(id, options.type, min(match.time, now), now, indices, tags, None, body)


def _depth(event: Event) -> int:
    found = event.get(_DEPTH)
    return found if isinstance(found, int) and found > 0 else 0


class SayEvent:
    """Publishes; the event's id is the delivery's key, so that the broker takes a repetition once."""

    def __init__(self, publish: Publish, wall: Callable[[], datetime]) -> None:
        self._publish = publish
        self._wall = wall

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """:raises DeliveryError: the broker did not take it, or rules feed each other."""
        notification = delivery.notification
        event = event_of(notification, delivery.options["event"], delivery.key, self._wall())
        try:
            await self._publish([event])
        except DivertorError as problem:
            raise DeliveryError(f"not published: {problem}", again=True) from problem
