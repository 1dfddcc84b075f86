"""What an event must have to pass a clause: words for the index of rules.

Each function here answers for one kind of test: the words of which a value that passes has at least one, or
None when nothing but a value is certain. They must agree with `matching`: what passes is anchored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TypeAlias

from divertor.rules.document import words
from divertor.rules.filters.filter import Anchor, Filter
from divertor.rules.filters.matching import Glob, as_network, as_number
from divertor.rules.filters.places import Where

#: Words one of which is among those of a value that passes; None: there is a value, that is all.
Tokens: TypeAlias = frozenset[str] | None

#: What separates words wherever it stands; a dot, a comma and the like do so in some places only.
_HARD = re.compile(r"[^\w.'\u2019,;]+")

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


def tokens_of_glob(glob: Glob) -> Tokens:
    """For a value, or a word of one, that a glob covers: the rarest word that stands in it whole.

    A word is certain to be whole between two characters that separate words whatever is around them, and at
    the ends of the glob. Only ASCII, whose lower case does not depend on what is around it either.
    """
    pieces = _pieces(glob)
    certain: list[str] = []
    for place, piece in enumerate(pieces):
        if piece is None:
            continue
        parts = _HARD.split(piece.lower())
        first = 0 if place == 0 else 1
        last = len(parts) if place == len(pieces) - 1 else len(parts) - 1
        certain += [word for part in parts[first:last] if part.isascii() for word in words(part)]
    found = _rarest(certain)
    return None if found is None else frozenset({found})


def _pieces(glob: Glob) -> list[str | None]:
    """The literal parts with None between them; there is one at an end that is open."""
    pieces: list[str | None] = [""]
    for part in glob:
        if not isinstance(part, str):
            pieces += [None, ""]
        else:
            pieces[-1] = f"{pieces[-1]}{part}"
    return pieces


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
