"""Isolations as lines and as batches: what was meant is what is held, or the line is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import parse
from divertor.errors import InputError
from divertor.isolation.batches import from_document, to_document
from divertor.isolation.bulk import MAX_LINE, Import, to_lines
from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.model.isolation import Isolation, KeyKind, KeySelector

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SESSION = KeySelector(KeyKind.COOKIE, "session")
PREFIX = KeySelector(KeyKind.PREFIX, "24/64")
POLICY = IsolationPolicy(
    *("web", "web:1", (SESSION, PREFIX, KeySelector(KeyKind.ADDRESS)), timedelta(hours=1)),
)
ROW: dict[str, Any] = {"scope": "shop/web", "kind": "cookie", "name": "session", "value": "abc"}


def read(*rows: object, policy: IsolationPolicy = POLICY) -> Import:
    made = Import({"shop/web": policy}, NOW, "me", "b1")
    for row in rows:
        made.read(row if isinstance(row, bytes) else json.dumps(row).encode())
    return made


def one(**changed: Any) -> Isolation:
    (found,) = read({**ROW, **changed}).isolations.values()
    return found


def test_a_line_says_whom_and_the_policy_says_the_rest() -> None:
    found = one()
    assert (found.selector, found.value, found.target) == (SESSION, "abc", "web:1")
    assert (found.created, found.expires, found.by) == (NOW, NOW + timedelta(hours=1), "me")
    assert (found.batch, found.simulated, found.reason) == ("b1-0", False, "imported")


@pytest.mark.parametrize(
    ("said", "expires"),
    [
        ({"for": "5m"}, NOW + timedelta(minutes=5)),
        ({"for": "forever"}, None),
        ({"expires": None}, None),
        ({"expires": "2026-01-02T00:00:01Z"}, NOW + timedelta(seconds=1)),
    ],
)
def test_a_line_may_say_how_long(said: dict[str, Any], expires: datetime | None) -> None:
    assert one(**said).expires == expires


def test_who_decided_and_when_is_kept_but_not_from_the_future() -> None:
    found = one(by="rule x", created="2025-12-24T00:00:00Z", cause="e1", parent="f")
    assert (found.by, found.created.year, found.cause, found.parent) == ("rule x", 2025, "e1", "f")
    assert one(created="2030-01-01T00:00:00Z").created == NOW


def test_a_prefix_without_a_length_is_the_policys() -> None:
    row = {"scope": "shop/web", "kind": "prefix", "value": "192.0.2.9"}
    (found,) = read(row).isolations.values()
    assert (found.selector, found.value) == (PREFIX, "192.0.2.0/24")


def test_of_two_lines_for_one_key_the_longer_counts() -> None:
    made = read({**ROW, "for": "5m"}, {**ROW, "for": "7m"}, {**ROW, "for": "6m"}, b"", b" ")
    assert [each.expires for each in made.isolations.values()] == [NOW + timedelta(minutes=7)]


def test_a_line_that_no_longer_holds_is_counted() -> None:
    made = read({**ROW, "expires": "2026-01-01T00:00:00Z"})
    assert made.isolations == {} and made.expired == 1


def test_a_policy_that_only_watches_simulates() -> None:
    watching = IsolationPolicy("web", "web:1", (SESSION,), mode=Mode.SIMULATE)
    (found,) = read(ROW, policy=watching).isolations.values()
    assert found.simulated


WRONG: list[tuple[object, int, str]] = [
    (b"{", 2, "no JSON"),
    (b"\xff", 1, "no JSON"),
    (b"[" * 100_000, 1, "more than"),
    (b"[" * 30_000, 1, "no JSON"),
    ([], 1, "no isolation"),
    ({**ROW, "who": 1}, 1, "unknown key 'who'"),
    ({**ROW, "scope": "a/b"}, 1, "nobody can be isolated"),
    ({**ROW, "scope": 7}, 1, "'scope' is no text"),
    ({**ROW, "reason": ["x"]}, 1, "no text"),
    ({**ROW, "reason": "x" * 1001}, 1, "'reason' is no text, or too long"),
    ({**ROW, "value": ""}, 1, "empty or overlong"),
    ({**ROW, "value": "\ud83d"}, 1, "empty or overlong"),
    ({**ROW, "value": "x" * 4097}, 1, "empty or overlong"),
    ({**ROW, "value": None}, 1, "empty or overlong"),
    ({**ROW, "name": "other"}, 1, "does not look at"),
    ({**ROW, "kind": "moon"}, 1, "is no key"),
    ({**ROW, "key": "cookie session"}, 1, "not at all, or twice"),
    ({"scope": "shop/web", "value": "x"}, 1, "not at all, or twice"),
    ({**ROW, "for": "soon"}, 1, "no span of time"),
    ({**ROW, "for": "1h", "expires": None}, 1, "given twice"),
    ({**ROW, "expires": "soon"}, 1, "expires is no time"),
    ({**ROW, "target": "web:2"}, 1, "cannot be sent"),
    ({"scope": "shop/web", "kind": "address", "value": "x"}, 1, "is no client address"),
    (b'"' + b"x" * MAX_LINE + b'"', 1, "a line of more than"),
]


def test_every_wrong_line_is_tried() -> None:
    assert len(WRONG) == 24


@pytest.mark.parametrize(("row", "column", "expected"), WRONG, ids=[str(case[2]) for case in WRONG])
def test_a_wrong_line_is_named(row: object, column: int, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        read(ROW, row)
    assert (caught.value.position.line, caught.value.position.column) == (2, column)


def test_a_line_on_the_allowlist_is_refused() -> None:
    allowing = IsolationPolicy("web", "web:1", (SESSION,), allow=parse("cookie session = abc"))
    with pytest.raises(InputError, match="allowlist"):
        read(ROW, policy=allowing)


times = st.datetimes(datetime(2026, 1, 3), datetime(2099, 1, 1), timezones=st.just(UTC))
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
isolations = st.builds(
    Isolation,
    id=texts,
    scope=st.just("shop/web"),
    selector=st.just(SESSION),
    value=texts,
    target=st.just("web:1"),
    created=st.just(NOW) | times,
    expires=st.none() | times,
    by=st.just("me") | texts,
    reason=texts,
    cause=st.just("") | texts,
    parent=st.just("") | texts,
    simulated=st.booleans(),
)
some = settings(max_examples=100, deadline=None)


@some
@given(st.lists(isolations, min_size=1, max_size=5))
def test_a_batch_is_read_as_it_was_written(members: list[Isolation]) -> None:
    document = json.loads(json.dumps(to_document(members)))
    found = from_document(document, "b")
    assert found == members and {each.batch for each in found} == {"b"}


@some
@given(st.lists(texts, min_size=1, max_size=5))
def test_keys_that_differ_in_nothing_else_are_two_texts_each(values: list[str]) -> None:
    like = one()
    members = [Isolation(value, *_fields(like, value)) for value in values]
    document = to_document(members)
    assert document["fields"] == ("id", "value")
    assert from_document(json.loads(json.dumps(document)), "b") == members


def _fields(like: Isolation, value: str) -> tuple[Any, ...]:
    return like.scope, like.selector, value, like.target, like.created, like.expires, "me", "r"


@pytest.mark.parametrize(
    "document", [{}, {"common": {}, "fields": ["id"], "rows": [["x"]]}, {"common": 1, "fields": 2, "rows": 3}]
)
def test_what_is_no_batch_is_told(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        from_document(document, "b")


@some
@given(st.lists(isolations, max_size=4))
def test_what_is_exported_can_be_imported(found: list[Isolation]) -> None:
    made = Import({"shop/web": POLICY}, NOW - timedelta(days=9), "somebody", "b")
    for line in to_lines(found):
        assert line.endswith(b"\n")
        made.read(line)
    longest: dict[str, datetime | None] = {}
    for each in found:
        known = longest.setdefault(each.value, each.expires)
        longest[each.value] = None if None in (known, each.expires) else max(known, each.expires)  # type: ignore[type-var]
    assert {each.value: each.expires for each in made.isolations.values()} == longest
