"""Builders for rule tests: an event at a second, and a rule from its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Rule, load_rule

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """The moment some seconds after the start."""
    return lambda seconds: START + timedelta(seconds=seconds)


@pytest.fixture
def event() -> Callable[..., Event]:
    """`event(3, user="x")`: an event 3 s after the start, received when it happened (or at `received`)."""
    numbers = count(1)

    def build(seconds: float, received: float | None = None, index: str = "logs", **body: Any) -> Event:
        arrived = seconds if received is None else received
        return Event(
            id=f"e{next(numbers)}",
            type="log",
            timestamp=START + timedelta(seconds=seconds),
            received=START + timedelta(seconds=arrived),
            indices=(index,),
            body=body,
        )

    return build


@pytest.fixture
def rule() -> Callable[..., Rule]:
    """`rule(type="any", …)`: a rule with these options over the least there must be."""

    def build(**options: Any) -> Rule:
        least = {"name": "r", "type": "any", "index": "logs", "alert": "debug", "realert": {"minutes": 0}}
        return load_rule(json.dumps({**least, **options}), "r.yaml")

    return build
