"""What shields text in a SQL statement: the lexical rules of SQLite, PostgreSQL and MySQL (MariaDB alike).

A shield is a literal, a quoted name or a comment: text within it is no code, as long as it does not end it.
This module finds them, in linear time, and does nothing else; what it means that an input lies in or across
one is `divertor_sensor.detectors.sql`'s. Sources: SQLite's "The Tokenizer" and tokenize.c; PostgreSQL's
manual, "Lexical Structure"; MySQL's reference manual, "Language Structure".

Where the rules leave a choice, the reading with less shielded text is taken: what is no shield is judged as
code. So the comments that MySQL executes (`/*! … */`) are code, whatever version they name.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["quoted", "line", "block", "open"]

#: A character that goes on with a name in PostgreSQL, where every byte above ASCII is a letter.
_PG_NAME = "[\\w$\x80-\U0010ffff]"
_PG_NAME_START = "[A-Za-z_\x80-\U0010ffff]"
#: Between the parts of one literal that goes on over several lines.
_PG_CONTINUED = r"(?:[ \t\f\v]*+(?:--[^\r\n]*+)?[\r\n](?:\s|--[^\r\n]*+[\r\n])*+')"

_LINE = r"--[^\n]*+()"
_BLOCK = r"/\*(?:[^*]++|\*(?!/))*+(\*/)?"
_DOUBLED = "{0}(?:[^{0}]++|{0}{0})*+({0})?"
_ESCAPED = r"{0}(?:[^{0}\\]++|{0}{0}|\\.?)*+({0})?"


class Shield(NamedTuple):
    """Text from `start` to `end` that is no code. `open`: a quote or comment that nothing closes."""

    start: int
    end: int
    kind: Kind


class Lexed(NamedTuple):
    """A statement and its shields in order; `starts` is where they begin."""

    text: str
    shields: list[Shield]
    starts: list[int]

    @property
    def is_open(self) -> bool:
        """Whether a quote or comment of it has no end."""
        return bool(self.shields) and self.shields[-1].kind == "open"

    def shield_at(self, position: int) -> Shield | None:
        """The shield that covers `position`, or None: there is code."""
        index = bisect_right(self.starts, position) - 1
        if index < 0 or position >= self.shields[index].end:
            return None
        return self.shields[index]


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """Lexical rules. `shield` matches one; that a group of it took part says that it is closed.

    `nested`: comments nest, so that `shield` matches only their beginning. `dollars`: `$tag$ … $tag$`.
    `escapes` are the quotes in which a backslash takes away the meaning of what follows; `unsettled` those in
    which a setting of the server decides about that.
    """

    name: str
    shield: re.Pattern[str]
    nested: bool = False
    dollars: bool = False
    escapes: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()

    def lex(self, text: str) -> Lexed:
        """Find the shields of `text`. Time in proportion to its length."""
        shields = self._scattered(text) if self.nested or self.dollars else self._plain(text)
        return Lexed(text, shields, [shield.start for shield in shields])

    def settles(self, text: str, start: int) -> bool:
        """Whether the literal at `start` says itself that it knows backslashes (`E'…'`)."""
        return self.dollars and text[start - 1 : start + 1] in ("e'", "E'")

    def _plain(self, text: str) -> list[Shield]:
        return [
            Shield(match.start(), match.end(), _kind(text[match.start()], match.lastindex is not None))
            for match in self.shield.finditer(text)
        ]

    def _scattered(self, text: str) -> list[Shield]:
        """As `_plain`, where a shield's end is no matter of a pattern."""
        shields = []
        position = 0
        while match := self.shield.search(text, position):
            start, first = match.start(), text[match.start()]
            if first == "/":
                position, closed = _comment_end(text, start)
            elif first == "$":
                position, closed = _dollar_end(text, match)
            else:
                position, closed = match.end(), match.lastindex is not None
            shields.append(Shield(start, position, _kind(first, closed)))
        return shields


def _kind(first: str, closed: bool) -> Kind:
    if not closed:
        return "open"
    if first in "-#":
        return "line"
    return "block" if first == "/" else "quoted"


_COMMENT_EDGE = re.compile(r"/\*|\*/")


def _comment_end(text: str, start: int) -> tuple[int, bool]:
    """Where the nested comment at `start` ends, and whether it does."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end(), True
    return len(text), False


def _dollar_end(text: str, opening: re.Match[str]) -> tuple[int, bool]:
    end = text.find(opening[0], opening.end())
    return (len(text), False) if end < 0 else (end + len(opening[0]), True)


def _pattern(*alternatives: str) -> re.Pattern[str]:
    # Each alternative begins with one literal character: only then the search skips what cannot begin one.
    return re.compile("|".join(alternatives), re.DOTALL)


def _postgresql(name: str, plain: str, escapes: frozenset[str]) -> Dialect:
    prefixed = rf"'(?<=[eE]')(?<!{_PG_NAME}[eE]')(?:[^'\\]++|''|\\.?|'{_PG_CONTINUED})*+(')?"
    return Dialect(
        name,
        _pattern(
            prefixed,
            plain.format("'"),
            _DOUBLED.format('"'),
            r"--[^\r\n]*+()",
            r"/\*",
            rf"\$(?<!{_PG_NAME}\$)(?:{_PG_NAME_START}[\w\x80-\U0010ffff]*+)?\$",
        ),
        nested=True,
        dollars=True,
        escapes=escapes,
        unsettled=frozenset("'") - escapes,
    )


def _mysql(name: str, single: str, double: str, escapes: frozenset[str]) -> Dialect:
    return Dialect(
        name,
        _pattern(
            single.format("'"),
            double.format('"'),
            _DOUBLED.format("`"),
            # Two signs of subtraction are no comment: it needs white space or a control character.
            r"--(?=[\x00-\x20\x7f]|\Z)[^\n]*+()",
            r"#[^\n]*+()",
            r"/\*(?!!|[mM]!)(?:[^*]++|\*(?!/))*+(\*/)?",
        ),
        escapes=escapes,
        unsettled=frozenset("'\"") & escapes,
    )


SQLITE = Dialect(
    "sqlite",
    _pattern(*map(_DOUBLED.format, "'\"`"), r"\[[^\]]*+(\])?", _LINE, _BLOCK),
)
#: As `standard_conforming_strings` is since PostgreSQL 9.1: on.
POSTGRESQL = _postgresql("postgresql", _DOUBLED, frozenset())
#: With `standard_conforming_strings` off: every literal knows backslashes.
POSTGRESQL_ESCAPES = _postgresql("postgresql_escapes", _ESCAPED, frozenset("'"))
MYSQL = _mysql("mysql", _ESCAPED, _ESCAPED, frozenset("'\""))
#: With sql_mode ANSI_QUOTES: "…" is a name, in which a backslash is a character as any.
MYSQL_ANSI_QUOTES = _mysql("mysql_ansi_quotes", _ESCAPED, _DOUBLED, frozenset("'"))
#: With sql_mode NO_BACKSLASH_ESCAPES, whether ANSI_QUOTES is on or not.
MYSQL_NO_BACKSLASH = _mysql("mysql_no_backslash", _DOUBLED, _DOUBLED, frozenset())
