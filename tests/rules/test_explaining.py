"""Why a rule fired or did not, decision by decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Rule
from divertor.rules.filters.filter import Explanation
from divertor.rules.running.explaining import Outcome, explain

Build = Callable[..., Event]
Make = Callable[..., Rule]


def texts(explanation: Explanation) -> list[tuple[str, bool, str]]:
    inner = [line for part in explanation.parts for line in texts(part)]
    return [(explanation.text, explanation.passed, explanation.found), *inner]


def test_each_clause_is_told_with_what_the_event_has_there(rule: Make, event: Build) -> None:
    made = rule(filter=[{"query_string": {"query": "user:bob AND (status:>=500 OR NOT path:/x.*/)"}}])
    verdict = explain(made, event(1, user="Bob", status=200, path="/a"))
    assert texts(verdict.explanation) == [
        ("user:bob AND (status:>=500 OR NOT path:/x.*/)", False, ""),
        ("user:bob", True, "Bob"),
        ("(status:>=500 OR NOT path:/x.*/)", False, ""),
        ("status:>=500", False, "200"),
        ("not path:/x.*/", True, ""),
        ("path:/x.*/", False, "/a"),
    ]


def test_a_field_that_is_not_there_is_told(rule: Make, event: Build) -> None:
    verdict = explain(rule(filter=[{"term": {"user": "x"}}]), event(1))
    assert texts(verdict.explanation) == [("term user: x", False, "no value")]


OUTCOMES: list[tuple[dict[str, Any], dict[str, Any], Outcome]] = [
    ({}, {}, Outcome.TOLD),
    ({"filter": [{"term": {"a": 1}}]}, {}, Outcome.FILTERED),
    ({"index": "other"}, {}, Outcome.OTHER_INDEX),
    ({"is_enabled": False}, {}, Outcome.DISABLED),
    ({"type": "frequency", "num_events": 5, "timeframe": {"minutes": 1}}, {}, Outcome.COUNTED),
    ({"type": "frequency", "num_events": 4, "timeframe": {"minutes": 1}}, {}, Outcome.TOLD),
    ({"realert": {"minutes": 9}}, {}, Outcome.HELD),
    ({"max_lateness": {"seconds": 1}}, {"received": 60}, Outcome.TOLD),
]


@pytest.mark.parametrize(("options", "arrival", "outcome"), OUTCOMES)
def test_what_became_of_the_event_is_told(
    options: dict[str, Any], arrival: dict[str, Any], outcome: Outcome, rule: Make, event: Build
) -> None:
    before = [event(second) for second in (1, 2, 3)]
    assert explain(rule(**options), event(4, **arrival), before).outcome is outcome


def test_the_stream_before_is_counted_and_measured(rule: Make, event: Build) -> None:
    made = rule(
        type="frequency",
        num_events=9,
        timeframe={"minutes": 1},
        query_key="u",
        filter=[{"term": {"a": 1}}],
        recovery={"below": 5},
    )
    before = [event(second, u="x", a=second % 2) for second in (1, 2, 3)]
    verdict = explain(made, event(4, u="x", a=1), before)
    assert (verdict.before, verdict.passed, verdict.key) == (3, 2, "x")
    assert verdict.number == 3.0


def test_cases_are_all_there() -> None:
    assert len(OUTCOMES) == 8
