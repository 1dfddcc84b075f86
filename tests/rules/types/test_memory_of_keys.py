"""What a key costs in memory: attackers make up keys, and a rule remembers a million of them."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Rule
from divertor.rules.document import Document
from divertor.rules.types.contract import Observation

#: Bytes for a key: 400 MB for a million.
MOST = 400
KEYS = 5_000
HOUR = {"hours": 1}
TYPES: dict[str, dict[str, Any]] = {
    "frequency": {"num_events": 50, "timeframe": HOUR},
    "change": {"compare_key": "country"},
    "new_term": {"fields": ["user"]},
    "too many values": {"type": "cardinality", "cardinality_field": "ip", "timeframe": HOUR}
    | {"max_cardinality": 100},
    "too few values": {"type": "cardinality", "cardinality_field": "ip", "timeframe": HOUR}
    | {"min_cardinality": 1},
    "spike": {"spike_height": 3, "spike_type": "up", "timeframe": HOUR},
    "flatline": {"threshold": 1, "timeframe": HOUR},
}


@pytest.mark.parametrize("name", TYPES)
def test_a_key_with_two_events_takes_less_than_400_bytes(
    rule: Callable[..., Rule], event: Callable[..., Event], name: str
) -> None:
    behaviour = rule(**{"type": name, **TYPES[name]}, query_key="user").behaviour
    state, first = behaviour.start(), event(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2 * KEYS):
            key = f"user-{number % KEYS:012d}"
            micros, body = 10**15 + number * 100, {"user": key, "ip": "10.0.0.1", "country": "c1"}
            behaviour.step(state, Observation(first, key, micros, Document(body)), micros + 1000)
        taken, _most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / KEYS < MOST, f"{taken / KEYS:.0f} bytes"
