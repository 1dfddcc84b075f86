"""What a loaded rule file is, and what it finds: frozen values that the engine, the alerters and the API
share.

Reading a file is `load.py`; running rules is `engine.py`; turning a match into words is
`divertor.alerts.text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from divertor.model.events import Event
from divertor.model.isolation import KeySelector
from divertor.rules.filter import Filter
from divertor.rules.template import Template
from divertor.rules.types.contract import Key, RuleType


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """One entry of a rule's `alert`: the alerter's name and its validated options, defaults filled in."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IsolateOptions:
    """What `alert: isolate` asks for. None and () mean "as the application's isolation policy says". `every`:
    by each of the keys that the event carries, not only by the first."""

    to: str | None = None
    duration: timedelta | None = None
    forever: bool = False
    keys: tuple[KeySelector, ...] = ()
    every: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a match is put into words; `alert_*` options of the rule file."""

    subject: Template
    subject_max_length: int
    text: Template | None
    kind: str
    missing: str


@dataclass(frozen=True, slots=True)
class AlarmOptions:
    """When a hit becomes an alert. `realert`: the silence after one, per key; `realert_key`: rules that name
    the same one share their silences.
    """

    realert: timedelta = timedelta(minutes=1)
    realert_key: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """How a rule sees time. `field` holds an event's time; `query_delay` is how long late events are waited
    for before time alone may show something.
    """

    field: str = "@timestamp"
    compatible: bool = False
    run_every: timedelta = timedelta(minutes=1)
    query_delay: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule file, understood.

    `properties` are the file's own top-level values (what `alert_text_args` may name besides fields of the
    match); `source` is where it came from and `text` the file as it was; `warnings` are what its author may
    want to know although it is valid.
    """

    name: str
    type: str
    behaviour: RuleType[Any]
    index: tuple[str, ...]
    filter: Filter
    alerts: tuple[AlertSpec, ...]
    words: TextOptions
    query_key: tuple[str, ...]
    alarm: AlarmOptions
    clock: Clock
    include: tuple[str, ...]
    is_enabled: bool
    properties: Mapping[str, Any]
    source: str
    text: str
    warnings: tuple[str, ...] = ()

    def same_as(self, other: Rule) -> bool:
        """Whether both were read from the same text, so that one may continue the other's windows."""
        return self.name == other.name and self.text == other.text


class Status(StrEnum):
    """Whether an alarm goes off or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that fired, or whose alarm is over.

    `id` is the same when the same events are judged once more. `alarm` is one for all matches of a rule and
    key from the first to the notice that it is over. `document` is what alerts show: the event's document,
    projected by `include`, with `num_hits` and `num_matches`; `event` is the event behind it, whole, or None
    when only time showed it. `num_hits` counts the events that passed the rule's filter since its last alert,
    `num_matches` the matches since then, silenced ones included (both with this one). `time` is when it
    happened (the event's time, UTC).
    """

    id: str
    rule: Rule
    document: Mapping[str, Any]
    event: Event | None
    num_hits: int
    num_matches: int
    time: datetime
    key: Key = None
    alarm: str = ""
    status: Status = Status.FIRING

    @property
    def event_id(self) -> str:
        """The id of the event behind it; empty when there is none."""
        return self.event.id if self.event is not None else ""
