"""Fuzzy words and sloppy phrases, against slow and obvious versions of both."""

from __future__ import annotations

from itertools import product
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.filters.fuzzy import automatic_edits, in_sloppy_row, within


def distance(one: str, other: str) -> int:
    """Optimal string alignment, the whole table."""
    table = [[max(row, column) for column in range(len(other) + 1)] for row in range(len(one) + 1)]
    for row, column in product(range(1, len(one) + 1), range(1, len(other) + 1)):
        change = one[row - 1] != other[column - 1]
        table[row][column] = min(
            table[row - 1][column] + 1, table[row][column - 1] + 1, table[row - 1][column - 1] + change
        )
        if row > 1 and column > 1 and one[row - 2 : row] == other[column - 2 : column][::-1]:
            table[row][column] = min(table[row][column], table[row - 2][column - 2] + 1)
    return table[-1][-1]


@settings(max_examples=600, deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 2))
def test_words_within_some_edits_are_those_of_the_whole_table(one: str, other: str, edits: int) -> None:
    assert within(one, other, edits) is (distance(one, other) <= edits)


def sloppy(have: list[str], wanted: list[str], slop: int) -> bool:
    for places in product(range(len(have)), repeat=len(wanted)):
        offsets = [place - at for at, place in enumerate(places)]
        fits = all(have[place] == word for place, word in zip(places, wanted, strict=True))
        if fits and len(set(places)) == len(places) and max(offsets) - min(offsets) <= slop:
            return True
    return False


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.sampled_from("abcx"), max_size=7),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True),
    st.integers(0, 5),
)
def test_sloppy_phrases_are_those_of_the_naive_search(have: list[str], wanted: list[str], slop: int) -> None:
    assert in_sloppy_row(have, wanted, slop) is sloppy(have, wanted, slop)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from("ab"), max_size=6),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=3),
    st.integers(0, 4),
)
def test_a_word_asked_for_twice_has_to_be_there_twice(have: list[str], wanted: list[str], slop: int) -> None:
    if in_sloppy_row(have, wanted, slop):
        assert all(have.count(word) >= wanted.count(word) for word in wanted)
    if sloppy(have, wanted, slop) and sorted(wanted) == sorted(set(wanted)):
        assert in_sloppy_row(have, wanted, slop)


@pytest.mark.parametrize(("length", "edits"), [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2), (50, 2)])
def test_how_many_edits_a_word_allows_goes_by_its_length(length: int, edits: int) -> None:
    assert automatic_edits(length) == edits


def test_a_hostile_value_takes_linear_time() -> None:
    started = process_time()
    assert not within("ab" * 20_000, "ab" * 20, 2)
    assert not in_sloppy_row(["a", "b"] * 20_000 + ["c"], ["c", "a", "c"], 3)
    assert process_time() - started < 1
