"""`type: blacklist` and `type: whitelist` through the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule

Events = Callable[..., Event]
Rules = Callable[..., Rule]


@pytest.fixture
def fires(rule: Rules, event: Events) -> Callable[..., bool]:
    """`fires("blacklist", ["a"], user="a")`: whether an event with these fields matches."""

    def ask(kind: str, entries: list[str], options: dict[str, Any] | None = None, **fields: Any) -> bool:
        given = {"compare_key": "user", **(options or {})}
        one = event(0, **fields)
        return bool(Engine([rule(type=kind, **{kind: entries}, **given)]).push(one, one.received))

    return ask


def test_a_value_on_the_blacklist_matches(fires: Callable[..., bool]) -> None:
    assert fires("blacklist", ["a", "b"], user="b")
    assert not fires("blacklist", ["a", "b"], user="c")


def test_a_number_is_on_the_list_as_it_is_written(fires: Callable[..., bool]) -> None:
    assert fires("blacklist", ["5"], user=5)
    assert not fires("whitelist", ["5"], user=5)


def test_one_element_on_the_blacklist_is_enough(fires: Callable[..., bool]) -> None:
    assert fires("blacklist", ["a"], user=["b", "a"])


def test_each_element_has_to_be_on_the_whitelist(fires: Callable[..., bool]) -> None:
    assert fires("whitelist", ["a"], user=["b", "a"])
    assert not fires("whitelist", ["a", "b"], user=["b", "a"])


def test_no_value_is_on_no_blacklist(fires: Callable[..., bool]) -> None:
    assert not fires("blacklist", ["null", "None", ""])


@pytest.mark.parametrize("fields", [{}, {"user": None}, {"user": []}])
def test_no_value_is_on_no_whitelist_either(fires: Callable[..., bool], fields: dict[str, Any]) -> None:
    assert fires("whitelist", ["a"], **fields)
    assert not fires("whitelist", ["a"], {"ignore_null": True}, **fields)


def test_any_of_several_compare_keys_may_be_on_the_blacklist(fires: Callable[..., bool]) -> None:
    assert fires("blacklist", ["a"], {"compare_key": ["user", "by"]}, user="x", by="a")


def test_all_of_several_compare_keys_have_to_be_on_the_whitelist(fires: Callable[..., bool]) -> None:
    assert fires("whitelist", ["a"], {"compare_key": ["user", "by"]}, user="a", by="x")
    assert not fires("whitelist", ["a"], {"compare_key": ["user", "by"]}, user="a", by="a")


def test_an_entry_that_makes_no_sense_is_refused_with_its_place(rule: Rules) -> None:
    with pytest.raises(InputError, match="blacklist: '/a\\(/'") as refused:
        rule(type="blacklist", compare_key="user", blacklist=["fine", "/a(/"])
    assert refused.value.position.line == 1
