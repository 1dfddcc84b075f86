"""Dotted names as nested maps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.ingest.values import finite, nest

CASES: list[tuple[list[tuple[str, Any]], dict[str, Any]]] = [
    ([("a.b.c", 1), ("a.b.d", 2), ("e", 3)], {"a": {"b": {"c": 1, "d": 2}}, "e": 3}),
    ([("a", 1), ("a.b", 2)], {"a": 1, "a.b": 2}),
    ([("a.b", 2), ("a", 1)], {"a": 1, "a.b": 2}),
    ([("a", {"x": 1}), ("a.b", 2)], {"a": {"x": 1}, "a.b": 2}),
    ([("a..b", 1), (".a", 2), ("a.", 3), ("", 4)], {"a..b": 1, ".a": 2, "a.": 3, "": 4}),
    ([("a", 1), ("a", 2)], {"a": 1}),
    ([(".".join("a" * 17), 1)], {".".join("a" * 17): 1}),
]


@pytest.mark.parametrize(("attributes", "expected"), CASES)
def test_names_with_dots_are_nested(attributes: list[tuple[str, Any]], expected: dict[str, Any]) -> None:
    assert len(CASES) == 7
    assert nest(attributes) == expected


@given(st.dictionaries(st.text("ab.", max_size=6), st.integers()))
def test_no_value_is_lost(attributes: dict[str, int]) -> None:
    nested = nest(attributes.items())
    for name, value in attributes.items():
        assert value in (nested.get(name), _walk(nested, name))


def _walk(nested: Any, name: str) -> Any:
    for part in name.split("."):
        nested = nested.get(part) if isinstance(nested, dict) else None
    return nested


@given(st.floats())
def test_a_number_json_has_not_becomes_its_name(number: float) -> None:
    result = finite(number)
    assert result == number if isinstance(result, float) else result in ("nan", "inf", "-inf")
