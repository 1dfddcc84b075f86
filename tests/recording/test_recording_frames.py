"""The spool's format: whatever is in it, records are found and nothing is raised."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.exchange import Body, Exchange, Key, Kind
from divertor.recording.frames import MAGIC, Tag, split

from .spooled import SCOPE, SESSION, TIME, record, simple

WHOLE = record(
    (Tag.START, int(TIME.timestamp() * 1_000_000)),
    (Tag.DURATION, 1500),
    (Tag.KIND, "diverted"),
    (Tag.SCOPE, SCOPE),
    (Tag.ADDED, "cookie|session|a%20b cookie|session|c"),
    (Tag.ADDED, "address||192.0.2.7"),
    (Tag.METHOD, "POST"),
    (Tag.AUTHORITY, "shop.example"),
    (Tag.PATH, "/login?x=1"),
    (Tag.SCHEME, "https"),
    (Tag.REQUEST_HEADER, b"cookie\0session=a b"),
    (Tag.REQUEST_HEADER, b":path\0/login"),
    (Tag.REQUEST_BODY, b"\0\xff"),
    (Tag.REQUEST_SIZE, 100),
    (Tag.STATUS, "200"),
    (Tag.RESPONSE_HEADER, b"x\0\xff"),
    (Tag.RESPONSE_BODY, b"hello"),
    (Tag.RESPONSE_SIZE, 5),
    (Tag.REQUEST_ID, "r-1"),
    (Tag.ADDRESS, "192.0.2.7"),
    (Tag.LOST, 3),
)


def only(data: bytes) -> Exchange:
    (found,) = split(data).exchanges
    return found


def test_every_field_is_read() -> None:
    found = only(WHOLE)
    assert (found.kind, found.time, found.microseconds, found.scope) == (Kind.DIVERTED, TIME, 1500, SCOPE)
    assert (found.method, found.authority, found.path) == ("POST", "shop.example", "/login?x=1")
    assert (found.scheme, found.status, found.request_id) == ("https", 200, "r-1")
    assert found.request_headers == (("cookie", "session=a b"),)
    assert found.response_headers == (("x", "\udcff"),)
    assert found.request_body == Body(b"\0\xff", 100, cut=True)
    assert (found.response_body.data, found.response_body.is_whole) == (b"hello", True)
    address = Key(KeySelector(KeyKind.ADDRESS), "192.0.2.7")
    assert found.added == (Key(SESSION, "a b"), Key(SESSION, "c"), address)
    assert split(WHOLE).lost == 3


def test_json_holds_everything() -> None:
    found = only(WHOLE)
    assert Exchange.from_json(found.to_json()) == found


def test_a_client_who_left_has_no_status() -> None:
    found = only(record((Tag.KIND, "isolated"), (Tag.SCOPE, SCOPE)))
    assert (found.status, found.microseconds, found.by) == (None, None, None)


def test_unknown_fields_are_skipped() -> None:
    assert only(simple(1, (99, b"from a later version"))).path == "/1"


def test_a_record_of_an_unknown_kind_is_no_exchange() -> None:
    data = record((Tag.KIND, "eaten"), (Tag.SCOPE, SCOPE))
    assert split(data).exchanges == () and split(data).used == len(data)


def test_an_unfinished_record_waits() -> None:
    data = simple(1) + simple(2)[:-1]
    found = split(data)
    assert [each.path for each in found.exchanges] == ["/1"]
    assert found.used == len(simple(1))


def test_what_follows_a_damaged_record_is_found() -> None:
    found = split(simple(1)[:-5] + simple(2) + simple(3), final=True)
    assert [each.path for each in found.exchanges] == ["/2", "/3"]
    assert found.skipped == len(simple(1)) - 5


def test_the_same_record_has_the_same_identity_whatever_was_lost() -> None:
    assert only(simple(1)).id == only(simple(1, (Tag.LOST, 7))).id != only(simple(2)).id


@given(st.binary(max_size=300), st.booleans())
def test_garbage_raises_nothing(data: bytes, final: bool) -> None:
    found = split(MAGIC + data, final=final)
    assert found.used <= len(data) + 4
    assert not final or found.used == len(data) + 4


writes = st.lists(st.sampled_from([simple(0), simple(1), simple(2)[:-3], simple(3)[:9]]), max_size=6)


@given(writes, st.data())
def test_whenever_it_is_looked_at_the_same_is_found(parts: list[bytes], data: st.DataObject) -> None:
    """What a first look leaves over is found by a second one that sees all."""
    whole = b"".join(parts) + simple(9)
    first = split(b"".join(parts[: data.draw(st.integers(0, len(parts)))]))
    second = split(whole[first.used :], final=True)
    at_once = split(whole, final=True)
    assert [*first.exchanges, *second.exchanges] == list(at_once.exchanges)
    assert len(at_once.exchanges) == 1 + sum(part in (simple(0), simple(1)) for part in parts)


def test_a_damaged_stretch_made_of_magic_numbers_takes_no_time() -> None:
    inner = b"".join(MAGIC + (1 << 20).to_bytes(4, "little") for _ in range(20_000))
    started = time.process_time()
    assert split(inner + bytes(1 << 20), final=True).exchanges == ()
    assert time.process_time() - started < 5
