"""Names as keys of the broker."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from divertor.bus.keys import MAX_LENGTH, key_of, name_of
from divertor.errors import InputError


@given(st.text(st.characters(), max_size=200))
def test_every_name_comes_back(name: str) -> None:
    assert name_of(key_of("gateway", name)) == ("gateway", name)


@given(st.text(st.characters(), max_size=200))
def test_every_key_is_two_tokens_of_characters_the_broker_takes(name: str) -> None:
    assert re.fullmatch(r"gateway\.[A-Za-z0-9_/=-]+", key_of("gateway", name))


@given(st.lists(st.text("=ab.A0 é", max_size=6), unique=True, max_size=20))
def test_no_two_names_share_a_key(names: list[str]) -> None:
    assert len({key_of("k", name) for name in names}) == len(names)


def test_a_name_that_is_too_long_is_refused() -> None:
    assert key_of("k", "x" * MAX_LENGTH)
    with pytest.raises(InputError, match="too long"):
        key_of("k", "x" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("kind", ["", "Upper", "a.b", "a b", ">", "*"])
def test_a_kind_that_is_no_word_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="no kind of state"):
        key_of(kind, "x")


@pytest.mark.parametrize("key", ["", "plain", "kind."])
def test_a_key_of_somebody_else_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no key of the state"):
        name_of(key)
