"""Events read in part: the same events as when they are read whole, whatever stands in a message."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from divertor.bus.decoding import MAX_PART, MAX_ROOTS, Reader, decode
from divertor.model.events import Event
from divertor.rules.document import Document

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "a.b", "é", "body", "(line)", "")

#: Values as their writers spell them, many of which are no JSON, or none that every reader takes.
HOSTILE = (
    b"NaN", b"-Infinity", b"1e999", b"-0", b"01", b"1.", b"+1", b"18446744073709551616", b"9" * 400, b"tru",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b'"\\u00e"', b'"\xff"', b'"\xc3\xa9"',
    b'"\xed\xa0\x80"', b'"\x00"', b'"\t"', b'"', b"[1,]", b"{}", b'{"a":1,"a":2}', b'{"a" 1}', b"[" * 300,
    b"[" * 300 + b"]" * 300, b"null", b"", b" 5 ", b"\r5", b"//", b"'a'",
)  # fmt: skip

KEYS = st.sampled_from(NAMES).map(json.dumps) | st.sampled_from(('"\\u0061"', '"\\ud800"', '"a', "a"))
VALUES: st.SearchStrategy[bytes] = st.deferred(
    lambda: (
        st.sampled_from(HOSTILE)
        | st.integers().map(lambda number: str(number).encode())
        | st.text(max_size=5).map(
            lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")
        )
        | st.lists(VALUES, max_size=2).map(lambda found: b"[" + b",".join(found) + b"]")
        | MAPPINGS
    )
)
MAPPINGS: st.SearchStrategy[bytes] = st.lists(st.tuples(KEYS, VALUES), max_size=4).map(
    lambda pairs: b"{" + b",".join(key.encode() + b":" + value for key, value in pairs) + b"}"
)
TAME = st.dictionaries(
    st.sampled_from(NAMES), st.none() | st.integers() | st.text() | st.just({"b": [{"a": 1}]}), max_size=4
).map(lambda body: json.dumps(body).encode())
BODIES = TAME | MAPPINGS | VALUES
ROOTS = st.frozensets(st.sampled_from(NAMES))


def line(body: bytes, more: bytes = b"") -> bytes:
    start = b'{"id":"1","type":"log","timestamp":"2026-01-01T00:00:00Z","received":"2026-01-01T00:00:00Z"'
    return start + b',"body":' + body + more + b"}"


#: What else may stand in a record.
MORE = (
    b"",
    b',"body":{"a":3}',
    b',"(line)":null',
    b',"(line)":"x"',
    b',"(body)":{}',
    b',"read":{}',
    b',"value":NaN',
    b',"tags":null',
    b',"tags":[1]',
    b',"timestamp":"2026-01-01T02:00:00+02:00"',
    b',"received":"2026-01-01T02:00:00"',
    b',"roots":[]',
)
MESSAGES = st.lists(st.builds(line, BODIES, st.sampled_from(MORE)) | TAME | st.just(b""), max_size=3).map(
    b"\n".join
)

Found = TypeVar("Found")


def reader_of(roots: frozenset[str]) -> Reader:
    found = Reader()
    found.wish(roots)
    return found


def whole(found: tuple[list[Event], int]) -> tuple[str, int]:
    """What was found, spelled out: so NaN is itself, and 1 is not 1.0 nor true."""
    events, bad = found
    return repr([(event, event.document(), event.to_json()) for event in events]), bad


@given(message=MESSAGES, roots=ROOTS)
def test_what_is_read_in_part_is_what_is_read_whole(message: bytes, roots: frozenset[str]) -> None:
    assert whole(reader_of(roots).decode(message)) == whole(decode(message))


@given(message=MESSAGES, roots=ROOTS)
@example(message=line(b'{"a":1,"b":2}'), roots=frozenset({"a"}))
def test_at_hand_is_what_the_body_has_under_the_roots(message: bytes, roots: frozenset[str]) -> None:
    for event in reader_of(roots).decode(message)[0]:
        wanted = event.roots if event.roots is not None else frozenset(event.body)
        at_hand = {name: value for name, value in event.body.items() if name in wanted}
        assert repr(dict(event.read)) == repr(at_hand)


@pytest.mark.parametrize("value", HOSTILE)
def test_what_is_passed_by_is_refused_as_if_it_was_read(value: bytes) -> None:
    message = b"\n".join([line(b'{"a":1}'), line(b'{"b":%b,"a":1}' % value), line(b'{"a":2}')])
    assert whole(reader_of(frozenset("a")).decode(message)) == whole(decode(message))


@pytest.mark.parametrize("more", MORE)
def test_whatever_else_a_record_has_is_taken_alike(more: bytes) -> None:
    message = line(b'{"a":1,"b":2}', more)
    assert whole(reader_of(frozenset("a")).decode(message)) == whole(decode(message))


def test_hostile_values_and_records_are_all_there() -> None:
    assert (len(HOSTILE), len(MORE)) == (33, 12)


def test_numbers_too_long_to_be_read_are_refused_where_they_are_passed_by() -> None:
    message = line(b'{"b":%b}' % (b"9" * (sys.get_int_max_str_digits() + 1)))
    assert reader_of(frozenset("a")).decode(message) == ([], 1) and sys.get_int_max_str_digits() > MAX_PART


def test_a_name_that_was_missed_is_at_hand_in_the_next_message() -> None:
    reader, message = Reader(), line(b'{"a":1,"b":2}')
    (event,), _bad = reader.decode(message)
    assert not event.read
    event.wish(frozenset("a"))
    assert [dict(event.read) for event in reader.decode(message)[0]] == [{"a": 1}]


def test_what_was_forgotten_is_not_at_hand() -> None:
    reader, message = reader_of(frozenset("a")), line(b'{"a":1,"b":2}')
    reader.decode(message)
    reader.forget()
    assert [dict(event.read) for event in reader.decode(message)[0]] == [{}]


def test_events_are_read_whole_when_most_of_them_are_wanted_whole() -> None:
    reader, message = Reader(), b"\n".join([line(b'{"a":1}')] * 1000)
    kinds = []
    for _ in range(3):
        events, _bad = reader.decode(message)
        kinds.append({type(event) is Event for event in events})
        assert all(event.body for event in events)
    assert kinds == [{False}, {True}, {True}]


def test_events_are_read_whole_when_a_name_that_is_not_ascii_is_looked_for_in_most_of_them() -> None:
    """It is never at hand: a reading made anew for it before each message would take milliseconds."""
    reader, message = Reader(), b"\n".join([line('{"é":1}'.encode())] * 1000)
    kinds = []
    for _ in range(3):
        events, _bad = reader.decode(message)
        kinds.append({type(event) is Event for event in events})
        assert [Document.of(event).get("é") for event in events] == [1] * 1000
    assert kinds == [{False}, {False}, {True}]


def test_with_too_many_names_events_are_read_whole() -> None:
    reader = reader_of(frozenset(f"name{number}" for number in range(MAX_ROOTS + 1)))
    (event,), _bad = reader.decode(line(b"{}"))
    assert type(event) is Event


def test_an_event_nested_as_deep_as_can_be_is_whole_from_any_depth() -> None:
    deepest = max(depth for depth in range(1, sys.getrecursionlimit()) if nested(depth))
    (event,) = nested(deepest)
    assert type(event) is not Event and below(60, lambda: len(event.body)) == 1


def nested(depth: int) -> list[Event]:
    return Reader().decode(line(b'{"a":' + b"[" * depth + b"]" * depth + b"}"))[0]


def below(frames: int, call: Callable[[], Found]) -> Found:
    return below(frames - 1, call) if frames else call()


def one() -> Event:
    (event,), _bad = reader_of(frozenset("a")).decode(line(b'{"a":1,"b":2}'))
    return event


def test_names_that_are_not_ascii_are_not_said_to_be_at_hand() -> None:
    """The decoder does not always find them."""
    (event,), _bad = reader_of(frozenset({"a", chr(233)})).decode(line('{"é":1,"a":2}'.encode()))
    assert event.roots == frozenset("a") and event.read == {"a": 2}


def test_a_part_equals_the_whole() -> None:
    assert one() == decode(line(b'{"a":1,"b":2}'))[0][0] == one()


def test_a_part_is_pickled_whole() -> None:
    found = pickle.loads(pickle.dumps(one(), 5))
    assert type(found) is Event and found == one()


def test_a_part_is_shown_whole() -> None:
    assert repr(one()) == repr(decode(line(b'{"a":1,"b":2}'))[0][0])


def test_nobody_changes_an_event() -> None:
    event: Any = one()
    with pytest.raises(AttributeError):
        event.id = "2"
