"""Field lookup, words and flattening."""

from __future__ import annotations

from typing import Any

import pytest

from divertor.rules.document import Document, lookup, words

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
