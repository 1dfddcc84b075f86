"""The reference page names every option, type and alerter there is."""

from __future__ import annotations

import re
from pathlib import Path

from divertor.rules.alerters import ACTIONS
from divertor.rules.dsl import QUERIES
from divertor.rules.load import COMMON
from divertor.rules.types import TYPES
from divertor.rules.vocabulary import ALIASES, REFUSED, WITHOUT_EFFECT

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rules.md"


def test_the_page_names_everything_a_rule_may_say() -> None:
    named = set(re.findall(r"`([\w*]+)[`:]", PAGE.read_text()))
    options = {option.name for declared in (*TYPES.values(),) for option in declared.options}
    kinds = (COMMON, REFUSED, WITHOUT_EFFECT, ALIASES, ACTIONS, TYPES, QUERIES)
    assert options.union(*kinds) - named == set()
