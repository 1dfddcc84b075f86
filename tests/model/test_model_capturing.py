"""Patterns with groups: Python's `re` agrees, and nothing takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.model.capturing import captured, check_pattern

PIECES = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "1", ""]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("(?:{})".format, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}b){}".format, inner, st.sampled_from(["*", "+", "?", "{1,2}"])),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(PIECES, st.text("ab1", max_size=6))
def test_groups_match_what_they_match_in_python(pattern: str, text: str) -> None:
    wanted = re.fullmatch(pattern, text, re.DOTALL)
    found = captured(pattern, text)
    assert (found is None) == (wanted is None)
    if wanted is not None:
        assert found == tuple(group for group in wanted.groups() if group is not None)


def test_a_pattern_covers_the_whole_text() -> None:
    assert captured("sava:1.(.*)", "sava:1.0.2") == ("0.2",)
    assert captured("sava", "sava:1") is None


def test_text_beyond_ascii_comes_back_as_it_was() -> None:
    assert captured("ü(.*)", "üñ→") == ("ñ→",)


@pytest.mark.parametrize("pattern", ["(()()()()()()){900}", "((((.)*)*)*", "(?=a)", "^a$"])
def test_a_pattern_that_is_none_or_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="."):
        check_pattern(pattern)


def test_a_pattern_that_explodes_where_one_backtracks_is_decided_at_once() -> None:
    began = time.process_time()
    assert captured("((a|a)*b|(a*)c)*", "a" * 250) is None
    assert captured("(a*)*(a*)*(a*)*c?", "a" * 250) is not None
    assert time.process_time() - began < 1


def test_a_text_longer_than_any_label_matches_nothing() -> None:
    assert captured(".*", "a" * 257) is None
