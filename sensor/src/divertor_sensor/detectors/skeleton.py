"""What is left of an SQL statement when the contents of its string literals are taken out, for the statements
in which that is plain to see.

Pure, one pass. It lets the guard say at a glance that inputs lie inside literals, which is where most inputs
of a careless query lie: in a statement that has a skeleton, every apostrophe opens or closes a literal, so
that a text without an apostrophe occurs either wholly inside one literal, which changes nothing, or wholly in
the skeleton. A text that is not in the skeleton therefore needs no judging.

It is an optimisation of `divertor_sensor.detectors.sql` and decides nothing else. In doubt (a comment, a
backslash, a dollar sign, a name in quotes of an unusual form) there is no skeleton, and the detector judges.
What a skeleton depends on: the SQLite documentation (https://sqlite.org/lang_keywords.html and
lang_expr.html#literal_values_constants_), PostgreSQL's manual 4.1 (Lexical Structure), MariaDB's and MySQL's
manuals on string and identifier literals.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: A longer statement is left to the detector: splitting is linear, but what is split is kept for a while.
_MAX_LENGTH = 16 * 1024
_SHORT = 2048
_BOUND = "'"
#: What stands between literals, when no part of it could hide an apostrophe or open a literal of another
#: kind: no comment, backslash, dollar sign or `#`; what a dialect takes for a quoted name closed and plain.
_BETWEEN = re.compile(
    r"""(?: [^'"`\[\]\\#$/-]++ | -(?!-) | /(?!\*)
        | "[^'"`\\]*+" | `[\w .]*+` | \[[\w .,]*+\] )*+""",
    re.VERBOSE,
)


def skeleton(statement: str) -> str | None:
    """`statement` in lower case without the contents of its literals (`where a = ''`); None when in doubt.

    Holds for SQLite, PostgreSQL (with `standard_conforming_strings` either way), and MySQL and MariaDB (in
    either reading of double quotes and backslashes). Each apostrophe of the result is a pair's; a doubled one
    within a literal gives an empty piece, so that it never looks like another statement's.
    """
    if "\\" in statement or len(statement) > _MAX_LENGTH:
        return None
    pieces = statement.lower().split(_BOUND)
    if not len(pieces) & 1:
        return None
    left = _BOUND.join(pieces[::2])
    is_plain = _is_plain(left) if len(left) <= _SHORT else _is_long_plain(left)
    return left if is_plain else None


def literals(statement: str) -> list[str]:
    """What the skeleton leaves out of a statement that has one, in lower case, in order."""
    return statement.lower().split(_BOUND)[1::2]


@lru_cache(maxsize=512)
def _is_plain(left: str) -> bool:
    """Whether each piece between two literals is free of everything that could quote or comment."""
    return all(_BETWEEN.fullmatch(piece) is not None for piece in left.split(_BOUND))


#: Few of those that are long: who decides on the length of a list decides on what is kept.
_is_long_plain = lru_cache(maxsize=32)(_is_plain.__wrapped__)
