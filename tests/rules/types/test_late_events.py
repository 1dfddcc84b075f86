"""Events that come long after they happened, in time's order or not: they are judged in windows of their own
time, by every type that an event makes fire.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Rule

Events = Callable[..., Event]
Rules = Callable[..., Rule]

MINUTE = {"minutes": 1}
A, B = ({"name": name, "filter": [{"term": {"ip": name}}]} for name in "ab")
SEQUENCE = 'sequence by user with maxspan=1m [any where ip == "a"] [any where ip == "b"]'
TYPES: list[dict[str, Any]] = [
    {"type": "frequency", "num_events": 2, "timeframe": MINUTE},
    {"type": "frequency", "num_events": 2, "timeframe": MINUTE, "attach_related": True},
    {"type": "cardinality", "cardinality_field": "ip", "max_cardinality": 1, "timeframe": MINUTE},
    {"type": "change", "compare_key": "ip", "timeframe": MINUTE},
    {"type": "sequence", "events": [A, B], "timeframe": MINUTE},
    {"type": "correlation", "events": [A, B], "timeframe": MINUTE},
    {"type": "any", "filter": [{"eql": SEQUENCE}]},
]


def fired(rule: Rule, event: Events, *arrivals: float) -> int:
    """How often an `a` and, a second later, a `b` make the rule fire that arrive then, ticks between them."""
    events = [
        event(second, arrival, ip=ip, user="eve")
        for second, (ip, arrival) in enumerate(zip("ab", arrivals, strict=True))
    ]
    engine, found = Engine([rule]), 0
    for one in events:
        engine.advance(one.received - timedelta(seconds=1))
        found += len(engine.push(one, one.received))
    return found


@pytest.mark.parametrize("options", TYPES, ids=lambda options: f"{options['type']}-{len(str(options))}")
def test_a_stream_that_is_late_fires_as_ever(rule: Rules, event: Events, options: dict[str, Any]) -> None:
    assert fired(rule(query_key="user", **options), event, 600, 630) == 1


@pytest.mark.parametrize("options", TYPES, ids=lambda options: f"{options['type']}-{len(str(options))}")
def test_what_is_later_than_buffer_time_finds_nothing_to_join(
    rule: Rules, event: Events, options: dict[str, Any]
) -> None:
    late = rule(query_key="user", buffer_time={"minutes": 5}, **options)
    assert (fired(late, event, 300, 330), fired(late, event, 600, 630)) == (1, 0)


def test_max_lateness_says_how_long_windows_wait(rule: Rules, event: Events) -> None:
    patient = rule(max_lateness={"hours": 2}, **TYPES[0])
    assert fired(patient, event, 3600, 3630) == 1


def test_a_lost_state_is_rebuilt_from_what_may_still_matter(rule: Rules) -> None:
    assert rule(**TYPES[0]).behaviour.span() == timedelta(minutes=16)


def test_all_types_are_tried() -> None:
    assert len(TYPES) == 7
