"""The kinds of aggregates: merging is adding, percentiles beyond their bound are near, all are bounded."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.types import aggregates
from divertor.rules.types.aggregates import KINDS, MAX_SAMPLE, Different, Percentile, number_of
from divertor.rules.types.deadlines import Deadlines

numbers = st.lists(st.integers(-100, 100), max_size=30)


@settings(max_examples=200)
@given(st.sampled_from(sorted(KINDS)), numbers, numbers)
def test_merging_two_is_adding_all(kind: str, one: list[int], other: list[int]) -> None:
    make: Callable[[float], Any] = KINDS[kind]
    first, second, together = make(75), make(75), make(75)
    for aggregate, values in ((first, one), (second, other), (together, one + other)):
        for value in values:
            aggregate.add(value)
    first.merge(second)
    assert first.value() == together.value()
    assert pickle.loads(pickle.dumps(first)).value() == together.value()


@pytest.mark.parametrize("rank", [0, 1, 50, 95, 99.9, 100])
def test_a_percentile_of_many_values_is_off_by_a_twentieth_of_a_percent(rank: float) -> None:
    count, random = 20 * MAX_SAMPLE, Random(1)
    values = list(range(count))
    random.shuffle(values)
    found = Percentile(rank)
    for value in values:
        found.add(value)
    number = found.value()
    assert number is not None
    assert abs(number - (count - 1) * rank / 100) <= count * 0.0005 * 2
    assert sum(map(len, found.levels)) <= 3 * MAX_SAMPLE


def test_a_percentile_is_exact_up_to_its_bound() -> None:
    found = Percentile(50)
    for value in range(MAX_SAMPLE):
        found.add(value)
    assert found.value() == (MAX_SAMPLE - 1) / 2


def test_a_cardinality_stops_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "MAX_DIFFERENT", 10)
    one, other = Different(), Different()
    for value in range(20):
        (one if value % 2 else other).add(value)
    one.merge(other)
    assert one.value() == 10


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), (1.5, 1.5), ("2.5", 2.5), ("x", None), (True, None), (None, None), (1e31, None)]
    + [(float("nan"), None), ("inf", None), ("9" * 65, None), ({}, None)]
    + [(10**400, None), (-(10**400), None)],
)
def test_numbers_and_texts_that_are_some_count(value: Any, number: float | None) -> None:
    assert number_of(value) == number


moments = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=20)


@given(moments, st.lists(st.integers(0, 300), max_size=8))
def test_each_key_is_due_by_its_moment_and_at_most_a_slot_before(
    asked: list[tuple[str, int]], ticks: list[int]
) -> None:
    deadlines = Deadlines(10)
    waiting: dict[str, int] = {}
    for key, moment in asked:
        if key in waiting:
            deadlines.drop(key, waiting[key] // 10)
        deadlines.set(key, moment)
        waiting[key] = moment
    for now in sorted(ticks):
        due = deadlines.due(now)
        assert set(due) == {key for key, moment in waiting.items() if moment // 10 <= now // 10}
        waiting = {key: moment for key, moment in waiting.items() if key not in due}
