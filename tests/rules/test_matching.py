"""Leaves of queries against single values."""

from __future__ import annotations

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.document import Document
from divertor.rules.filters.matching import Bounds, Glob, Wild, glob_pattern, nearly, range_test, whole_value

NOWHERE = Document({})
PIECES: list[str | Wild] = ["a", "b", "ab", Wild.MANY, Wild.ONE]
GLOBS: st.SearchStrategy[Glob] = st.lists(st.sampled_from(PIECES), max_size=7).map(tuple)


def naive_glob(glob: Glob, text: str) -> bool:
    if not glob:
        return not text
    head, rest = glob[0], glob[1:]
    if head is Wild.MANY:
        return any(naive_glob(rest, text[cut:]) for cut in range(len(text) + 1))
    if head is Wild.ONE:
        return bool(text) and naive_glob(rest, text[1:])
    return text.startswith(str(head)) and naive_glob(rest, text[len(str(head)) :])


@settings(max_examples=400, deadline=None)
@given(
    GLOBS,
    st.text("ab\n", max_size=12),
)
def test_globs_match_as_the_naive_matcher_says(glob: Glob, text: str) -> None:
    assert (glob_pattern(glob, ignore_case=False).fullmatch(text) is not None) == naive_glob(glob, text)


def test_a_glob_full_of_stars_is_judged_in_time_on_a_hostile_value() -> None:
    hostile: Glob = (Wild.MANY, "a") * 30 + (Wild.MANY, "b")
    pattern = glob_pattern(hostile, ignore_case=False)
    started = process_time()
    assert pattern.fullmatch("a" * 50_000) is None
    assert process_time() - started < 1


def test_a_word_that_is_repeated_is_compared_once() -> None:
    test, value = nearly("needle", 1, whole_only=False), "naedla " * 200_000
    begin = process_time()
    assert not test(value, NOWHERE)
    assert process_time() - begin < 0.8


def test_numbers_are_compared_as_numbers_and_text_as_text() -> None:
    tens = range_test(Bounds(low="9", high="100"))
    assert tens(10, NOWHERE) and tens("10", NOWHERE) and not tens(8.5, NOWHERE)
    assert range_test(Bounds(low="b", high="d"))("c", NOWHERE)


def test_a_number_outside_a_text_range_is_not_compared_as_text() -> None:
    assert not range_test(Bounds(low="a"))(5, NOWHERE)


def test_times_with_different_zones_are_compared_as_times() -> None:
    inside = range_test(Bounds(low="2026-01-01T12:00:00+02:00", include_low=False))
    assert inside("2026-01-01T10:00:01Z", NOWHERE) and not inside("2026-01-01T10:00:00Z", NOWHERE)


def test_a_number_equals_its_other_spellings() -> None:
    assert whole_value("5.0")(5, NOWHERE) and whole_value("5")(5.0, NOWHERE)
    assert not whole_value("1")(True, NOWHERE)
