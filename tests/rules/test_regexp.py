"""Regular expressions: against Python's on what both understand, and against hostile patterns and texts."""

from __future__ import annotations

import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.rules.filters.regexp import compile_regexp

ATOMS = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[a-c]", "\\.", "()"])
PATTERNS: st.SearchStrategy[str] = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(PATTERNS, st.text("abc.\n", max_size=6))
def test_it_agrees_with_pythons(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern, text, re.DOTALL) is not None
    assert compile_regexp(pattern, ignore_case=False)(text) is expected


@settings(max_examples=500, deadline=None)
@given(st.text('ab|*+?{}[]().\\"~&<>@#^-,19', max_size=20), st.text("ab", max_size=5))
def test_any_text_is_a_pattern_or_refused(pattern: str, text: str) -> None:
    try:
        compile_regexp(pattern, ignore_case=True)(text)
    except ValueError:
        pass


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", ".*.*.*.*b", "(.*a){20}b"])
def test_a_pattern_that_explodes_elsewhere_stays_linear(pattern: str) -> None:
    covers = compile_regexp(pattern, ignore_case=True)
    started = process_time()
    assert not covers("a" * 50_000)
    assert process_time() - started < 2


CASES: list[tuple[str, str, bool]] = [
    ("UNION", "union", True),
    ('"a.b"c', "a.bc", True),
    ('"a.b"c', "axbc", False),
    ("[]a]", "]", True),
    ("[a-]", "-", True),
    ("[\\]]", "]", True),
    ("", "", True),
    ("a|", "", True),
    ("É", "é", True),
    ("\\d+\\s\\w\\D", "12 a!", True),
    ("\\d", "d", False),
    ("@", "any\nthing", True),
    ("#", "", False),
    ("a|#", "a", True),
    ("~a", "b", True),
    ("~(a|b)", "b", False),
    ("~~a", "a", True),
    ("ab|~a", "ab", True),
    (".*a.*&.*b.*", "xbya", True),
    (".*a.*&.*b.*", "xaya", False),
    ("@&~(foo.+)", "foo", True),
    ("@&~(foo.+)", "food", False),
    ("<1-20>", "007", True),
    ("<1-20>", "21", False),
    ("<01-20>", "7", False),
    ("<1-999999999999>", "123456789012", True),
    ("<01-20>", "07", True),
    ("v<1-9>\\.<10-99>", "v3.14", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_lucenes_own_syntax(pattern: str, text: str, expected: bool) -> None:
    assert compile_regexp(pattern, ignore_case=True)(text) is expected


REFUSED = [
    *[
        "(",
        ")",
        "[a",
        "[b-a]",
        "a{",
        "a{2",
        "a{3,2}",
        "a{9999}",
        "*",
        "\\",
        "\\q",
        "[\\d]",
        "a~b",
        "(~a)*",
        "x(a&b)",
        "<1>",
        "<-9>",
        "<1-9",
        "a>",
        "<1-9999999999999>",
        '"a',
    ],
    "((((a{100}){100}){100}){100})",
    "(" * 50 + ")" * 50,
    "a" * 2000,
]


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        compile_regexp(pattern, ignore_case=True)


def test_cases_are_all_there() -> None:
    assert (len(CASES), len(REFUSED)) == (28, 24)


def test_nothing_repeated_a_thousand_times_a_thousand_times_takes_no_time() -> None:
    started = process_time()
    assert compile_regexp("((((){1000}){1000}){1000}){1000}a", ignore_case=False)("a")
    assert process_time() - started < 1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3500))
def test_an_interval_holds_the_numbers_in_it(one: int, other: int, number: int) -> None:
    low, high = sorted((one, other))
    inside = compile_regexp(f"<{low}-{high}>", ignore_case=False)(str(number))
    same_width = len(str(low)) == len(str(high))
    assert inside is (low <= number <= high and (not same_width or len(str(number)) == len(str(low))))
