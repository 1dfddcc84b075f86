"""The index of filters: it finds every filter that an event passes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.documents import parse_documents
from divertor.model.events import Event
from divertor.rules.document import Document
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.filter import Anchor, Filter
from divertor.rules.running.index import FilterIndex

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "word " * 30 + "needle"


def passes(_document: Document) -> bool:
    return True


def anchored(*anchors: Anchor) -> Filter:
    return Filter(passes, frozenset(anchors))


FILTERS = [
    Filter(passes),
    anchored(Anchor("user", "root")),
    anchored(Anchor("host.name"), Anchor("user", "bin")),
    anchored(Anchor(None, "needle")),
    anchored(Anchor("code", "5")),
    anchored(Anchor("type", "log")),
    anchored(Anchor("tags", "a"), Anchor("value.x", "7")),
    anchored(),
    anchored(Anchor(None)),
    anchored(Anchor("list[1].x", "2")),
    anchored(Anchor("user.keyword", "root")),
]

CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, []),
    ({"user": "root"}, [1, 10]),
    ({"user": "The ROOT, of all"}, [1, 10]),
    ({"user": ["x", "bin"]}, [2]),
    ({"host": {"name": "h"}}, [2]),
    ({"host.name": "h"}, [2]),
    ({"host": {"name": {"inner": 1}}}, [2]),
    ({"host": {"name": None}}, []),
    ({"text": LONG}, [3]),
    ({"deep": [{"er": "a needle"}]}, [3]),
    ({"code": 5}, [4]),
    ({"code": "exit 5"}, [4]),
    ({"code": 5.5}, []),
    ({"list": [{"x": 1}, {"x": 2}]}, [9]),
    ({"list": [{"x": 2}, {"x": 1}]}, []),
]


@pytest.mark.parametrize(("body", "found"), CASES)
def test_an_event_finds_the_filters_it_could_pass(body: dict[str, Any], found: list[int]) -> None:
    event = Event("1", "log", NOW, NOW, body=body)
    assert FilterIndex(FILTERS).candidates(Document.of(event)) == sorted({0, 5, 8, *found})


def test_cases_are_all_there() -> None:
    assert len(CASES) == 15


def test_what_the_event_itself_says_is_found() -> None:
    event = Event("1", "alert", NOW, NOW, ("i",), ("a",), {"x": 7})
    assert FilterIndex(FILTERS).candidates(Document.of(event)) == [0, 6, 8]


def test_remembered_values_are_bounded_and_stay_right() -> None:
    index = FilterIndex(FILTERS)
    for number in range(10_000):
        assert index.candidates(Document({"user": f"u{number}"})) == [0, 8]
    assert index.candidates(Document({"user": "root"})) == [0, 1, 8, 10]


TEXTS = st.sampled_from(
    ["5", "5.0", "foo", "Foo bar", "eu-west", "10.1.2.3", "10.0.0.0/8", "*oo", "true", "x" * 70]
)
FIELDS = st.sampled_from(["a", "b.c", "a.keyword", "tags", "type", "b.c[0]"])
LEAVES = (
    st.builds(
        lambda kind, field, text: {kind: {field: text}},
        st.sampled_from(["term", "match", "match_phrase", "wildcard", "prefix"]),
        FIELDS,
        TEXTS,
    )
    | st.builds(lambda field: {"exists": {"field": field}}, FIELDS)
    | st.builds(lambda text: {"query_string": {"query": json.dumps(text)}}, TEXTS)
)
QUERIES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda kind, parts: {"bool": {kind: parts}},
        st.sampled_from(["must", "should", "must_not"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=4,
)
VALUES = TEXTS | st.sampled_from([5, 5.0, True, None]) | st.lists(TEXTS, max_size=2)
BODIES = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": st.fixed_dictionaries({"c": VALUES}), "b.c": VALUES, "tags": VALUES}
)


@given(
    queries=st.lists(QUERIES, min_size=1, max_size=6),
    bodies=st.lists(BODIES, min_size=1, max_size=4),
    tags=st.lists(st.sampled_from(["foo", "5"]), max_size=2),
)
def test_the_index_finds_what_trying_every_filter_finds(
    queries: list[Any], bodies: list[dict[str, Any]], tags: list[str]
) -> None:
    nodes = [parse_documents(json.dumps([query]), "f")[0] for query in queries]
    filters = [compile_filter(node, []) for node in nodes]
    index = FilterIndex(filters)
    for body in bodies:
        document = Document.of(Event("1", "foo", NOW, NOW, ("i",), tuple(tags), body=body))
        found = {place for place in index.candidates(document) if filters[place].test(document)}
        assert found == {place for place, one in enumerate(filters) if one.test(document)}
