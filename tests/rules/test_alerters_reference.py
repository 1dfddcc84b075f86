"""The page about alerters has a section for each, with exactly the options that it declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from divertor.rules.alerters import ACTIONS, ALERTERS, MESSENGERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "alerters.md"


def sections() -> dict[str, str]:
    """The text of each section by its heading."""
    _head, *parts = re.split(r"^## (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def listed(section: str, word: str) -> set[str]:
    """The options in the paragraph that begins so."""
    found = re.search(rf"^{word}: (.*?)\n\n", section, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([a-z0-9_]+)`", found[1])) if found else set()


def test_there_is_a_section_for_every_alerter_in_order() -> None:
    named = [name for name in sections() if name != "Differences from ElastAlert"]
    assert named == sorted(MESSENGERS) and set(ALERTERS) - set(named) == set(ACTIONS)


@pytest.mark.parametrize("name", sorted(MESSENGERS))
def test_a_section_lists_exactly_the_declared_options(name: str) -> None:
    section, declared = sections()[name], MESSENGERS[name].options
    assert listed(section, "Required") == {option.name for option in declared if option.required}
    assert listed(section, "Optional") == {option.name for option in declared if not option.required}


@pytest.mark.parametrize("name", sorted(MESSENGERS))
def test_a_section_says_what_happens_when_the_alarm_is_over(name: str) -> None:
    said = " ".join(sections()[name].split())
    assert f"When the alarm is over: {MESSENGERS[name].resolved}." in said
