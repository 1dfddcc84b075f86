"""What an event must have to pass a clause: words for the index of rules.

Each function here answers for one kind of test: the words of which a value that passes has at least one, or
None when nothing but a value is certain. They must agree with `matching`: what passes is anchored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TypeAlias

from divertor.rules.document import words
from divertor.rules.filter import Anchor, Filter
from divertor.rules.matching import as_network, as_number
from divertor.rules.places import Where

#: Words one of which is among those of a value that passes; None: there is a value, that is all.
Tokens: TypeAlias = frozenset[str] | None

#: Words that most events of some stream have: poor ones to look rules up by.
_COMMON = frozenset(
    "true false get post put http https null none info error warning the and for user".split()
)


def tokens_of_value(text: str) -> Tokens:
    """For a value that is the text, holds its words in a row, or equals its number."""
    if as_network(text) is not None:
        return None
    found = {_rarest(words(spelling)) for spelling in _spellings(text)}
    return None if None in found else frozenset(filter(None, found))


def tokens_of_any_word(text: str) -> Tokens:
    """For a value that holds one of the words, whichever it is."""
    exact = tokens_of_value(text)
    return exact | frozenset(words(text)) if exact is not None else None


def _spellings(text: str) -> set[str]:
    """A number in an event is spelled `5` or `5.0`, whatever a query writes."""
    number = as_number(text)
    if number is None:
        return {text}
    if not isfinite(number):
        return {""}
    return {text, str(number)} | ({str(int(number))} if number.is_integer() else set())


def _rarest(found: Sequence[str]) -> str | None:
    """The longest, as nothing is known about how often words occur."""
    return max(found, key=lambda word: (word not in _COMMON, len(word)), default=None)


def anchors_at(where: Where, tokens: Tokens) -> frozenset[Anchor] | None:
    """The anchors of a test of the values at a place."""
    if tokens is not None:
        field = where if isinstance(where, str) else None
        return frozenset(Anchor(field, token) for token in tokens)
    return frozenset({Anchor(where)}) if isinstance(where, str) else None


def anchors_of_all(filters: Iterable[Filter]) -> frozenset[Anchor] | None:
    """Where all must pass: the anchors that tell the most."""
    known = [one.anchors for one in filters if one.anchors is not None]
    return max(known, key=_selectivity, default=None)


def anchors_of_any(filters: Iterable[Filter]) -> frozenset[Anchor] | None:
    """Where one is enough: everybody's, if all have some."""
    together: set[Anchor] = set()
    for one in filters:
        if one.anchors is None:
            return None
        together |= one.anchors
    return frozenset(together)


def _selectivity(anchors: frozenset[Anchor]) -> tuple[int, int]:
    """As good as the worst of them; of equals the fewer. No anchor at all is the best: nothing passes."""
    return min(map(_weight, anchors), default=1000), -len(anchors)


def _weight(anchor: Anchor) -> int:
    if anchor.token is None:
        return 0
    if anchor.token in _COMMON:
        return 1
    return 2 + min(len(anchor.token), 32)
