"""`include`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Rule
from divertor.rules.running.projection import project

DOC: dict[str, Any] = {
    "_id": "1",
    "@timestamp": "t",
    "a": {"b": {"c": 1, "d": 2}, "e": 3},
    "items": [{"type": "x", "n": 1}, {"type": "y", "n": 2}],
    "dotted.name": 4,
}
BASE = {"_id": "1", "@timestamp": "t"}

CASES: list[tuple[list[str], dict[str, Any]]] = [
    ([], {"a": DOC["a"], "items": DOC["items"], "dotted.name": 4}),
    (["*"], {"a": DOC["a"], "items": DOC["items"], "dotted.name": 4}),
    (["a.b.c"], {"a": {"b": {"c": 1}}}),
    (["a.b"], {"a": {"b": {"c": 1, "d": 2}}}),
    (["a.*.c"], {"a": {"b": {"c": 1}}}),
    (["a*"], {"a": DOC["a"]}),
    (["items.type"], {"items": [{"type": "x"}, {"type": "y"}]}),
    (["dotted.name"], {"dotted.name": 4}),
    (["gone"], {}),
    (["*.e"], {"a": {"e": 3}}),
]


@pytest.mark.parametrize(("include", "expected"), CASES)
def test_include_selects(include: list[str], expected: dict[str, Any]) -> None:
    assert project(DOC, include) == {**BASE, **expected}


def test_cases_are_all_there() -> None:
    assert len(CASES) == 10


def test_a_match_has_the_fields_its_rule_goes_by(
    rule: Callable[..., Rule], event: Callable[..., Event]
) -> None:
    goes_by = {
        "query_key": "q",
        "aggregation": {"minutes": 1},
        "aggregation_key": "g",
        "top_count_keys": ["t"],
    }
    engine = Engine([rule(include=["i"], type="blacklist", compare_key="c", blacklist=["x"], **goes_by)])
    one = event(0, i=1, q=2, g=3, t=4, c="x", other=5)
    (match,) = engine.push(one, one.received)
    assert match.document.keys() & set("iqgtc") == set("iqgtc") and "other" not in match.document
