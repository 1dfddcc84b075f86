"""In which ways a value may be written in a request: one tree per question, for Envoy and for the predicate.

An attacker chooses among the spellings that a server takes for the same thing (percent-encoding, repeated
parameters, quotes, separators of old servers); so each tree holds all of them, and covers the whole header or
request target. Sent bytes may be read in several ways at once: a question holds when one reading does.
"""

from __future__ import annotations

from functools import lru_cache

from divertor.automaton import Chars, Either, Repeat, Row, Tree
from divertor.conditions.nodes import (
    Condition,
    CookieIs,
    CookieMatches,
    HeaderMatches,
    PathContains,
    PathIs,
    PathMatches,
    PathStartsWith,
    QueryContains,
    QueryIs,
    QueryMatches,
    QueryPresent,
)
from divertor.conditions.regexp import (
    ANY,
    NOTHING,
    bytes_of,
    chars_of,
    literal,
    many,
    maybe,
    one,
    read_pattern,
    row,
)

#: The largest pattern, each character in all its encodings, with room around it.
MAX_STATES = 100_000

_TARGET = ":path"
_BLANKS = many(Chars(((" ", " "), ("\t", "\t"))))
_ANYTHING = many(ANY)
#: What ends a path, a cookie's value in old and new servers, and a parameter.
_PATH_END, _COOKIE_END, _PARAMETER_END = "#?", ",;", "#&;"


@lru_cache(maxsize=1024)
def reading(question: Condition) -> tuple[str, Tree]:
    """The header (or `:path`) that answers, in lower case, and the tree that covers its value if it holds."""
    match question:
        case HeaderMatches(name, pattern):
            return name.lower(), read_pattern(pattern)
        case CookieIs(name, value):
            quoted = row(one('"'), literal(value), one('"'))
            return "cookie", _cookie(name, Either((literal(value), quoted)))
        case CookieMatches(name, pattern):
            within = _without(read_pattern(pattern), ";")
            return "cookie", _cookie(name, Either((within, row(one('"'), within, one('"')))))
        case QueryPresent() | QueryIs() | QueryContains() | QueryMatches():
            return _TARGET, _parameter(question)
        case _:
            return _TARGET, _path(question)


def _cookie(name: str, value: Tree) -> Tree:
    """A cookie begins at the start, after `;` or after `,`; it ends before one of them, or at the end."""
    begins = maybe(_ANYTHING, Chars(((",", ","), (";", ";"))))
    return row(begins, _BLANKS, literal(name), _BLANKS, one("="), _BLANKS, value, _BLANKS, _end(_COOKIE_END))


def _path(question: Condition) -> Tree:
    within = many(_none_of(_PATH_END))
    match question:
        case PathIs(value):
            return row(_encoded(literal(value), _PATH_END), _end(_PATH_END))
        case PathStartsWith(value):
            return row(_encoded(literal(value), _PATH_END), _ANYTHING)
        case PathContains(value):
            return row(within, _encoded(literal(value), _PATH_END), _ANYTHING)
        case PathMatches(pattern):
            return row(_encoded(read_pattern(pattern), _PATH_END), _end(_PATH_END))
        case _:
            raise AssertionError(f"not about a path: {question!r}")


def _parameter(question: QueryPresent | QueryIs | QueryContains | QueryMatches) -> Tree:
    before = maybe(many(_none_of("#")), Chars((("&", "&"), (";", ";"))))
    name = _encoded(literal(question.name), "#&=", plus=True)
    begins = row(many(_none_of(_PATH_END)), one("?"), before, name)
    match question:
        case QueryPresent():
            return row(begins, _end("=" + _PARAMETER_END))
        case QueryIs(_, value):
            return row(begins, one("="), _encoded(literal(value), "#&", plus=True), _end(_PARAMETER_END))
        case QueryContains(_, value):
            within = many(_none_of("#&"))
            return row(begins, one("="), within, _encoded(literal(value), "#&", plus=True), _ANYTHING)
        case QueryMatches(_, pattern):
            value_tree = _encoded(read_pattern(pattern), "#&", plus=True)
            return row(begins, one("="), value_tree, _end(_PARAMETER_END))


def _end(marks: str) -> Tree:
    """Nothing more, or one of `marks` and anything."""
    return maybe(chars_of(sorted(map(ord, marks))), _ANYTHING)


def _none_of(marks: str) -> Chars:
    return Chars(tuple((mark, mark) for mark in marks), negated=True)


def _without(tree: Tree, marks: str) -> Tree:
    """The tree, where no character stands for one of `marks`."""
    match tree:
        case Chars():
            return _kept(tree, marks)
        case Row(parts):
            return Row(tuple(_without(part, marks) for part in parts))
        case Either(parts):
            return Either(tuple(_without(part, marks) for part in parts))
        case Repeat(part, least, most):
            return Repeat(_without(part, marks), least, most)


def _encoded(tree: Tree, marks: str, plus: bool = False) -> Tree:
    """The tree, where each character may also be percent-encoded, those of `marks` only so.

    With `plus` a space may also be sent as `+`.
    """
    match tree:
        case Chars():
            return _spellings(tree, marks, plus)
        case Row(parts):
            return Row(tuple(_encoded(part, marks, plus) for part in parts))
        case Either(parts):
            return Either(tuple(_encoded(part, marks, plus) for part in parts))
        case Repeat(part, least, most):
            return Repeat(_encoded(part, marks, plus), least, most)


@lru_cache(maxsize=1024)
def _spellings(chars: Chars, marks: str, plus: bool) -> Tree:
    found = bytes_of(chars)
    if not found:
        return NOTHING
    by_low: dict[tuple[int, ...], list[int]] = {}
    for high in range(16):
        lows = tuple(byte & 15 for byte in found if byte >> 4 == high)
        if lows:
            by_low.setdefault(lows, []).append(high)
    escaped = [row(one("%"), _hexadecimal(highs), _hexadecimal(lows)) for lows, highs in by_low.items()]
    spaces = [one("+")] if plus and ord(" ") in found else []
    raw = _kept(chars, marks)
    return Either(tuple([*([raw] if raw.ranges else []), *escaped, *spaces]))


def _kept(chars: Chars, marks: str) -> Chars:
    return chars_of([byte for byte in bytes_of(chars) if chr(byte) not in marks])


def _hexadecimal(digits: list[int] | tuple[int, ...]) -> Chars:
    """One digit of a percent-encoding, in either case."""
    letters = {letter for digit in digits for letter in (f"{digit:x}", f"{digit:X}")}
    return chars_of(sorted(map(ord, letters)))
