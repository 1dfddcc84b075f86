"""Messages of the event stream as events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.bus.decoding import decode
from divertor.model.events import Event

NOW = datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
BODIES = st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4)


def lines(bodies: list[dict[str, Any]]) -> list[bytes]:
    events = [Event(str(place), "log", NOW, NOW, ("i",), body=body) for place, body in enumerate(bodies)]
    return [json.dumps(event.to_json(), allow_nan=False).encode() for event in events]


@given(bodies=BODIES)
def test_what_was_written_is_read(bodies: list[dict[str, Any]]) -> None:
    events, bad = decode(b"\n".join(lines(bodies)))
    assert [event.body for event in events] == bodies and bad == 0
    assert all(event.timestamp == NOW and event.indices == ("i",) for event in events)


BAD = [b"", b"{", b"[]", b"5", b"{}", b'{"id": 1}', b"\xff", b"]," + b"[", b"[" * 5000 + b"]" * 5000]


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_falls_out_alone(line: bytes) -> None:
    good = lines([{"a": 1}, {"b": 2}])
    events, bad = decode(b"\n".join([good[0], line, good[1]]))
    assert [event.body for event in events] == [{"a": 1}, {"b": 2}] and bad == 1


def test_bad_lines_are_all_there() -> None:
    assert len(BAD) == 9


def test_lone_surrogates_are_read() -> None:
    events, bad = decode(b"\n".join(lines([{"a": "\ud800"}, {"b": 1}])))
    assert [event.body for event in events] == [{"a": "\ud800"}, {"b": 1}] and bad == 0


def test_a_message_without_lines_has_no_events() -> None:
    assert decode(b"") == ([], 0)
