"""A condition's patterns: against Python's own on what both understand, and what is refused."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.automaton import compile_tree
from divertor.conditions.regexp import MAX_SIZE, read_pattern, to_re2

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        ".",
        "[ab]",
        "[^a]",
        "[a-c-]",
        "[\\]^]",
        "\\.",
        "\\d",
        "\\W",
        "[\\w.]",
        "\\xe9",
        "(?:)",
        "\\\\",
    ]
)
PATTERNS: st.SearchStrategy[str] = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)
BYTES = st.lists(
    st.sampled_from([b"a", b"b", b"A", b"\xc3\xa9", b"\xe9", b".", b"1", b"-", b"]", b"\n", b"\\"])
)


def covers(pattern: str, value: bytes) -> bool:
    return compile_tree(read_pattern(pattern), max_states=10_000)(value.decode("latin-1"))


@settings(max_examples=500, deadline=None)
@given(PATTERNS, BYTES.map(b"".join), st.sampled_from(["", "(?i)"]))
def test_a_pattern_means_what_it_means_to_python_over_bytes(pattern: str, value: bytes, flag: str) -> None:
    """A byte pattern of Python's has `é` as two bytes that a repetition would tear apart: hence the group."""
    written = flag + pattern.replace("é", "(?:é)")
    assert covers(flag + pattern, value) is bool(re.fullmatch(written.encode(), value, re.DOTALL))


@settings(max_examples=300, deadline=None)
@given(PATTERNS, BYTES.map(b"".join))
def test_what_envoy_gets_means_the_same(pattern: str, value: bytes) -> None:
    written = to_re2(read_pattern(pattern)).encode("latin-1")
    assert covers(pattern, value) is bool(re.fullmatch(written, value, re.DOTALL))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^a", "no ^ is needed: a pattern covers the whole value (character 1 of the pattern)"),
        ("a$", "no $ is needed"),
        ("a\\b", "\\b is not supported (character 3 of the pattern)"),
        ("(a)\\1", "\\1 is not supported"),
        ("\\pL", "\\p is not supported"),
        ("(?=a)", "only (?: is supported"),
        ("a(?i)b", "only (?: is supported"),
        ("(?P<n>a)", "only (?: is supported"),
        ("a*?", "a repetition of a repetition"),
        ("a++", "a repetition of a repetition"),
        ("*a", "* in an unexpected place"),
        ("a{", "a repetition without a number"),
        ("a{2", "{ without an end"),
        ("a{3,2}", "not within 0 to 1000"),
        ("a{1001}", "not within 0 to 1000"),
        ("(?:a{40}){40}", "more than 1000 repetitions"),
        ("a{400}b{400}", f"larger than {MAX_SIZE} characters"),
        ("a}", "} in an unexpected place"),
        ("(a", "( without an end (character 1 of the pattern)"),
        ("a)", "a ) too many"),
        ("[a", "[ without an end"),
        ("[]", "[] holds nothing"),
        ("[[:alpha:]]", "[ inside a class"),
        ("[c-a]", "the range c-a is backwards"),
        ("[é]", "a class holds ASCII characters only"),
        ("[\\D]", "\\D is not supported"),
        ("\\xg0", "\\x takes two hexadecimal digits"),
        ("a\\", "a backslash without an end"),
        ("(" * 33 + ")" * 33, "groups nested more than 32 deep"),
        ("a" * 1025, "a pattern longer than 1024 characters"),
    ],
)
def test_what_could_be_judged_differently_elsewhere_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*a){20}b", "(?:a?){100}b"])
def test_no_value_makes_a_pattern_slow(pattern: str) -> None:
    started = time.process_time()
    assert not covers(pattern, b"a" * 20_000)
    assert time.process_time() - started < 2
