"""What a rule type is: a pure state machine over the events that passed a rule's filter.

A type sees an event as an `Observation`, keeps what it needs in a state that only it changes, and answers
with hits. It reads no clock: `now` is an argument, so replaying events with their own times gives the same
hits. Silencing, recovery, projection and wording are not its business.

A state is made of plain values and dataclasses of this package: it is saved and read back (`checkpoint`), and
it is small, because attackers choose keys: it holds times and numbers, not events, unless events are what the
rule's author asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from msgspec import Struct

from divertor.model.events import Event
from divertor.rules.document import Document
from divertor.rules.reading.options import Option

#: A query_key's value; None when the rule has none or the event lacks the field.
Key: TypeAlias = str | None

#: Which side of its threshold is the bad one: `above` (frequency, spike up), `below` (flatline).
Side: TypeAlias = Literal["above", "below"]

_NO_FIELDS: Mapping[str, Any] = {}
_HIT = tuple.__new__


# One of these is made for every event and rule, or nearly: a named tuple takes more than twice as long.
class Observation(Struct, frozen=True, gc=False):
    """An event that passed the filter. `micros` is its time in microseconds since the epoch; `document` is
    shared by all rules that judge the event and must not be kept.
    """

    event: Event
    key: Key
    micros: int
    document: Document


class Hit(NamedTuple):
    """What fired.

    `event` is what the match shows; None when only time or a number shows it: then the match's document
    consists of `fields`, the time and the query_key. `micros` is when it happened; `cause` tells it from any
    other hit of the same rule and key, and is the same again when the same events are judged once more.
    `fields` are added to the document. `related` are further events that count, the oldest first.
    """

    key: Key
    micros: int
    cause: str
    event: Event | None = None
    fields: Mapping[str, Any] = _NO_FIELDS
    related: tuple[Event, ...] | None = None

    @classmethod
    def of(cls, seen: Observation, **more: Any) -> Hit:
        """A hit that an event caused and stands for."""
        event = seen.event
        if not more:  # the usual case, in a third of the time
            return _HIT(cls, (seen.key, seen.micros, event.id, event, _NO_FIELDS, None))
        return cls(seen.key, seen.micros, event.id, event, **more)

    @classmethod
    def at(cls, key: Key, micros: int, **more: Any) -> Hit:
        """A hit that only time shows."""
        return cls(key, micros, f"@{micros}", **more)


State = TypeVar("State")
SeenState = TypeVar("SeenState", contravariant=True)


class RuleType(Protocol[State]):
    """A rule type with its options."""

    def start(self) -> State:
        """The state before any event."""

    def step(self, state: State, seen: Observation, now: int) -> list[Hit]:
        """Take one event in; `now` in microseconds since the epoch."""

    def tick(self, state: State, now: int) -> list[Hit]:
        """Time passed: forget what can no longer matter, and report what only time can show."""

    def span(self) -> timedelta:
        """How far back an event can still matter: what must be read again to rebuild a lost state."""

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        """What a match means, as a sentence for the default alert body, or nothing."""


@runtime_checkable
class Measured(Protocol[SeenState]):
    """A rule type whose alarm is a number on the wrong side of a threshold: recovery, hysteresis and pending
    periods go by it. Types without it recover when nothing matched for a while.

    It may also have a `threshold: float` (`threshold_of`), the first number on the bad side: `num_events`,
    `max_cardinality + 1`, `math.nextafter(max_threshold, math.inf)`. A rule that says `recovery` without a
    number recovers on the other side of it; without one, when nothing matched for a while.
    """

    side: Side

    def measure(self, state: SeenState, key: Key, now: int) -> float | None:
        """The number now, after forgetting what is too old; None when there is nothing to measure."""


def threshold_of(behaviour: RuleType[Any]) -> float | None:
    """Where the bad side of a measured type begins (that number included); None when it cannot say."""
    found = getattr(behaviour, "threshold", None)
    return float(found) if isinstance(found, int | float) and isinstance(behaviour, Measured) else None


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a rule, besides its own options, shapes a type.

    `compatible`: reproduce what ElastAlert does when it polls every `run_every`: events come in batches, each
    followed by a tick. `query_key` are the fields of the key, to be shown in matches without an event.
    `measured`: somebody will ask `measure`, so what it needs is to be kept. `late`: how much later than it
    happened an event may come and still join others of its time.
    """

    query_key: tuple[str, ...] = ()
    compatible: bool = False
    run_every: timedelta = timedelta(minutes=1)
    buffer_time: timedelta = timedelta(minutes=15)
    timestamp_field: str = "@timestamp"
    measured: bool = False
    late: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class TypeDeclaration(Generic[State]):
    """A rule type as the loader knows it: its name in `type:`, its options, and how it is made of their
    values: `make` raises ValueError for options that make no sense together.
    """

    name: str
    options: tuple[Option, ...]
    make: Callable[[Mapping[str, Any], Settings], RuleType[State]]
