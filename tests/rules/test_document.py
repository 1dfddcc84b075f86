"""Field lookup, words and flattening."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.model.events import Event
from divertor.rules.document import Document, lookup, roots, words

DOC: dict[str, Any] = {
    "a": {"b": {"c": 1}, "b.c": 2, "list": [{"x": 1}, {"x": 2}, {"y": 3}]},
    "a.flat": 3,
    "many": list(range(20)),
    "word.keyword": "own",
    "false": False,
    "null": None,
}

LOOKUPS = [
    ("a.b.c", 2),
    ("a.flat", 3),
    ("a.list[1].x", 2),
    ("a.list.x", [1, 2]),
    ("a.list.z", None),
    ("many[11]", 11),
    ("many[99]", None),
    ("a.b.keyword", {"c": 1}),
    ("word.keyword", "own"),
    ("false", False),
    ("null", None),
    ("a.b.c.d", None),
    ("", None),
]


@pytest.mark.parametrize(("path", "value"), LOOKUPS)
def test_lookup_finds(path: str, value: Any) -> None:
    assert lookup(DOC, path) == value


def test_lookups_are_all_there() -> None:
    assert len(LOOKUPS) == 13


def test_words_are_cut_like_full_text() -> None:
    assert words("' UNION/**/select-1, 10.0.0.1 www.Example.com can't v1.x a_b") == (
        "union", "select", "1", "10.0.0.1", "www.example.com", "can't", "v1", "x", "a_b",
    )  # fmt: skip


def test_a_bottomless_document_is_cut_off_not_followed() -> None:
    deep: dict[str, Any] = {"leaf": "needle"}
    for _ in range(5000):
        deep = {"a": [deep]}
    assert "needle" not in Document(deep).all_words()


def test_values_flatten_nested_lists_and_leave_mappings_out() -> None:
    assert Document({"a": [1, [2, None], {"b": 3}]}).values("a") == (1, 2)


NAMES = st.sampled_from(
    ["a", "b", "a.b", "a[1]", "type", "tags", "value", "_id", "_index", "@timestamp", "x.keyword"]
)
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["x", "y z", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join) | NAMES.map(lambda name: f"{name}.keyword")


@given(
    body=st.dictionaries(NAMES, VALUES, max_size=4),
    own=st.sampled_from([((), (), None), (("i",), ("t", "u"), {"a": 1}), (("i", "j"), (), 5)]),
    path=PATHS,
)
def test_looking_without_the_whole_document_finds_the_same(
    body: dict[str, Any], own: tuple[tuple[str, ...], tuple[str, ...], Any], path: str
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    indices, tags, value = own
    event = Event("1", "log", moment, moment, indices, tags, value, body)
    found = lookup(event.document(), path)
    assert Document.of(event).get(path) == found
    assert found is None or not roots(path).isdisjoint(event.document())


def test_a_path_of_many_names_is_cut_off_not_followed() -> None:
    assert lookup({"a": 1}, ".".join("a" * 100_000)) is None
