"""Events in Vamp's form."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.ingest import vamp_event
from divertor.model.events import Event

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BAD: list[Any] = [
    {},
    [],
    None,
    {"tags": []},
    {"tags": "a"},
    {"tags": [1]},
    {"tags": [" "]},
    {"tags": ["x" * 257]},
    {"tags": ["a"] * 65},
    {"tags": ["a"], "type": ""},
    {"tags": ["a"], "type": 5},
    {"tags": ["a"], "type": "a b"},
    {"tags": ["a"], "timestamp": 5},
    {"tags": ["a"], "timestamp": "noon"},
    {"tags": ["a"], "timestamp": "0001-01-01T00:00:00+14:00"},
    {"tags": ["a"], "timestamp": "1969-12-31T23:59:59Z"},
    {"tags": ["a"], "value": "x" * 70_000},
    {"tags": ["a"], "value": [0] * 10_001},
    {"tags": ["a"], "value": float("nan")},
    {"tags": ["a"], "typ": "x"},
]


def test_an_event_with_everything() -> None:
    data = {
        "tags": ["a:b", "c"],
        "value": {"n": 1.5},
        "timestamp": "2026-01-01T11:00:00+01:00",
        "type": "health",
    }
    assert vamp_event(data, NOON, "id1") == Event(
        "id1", "health", NOON - timedelta(hours=2), NOON, ("divertor-event",), ("a:b", "c"), {"n": 1.5}
    )


def test_tags_are_enough() -> None:
    event = vamp_event({"tags": ["a"]}, NOON, "id1")
    assert (event.type, event.timestamp, event.value) == ("event", NOON, None)


def test_what_vamps_clients_send_back_is_accepted() -> None:
    assert vamp_event({"tags": ["a"], "version": "1", "id": "x", "digest": "y"}, NOON, "id1").id == "id1"


def test_a_clock_far_ahead_is_not_believed_but_kept() -> None:
    event = vamp_event({"tags": ["a"], "timestamp": "2027-01-01T00:00:00Z"}, NOON, "id1")
    assert event.timestamp == NOON
    assert event.body == {"divertor": {"ingest": {"original_time": "2027-01-01T00:00:00Z"}}}


@pytest.mark.parametrize("data", BAD)
def test_a_bad_event_is_refused_with_what_was_expected(data: Any) -> None:
    assert len(BAD) == 20
    with pytest.raises(InputError):
        vamp_event(data, NOON, "id1")


def test_a_value_nested_too_deep_is_refused() -> None:
    value: Any = 1
    for _ in range(40):
        value = {"k": value}
    with pytest.raises(InputError, match="too large"):
        vamp_event({"tags": ["a"], "value": value}, NOON, "id1")


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["tags", "value", "timestamp", "type"]), any_json))
def test_anything_gives_an_event_or_a_refusal(data: dict[str, Any]) -> None:
    try:
        event = vamp_event({"tags": ["a"], **data}, NOON, "id1")
    except InputError:
        return
    text = json.dumps(event.to_json(), allow_nan=False)
    assert Event.from_json(json.loads(text)) == event
