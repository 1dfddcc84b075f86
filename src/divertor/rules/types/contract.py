"""What a rule type is: a pure state machine over the events that passed a rule's filter.

A type sees an event as an `Observation`, keeps what it needs in a state that only it changes, and answers
with hits. It reads no clock: `now` is an argument, so replaying events with their own times gives the same
hits. Silencing, projection and wording are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from divertor.model.events import Event
from divertor.rules.options import Option

#: A query_key's value; None when the rule has none or the event lacks the field.
Key: TypeAlias = str | None


@dataclass(frozen=True, slots=True)
class Observation:
    """An event that passed the filter. `micros` is its time in microseconds since the epoch."""

    event: Event
    key: Key
    micros: int


@dataclass(frozen=True, slots=True)
class Hit:
    """What fired: the event that stands for it, and fields to add to its document."""

    observation: Observation
    related: tuple[Event, ...] | None = None


State = TypeVar("State")


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

    def summary(self, time: datetime) -> str:
        """What a match at `time` means, as a sentence for the default alert body, or nothing."""


@dataclass(frozen=True, slots=True)
class TypeDeclaration(Generic[State]):
    """A rule type as the loader knows it: its name in `type:`, its options, and how it is made of their
    values.
    """

    name: str
    options: tuple[Option, ...]
    make: Callable[[Mapping[str, Any]], RuleType[State]]
