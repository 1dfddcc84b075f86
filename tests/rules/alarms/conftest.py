"""One rule and one set of alarms, driven by hits at seconds: the smallest world that has alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Rule
from divertor.rules.alarms import Alarms, Controls, Silence, Verdict
from divertor.rules.types.contract import Hit, Side

#: A Thursday, midnight UTC.
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
ZERO = int(START.timestamp()) * SECOND


def micros(seconds: float) -> int:
    """So many seconds after the start, as the alarms count time."""
    return ZERO + round(seconds * SECOND)


@dataclass
class Gauge:
    """A rule type whose number is set by hand; it alarms at 5 and above, or 5 and below."""

    side: Side = "above"
    threshold: float = 5.0
    number: float | None = 0.0

    def start(self) -> None:
        return None

    def step(self, state: Any, seen: Any, now: int) -> list[Hit]:
        return []

    def tick(self, state: Any, now: int) -> list[Hit]:
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, document: Any, time: datetime) -> str:
        return ""

    def measure(self, state: Any, key: str | None, now: int) -> float | None:
        return self.number


@dataclass
class World:
    """`hit` and `tick` answer with what is told; `gauge` is the type of a measured rule."""

    rule: Rule
    gauge: Gauge
    alarms: Alarms = field(default_factory=Alarms)

    def hit(self, seconds: float, key: str | None = None, cause: str = "", **body: Any) -> Verdict | None:
        at = micros(seconds)
        moment = START + timedelta(seconds=seconds)
        event = Event(f"e{seconds}", "log", moment, moment, ("logs",), body=body)
        found = self.alarms.decide(self.rule, None, [Hit(key, at, cause or f"e{seconds}{key}", event)], at)
        return found[0] if found else None

    def tick(self, seconds: float) -> list[Verdict]:
        at = micros(seconds)
        found = list(self.alarms.passed(self.rule, None, at))
        self.alarms.forget(at)
        return found

    def silence(self, **given: Any) -> None:
        self.alarms.control(Controls.of([Silence(id="s", **given)]))


@pytest.fixture
def world(rule: Callable[..., Rule]) -> Callable[..., World]:
    """`world(realert={"minutes": 1}, …)`; with `measured="above"` the rule's type is a gauge."""

    def build(measured: Side | None = None, **options: Any) -> World:
        gauge = Gauge(measured or "above")
        numbers = options.pop("recovery", None) if measured else None
        made = rule(**options)
        if measured:
            made = replace(made, behaviour=gauge)
        if numbers is not None:
            # Read with a type that has such a number, as `any` has none.
            made = replace(made, alarm=replace(made.alarm, recovery=_recovery(rule, numbers)))
        return World(made, gauge)

    return build


def _recovery(rule: Callable[..., Rule], numbers: Any) -> Any:
    from divertor.model.documents import from_value
    from divertor.rules.reading.alarm_options import GROUP

    read = next(option.read for option in GROUP.options if option.name == "recovery")
    return read(from_value(numbers, "r.yaml"), "recovery")
