"""Events read in part are judged as events read whole: the same notifications, whatever rules and events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.bus import Batch
from divertor.bus.decoding import Reader, decode
from divertor.control.judging import Judge
from divertor.model.events import Event
from divertor.rules import Rule, load_rule
from divertor.rules.document import Document
from divertor.rules.filters.filter import Filter
from divertor.rules.notification import notification_to_json
from divertor.rules.rule import Clock
from divertor.rules.running.index import FilterIndex
from divertor.rules.running.observing import View


def rule_filter(query: str) -> Filter:
    options = {"type": "any", "filter": [{"query_string": {"query": query}}]}
    return rule(0, options).filter


def rule(number: int, options: dict[str, Any]) -> Rule:
    base = {"name": f"r{number}", "index": "logs", "alert": "debug"}
    return load_rule(json.dumps(base | options), f"r{number}.yaml")


QUERIES = (
    "a:x", "a.b:x", "a.b.keyword:x", "x", "NOT x", "NOT a:x", "_exists_:c", "a:* AND b:5", "*:x", "a.\\\\*:x",
    "b:[2 TO 6]", "tags:x", "tags.keyword:x", "type:log", "type.keyword:log", "_id:1", "value:5",
    "l.b:x", "é:x", "a:/x+/", "(a:x OR c:x) AND NOT b:5",
)  # fmt: skip
FILTERS: st.SearchStrategy[list[Any]] = st.lists(
    st.sampled_from(QUERIES).map(lambda query: {"query_string": {"query": query}})
    | st.sampled_from(
        [
            {"term": {"a": "x"}},
            {"term": {"l[1].b": "x"}},
            {"exists": {"field": "a"}},
            {"eql": "any where b > 3"},
        ]
    ),
    max_size=2,
)
FIELDS = st.sampled_from(("a", "a.b", "b", "c", "l[0].b", "tags", "type", "_id", "value", "é"))
WINDOW = {"timeframe": {"minutes": 5}}
TYPES = (
    st.just({"type": "any"})
    | st.builds(
        lambda keep: {"type": "frequency", "num_events": 2, "attach_related": keep, **WINDOW}, st.booleans()
    )
    | FIELDS.map(lambda name: {"type": "new_term", "fields": [name], "alert_on_missing_field": True})
    | FIELDS.map(
        lambda name: {"type": "cardinality", "cardinality_field": name, "max_cardinality": 1, **WINDOW}
    )
    | FIELDS.map(lambda name: {"type": "blacklist", "compare_key": name, "blacklist": ["x", "5"]})
    | FIELDS.map(
        lambda name: {"type": "whitelist", "compare_key": name, "whitelist": ["x"], "ignore_null": True}
    )
    | FIELDS.map(lambda name: {"type": "change", "compare_key": name, "query_key": "c", "ignore_null": False})
)
OPTIONS = st.builds(
    lambda kind, filters, key, include, clock: (
        {"filter": filters} | ({"query_key": key} if key else {}) | include | clock | kind
    ),
    TYPES,
    FILTERS,
    st.none() | FIELDS | st.lists(FIELDS, min_size=2, max_size=2, unique=True),
    st.sampled_from(({}, {"include": ["c"]}, {"include": ["a.*"]})),
    st.sampled_from(({}, {"timestamp_field": "at"}, {"timestamp_field": "a.b"}, {"realert": {"minutes": 0}})),
)

PATHS = (
    "type.keyword",
    "tags[0]",
    "value.a",
    "a",
    "a.b",
    "a.b.keyword",
    "l[1].b",
    "l.b",
    "tags",
    "tags.keyword",
    "type",
    "value",
    "_index",
    "_id",
    "é",
)
INDEX = FilterIndex([rule_filter(f"{path}:x") for path in PATHS if "[" not in path])

LEAVES = st.sampled_from(("x", "X y", 5, 5.0, True, None, "2026-01-01T00:00:03Z", "\ud800", "é"))
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
BODIES = st.dictionaries(
    st.sampled_from(
        (
            "a",
            "a.b",
            "b",
            "c",
            "l",
            "l[1]",
            "at",
            "tags",
            "tags[0]",
            "type",
            "type.keyword",
            "value",
            "é",
            "_index",
        )
    ),
    VALUES,
    max_size=4,
)
RECORDS = st.fixed_dictionaries(
    {"body": BODIES, "tags": st.sampled_from(((), ("x",))), "value": st.sampled_from((None, 5))}
)


def line(number: int, record: dict[str, Any], pure: bool) -> bytes:
    moment = f"2026-01-01T00:00:{number % 60:02}.000000Z"
    fixed = {"id": str(number), "type": "log", "timestamp": moment, "received": moment, "indices": ["logs"]}
    # As our own bus writes it, and as others may.
    return json.dumps(fixed | record, ensure_ascii=pure).encode("utf-8", "replace")


def judged(
    rules: list[Rule], messages: list[bytes], read: Callable[[bytes], tuple[list[Event], int]]
) -> list[Any]:
    judge = Judge(rules)
    found = [
        notification_to_json(one)
        for seq, message in enumerate(messages, start=1)
        for one in judge.take(Batch(seq, tuple(read(message)[0]), 0))
    ]
    health = {name: one.fault for name, one in judge.engine.health().items()}
    counts = {name: judge.engine.counted(name) for name in health}
    return [found, health, counts]


@given(
    options=st.lists(OPTIONS, min_size=1, max_size=4),
    records=st.lists(st.lists(RECORDS, min_size=1, max_size=3), max_size=4),
    pure=st.booleans(),
)
def test_in_part_is_judged_as_whole(
    options: list[dict[str, Any]], records: list[list[dict[str, Any]]], pure: bool
) -> None:
    rules = [rule(number, one) for number, one in enumerate(options)]
    messages = [
        b"\n".join(line(10 * batch + place, one, pure) for place, one in enumerate(found))
        for batch, found in enumerate(records)
    ]
    assert judged(rules, messages, Reader().decode) == judged(rules, messages, decode)


@pytest.mark.parametrize("path", PATHS)
@given(record=RECORDS, roots=st.frozensets(st.sampled_from(("a", "a.b", "l", "tags", "value", "é"))))
def test_in_part_has_the_same_at_each_place(path: str, record: dict[str, Any], roots: frozenset[str]) -> None:
    reader, message = Reader(), line(1, record, pure=True)
    reader.wish(roots)

    def seen(events: list[Event]) -> str:
        (event,) = events
        one, other = Document.of(event), Document.of(event)
        return repr(
            (one.values(path), one.get(path), other.exists(path), sorted(map(repr, other.all_values())))
        )

    assert seen(reader.decode(message)[0]) == seen(decode(message)[0])


@given(record=RECORDS, roots=st.frozensets(st.sampled_from(("a", "a.b", "l"))))
def test_in_part_is_found_by_the_index(record: dict[str, Any], roots: frozenset[str]) -> None:
    reader, message = Reader(), line(1, record, pure=True)
    reader.wish(roots)
    found = [INDEX.candidates(Document.of(read(message)[0][0])) for read in (reader.decode, decode)]
    assert found[0] == found[1]


@given(value=LEAVES, place=st.sampled_from(("a", "b", "é")))
def test_in_part_has_the_same_key(value: Any, place: str) -> None:
    message = line(1, {"body": {place: value}}, pure=True)
    view = View((place,), Clock())
    found = [view.observe(event, Document.of(event)) for event in (read(message) for read in (part, full))]
    assert found[0].key == found[1].key


def part(message: bytes) -> Event:
    return Reader().decode(message)[0][0]


def full(message: bytes) -> Event:
    return decode(message)[0][0]


def test_some_of_these_rules_alert() -> None:
    rules = [rule(0, {"type": "any", "filter": []})]
    found, health, _counts = judged(rules, [line(1, {"body": {"a": "x"}}, True)], Reader().decode)
    assert found and health == {"r0": ""}
