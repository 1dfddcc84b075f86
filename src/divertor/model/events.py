"""The event: one timestamped record of anything that happened, and its two views.

`Event.to_json` is how it travels and is stored; `Event.document` is how rules and alerts see it
(the shape an Elasticsearch hit would have). Nothing here reads a clock: both times are arguments.

Events of the stream may be read in part (`PartOfEvent`): what nobody looks at is not made into objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeAlias

from msgspec import Struct, field

#: Any value JSON can hold.
JSON: TypeAlias = Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_time(text: str) -> datetime:
    """An ISO 8601 time with its zone, as UTC; a time without a zone is taken as UTC.

    :raises ValueError: `text` is no ISO 8601 time.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is UTC else _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `Z`, so that text order is time order."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"  # a third of strftime's time


def micros_of(moment: datetime) -> int:
    """An aware time in microseconds since the epoch, exactly (a float of seconds would round)."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment_of(micros: int) -> datetime:
    """The inverse of `micros_of`, as UTC."""
    return _EPOCH + micros * _MICROSECOND


# A structure of msgspec's, which makes one out of JSON in half the time of a dataclass; there are no cycles.
class Event(Struct, frozen=True, gc=False):
    """One record: a request, a detection, an error, a log line, a metric sample, an isolation, …

    `type` is the kind of event (`detection`, `divert`, `isolation`, `log`, …); `indices` are the names a
    rule's `index` pattern selects it by (a detection carries `divertor-detection` and `bitsensor`);
    `timestamp` is when it happened, `received` when Divertor took it (both UTC); `tags` and `value` are
    Vamp's; `body` holds everything else, nested.
    """

    #: The names whose values `read` is sure to have; None: all.
    roots: ClassVar[frozenset[str] | None] = None

    id: str
    type: str
    timestamp: datetime
    received: datetime
    indices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    value: JSON = None
    body: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def read(self) -> Mapping[str, JSON]:
        """What of the body is at hand."""
        return self.body

    def wish(self, roots: frozenset[str] | None) -> None:
        """Somebody looks for these names of the body (None: for all), which are not among `roots`."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return _values(self) == _values(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return Event, _values(self)

    def get(self, path: str) -> JSON:
        """What the body holds at a dotted path (`http.request.method`), or None."""
        found: JSON = self.body
        for name in path.split("."):
            if not isinstance(found, Mapping):
                return None
            found = found.get(name)
        return found

    def document(self) -> dict[str, JSON]:
        """What a rule judges and an alert prints: the body, `@timestamp`, `_id`, `type`, `tags`, `value`."""
        doc = dict(self.body)
        doc["@timestamp"] = format_time(self.timestamp)
        doc["_id"] = self.id
        doc["type"] = self.type
        if self.indices:
            doc["_index"] = self.indices[0]
        if self.tags:
            doc["tags"] = list(self.tags)
        if self.value is not None:
            doc["value"] = self.value
        return doc

    def to_json(self) -> dict[str, JSON]:
        """The record as it travels on the bus and through the API; `from_json` reads it back."""
        return {
            "id": self.id,
            "type": self.type,
            "timestamp": format_time(self.timestamp),
            "received": format_time(self.received),
            "indices": list(self.indices),
            "tags": list(self.tags),
            "value": self.value,
            "body": dict(self.body),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Event:
        """The inverse of `to_json`. The body is taken over, not copied.

        :raises ValueError: a field is missing or of the wrong kind.
        """
        try:
            id, type, indices, tags = data["id"], data["type"], data.get("indices"), data.get("tags")
            timestamp, received = _PARSE(data["timestamp"]), _PARSE(data["received"])
            body = data.get("body")
            return cls(
                id if id.__class__ is str else str(id),
                type if type.__class__ is str else str(type),
                timestamp if timestamp.tzinfo is UTC else _in_utc(timestamp),
                received if received.tzinfo is UTC else _in_utc(received),
                _texts(indices) if indices else (),
                _texts(tags) if tags else (),
                data.get("value"),
                body if body.__class__ is dict else dict(body or {}),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not an event: {problem}") from problem


_PARSE = datetime.fromisoformat


def _values(event: Event) -> tuple[Any, ...]:
    return (
        event.id,
        event.type,
        event.timestamp,
        event.received,
        event.indices,
        event.tags,
        event.value,
        event.body,
    )


def _texts(value: JSON) -> tuple[str, ...]:
    found = tuple(value)
    for each in found:
        if each.__class__ is not str:
            return tuple(map(str, found))
    return found
