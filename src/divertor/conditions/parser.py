"""Text to condition: a recursive-descent reader of Vamp's condition language.

What cannot be read exactly is refused with its place and what was expected; nothing is ever passed on raw.
One pass over the text, with bounded nesting. The grammar is in docs/reference/conditions.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from divertor.conditions.nodes import (
    COOKIE_NAME,
    HEADER_NAME,
    And,
    Condition,
    Constant,
    CookieContains,
    CookiePresent,
    HeaderContains,
    HeaderPresent,
    Host,
    Not,
    Or,
    UserAgent,
    is_visible,
)
from divertor.errors import InputError, Position

#: Characters; far beyond what a person writes, small enough to be read in a few milliseconds.
MAX_LENGTH = 64 * 1024
#: Parentheses and negations inside each other.
MAX_DEPTH = 64

_SPACE = re.compile(r"[ \t\r\n]*")
_BARE = re.compile(r"[^ \t\r\n()]+")
_QUOTED = re.compile(r"'(?P<single>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\"")
_OR = re.compile(r"\|\|?|or(?=[ \t\r\n(])", re.IGNORECASE)
_AND = re.compile(r"&&?|and(?=[ \t\r\n(])", re.IGNORECASE)
_NOT = re.compile(r"!|not(?=[ \t\r\n(])", re.IGNORECASE)
_CONSTANT = re.compile(r"(?:(?P<true>true|t|1)|false|f|0)(?=[ \t\r\n()&|]|$)", re.IGNORECASE)
_COMPARISON = re.compile(
    r"(?P<equal>==?|(?:is|has|contains)(?=[ \t\r\n]))|!=?|(?:not|misses)(?=[ \t\r\n])", re.IGNORECASE
)
_PRESENCE = re.compile(r"(?P<has>has|contains)(?=[ \t\r\n])|misses(?=[ \t\r\n])", re.IGNORECASE)
_FIELD = re.compile(r"(?:(?P<cookie>cookie)|header)(?=[ \t\r\n])", re.IGNORECASE)
_HOST = re.compile(r"host(?=[ \t\r\n=!])", re.IGNORECASE)
_USER_AGENT = re.compile(r"user[-.]?agent(?=[ \t\r\n=!])", re.IGNORECASE)

_OPERANDS = "host, user-agent, cookie, header, has, misses, not, true, false or '('"


def parse(text: str, source: str = "condition", line: int = 1, column: int = 1) -> Condition:
    """Read one condition; `line` and `column` say where `text` begins in `source`.

    :raises InputError: the text is no condition of the language, too long or too deeply nested.
    """
    return _Reader(text, source, line, column).read()


def expand_user_agent(value: str) -> Condition:
    """The condition behind a browser's name (`IE`, `Safari`, …), or the value itself as it stands."""
    known = _BROWSERS.get(value.lower())
    return UserAgent(value) if known is None else known


_BROWSERS: dict[str, Condition] = {
    "chrome": UserAgent("Chrome"),
    "firefox": UserAgent("Firefox"),
    "edge": UserAgent("Edge"),
    "ie": UserAgent("MSIE"),
    # Chrome also says "Safari", but only Safari says "Version".
    "safari": And((UserAgent("Safari"), UserAgent("Version"))),
}


class _Reader:
    """The text, how far it is read, and how deep the nesting is."""

    def __init__(self, text: str, source: str, line: int, column: int) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self._source = source
        self._line = line
        self._column = column

    def read(self) -> Condition:
        self._check_text()
        condition = self._chain(_OR, self._all_of, Or)
        if self.at < len(self.text):
            self._fail(self.at, f"unexpected {self._next_word()!r}", "'and', 'or' or the end")
        return condition

    def _check_text(self) -> None:
        if len(self.text) > MAX_LENGTH:
            self._fail(0, f"a condition of {len(self.text)} characters", f"at most {MAX_LENGTH}")
        for index, character in enumerate(self.text):
            if character not in "\t\r\n" and not is_visible(character):
                self._fail(
                    index, f"invisible character U+{ord(character):04X}", "visible characters and spaces"
                )

    def _all_of(self) -> Condition:
        return self._chain(_AND, self._factor, And)

    def _chain(
        self,
        operator: re.Pattern[str],
        operand: Callable[[], Condition],
        join: Callable[[tuple[Condition, ...]], Condition],
    ) -> Condition:
        operands = [operand()]
        while self._take(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else join(tuple(operands))

    def _factor(self) -> Condition:
        self._space()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(self.at, "nested too deeply", f"at most {MAX_DEPTH} levels")
        condition = self._negated_or_nested()
        self.depth -= 1
        self._space()
        return condition

    def _negated_or_nested(self) -> Condition:
        if self._take(_NOT):
            return Not(self._factor())
        opened = self.at
        if not self.text.startswith("(", opened):
            return self._operand()
        self.at += 1
        condition = self._chain(_OR, self._all_of, Or)
        if not self.text.startswith(")", self.at):
            self._fail(
                self.at, f"unexpected {self._next_word()!r}", f"')' for the '(' at {self._position(opened)}"
            )
        self.at += 1
        return condition

    def _operand(self) -> Condition:
        if found := self._take(_CONSTANT):
            return Constant(found["true"] is not None)
        if self._take(_HOST):
            return self._compared(lambda value, quoted: Host(value))
        if self._take(_USER_AGENT):
            return self._compared(
                lambda value, quoted: UserAgent(value) if quoted else expand_user_agent(value)
            )
        if found := self._take(_PRESENCE):
            return self._presence(negated=found["has"] is None)
        if found := self._take(_FIELD):
            return self._field(is_cookie=found["cookie"] is not None)
        if self.text.startswith("<", self.at):
            self._fail(self.at, "raw HAProxy rules are not supported", _OPERANDS)
        self._fail(self.at, f"unexpected {self._next_word()!r}", _OPERANDS)

    def _compared(self, build: Callable[[str, bool], Condition]) -> Condition:
        self._space()
        comparison = self._take(_COMPARISON)
        if comparison is None:
            self._fail(
                self.at, f"unexpected {self._next_word()!r}", "==, !=, is, not, has, contains or misses"
            )
        start, value, quoted = self._value("a value")
        condition = self._built(start, lambda: build(value, quoted))
        return condition if comparison["equal"] else Not(condition)

    def _presence(self, negated: bool) -> Condition:
        self._space()
        field = self._take(_FIELD)
        if field is None:
            self._fail(self.at, f"unexpected {self._next_word()!r}", "cookie or header, and its name")
        name = self._name(is_cookie=field["cookie"] is not None)
        condition: Condition = CookiePresent(name) if field["cookie"] else HeaderPresent(name)
        return Not(condition) if negated else condition

    def _field(self, is_cookie: bool) -> Condition:
        name = self._name(is_cookie)
        self._space()
        comparison = self._take(_PRESENCE)
        if comparison is None:
            self._fail(self.at, f"unexpected {self._next_word()!r}", "has, contains or misses, and a value")
        start, value, _ = self._value("a value")
        build = CookieContains if is_cookie else HeaderContains
        condition = self._built(start, lambda: build(name, value))
        return condition if comparison["has"] else Not(condition)

    def _name(self, is_cookie: bool) -> str:
        what, allowed = ("cookie", COOKIE_NAME) if is_cookie else ("header", HEADER_NAME)
        start, name, _ = self._value(f"the {what}'s name")
        if not allowed.fullmatch(name):
            self._fail(
                start, f"{name!r} cannot be a {what}'s name", "a name of letters, digits, '-', '_' or '.'"
            )
        return name

    def _value(self, expected: str) -> tuple[int, str, bool]:
        """Where the next value starts, the value, and whether it was quoted."""
        self._space()
        start = self.at
        if self.text.startswith(("'", '"'), start):
            return start, self._quoted(start), True
        bare = self._take(_BARE)
        if bare is None:
            self._fail(start, f"unexpected {self._next_word()!r}", expected)
        return start, bare[0], False

    def _quoted(self, start: int) -> str:
        found = self._take(_QUOTED)
        if found is None:
            self._fail(start, "a quote that does not end", f"a closing {self.text[start]}")
        if found["single"] is not None:
            return found["single"].replace("''", "'")
        return found["double"].replace('""', '"')

    def _built(self, start: int, build: Callable[[], Condition]) -> Condition:
        try:
            return build()
        except ValueError as problem:
            self._fail(start, str(problem), "a value a request can carry")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def _space(self) -> None:
        self._take(_SPACE)

    def _next_word(self) -> str:
        found = _BARE.match(self.text, self.at)
        if found:
            return found[0][:40]
        return self.text[self.at : self.at + 1] or "end of the condition"

    def _position(self, offset: int) -> Position:
        before = self.text[:offset]
        lines = before.count("\n")
        if not self._line:
            return Position(self._source)
        if not lines:
            return Position(self._source, self._line, self._column + offset)
        return Position(self._source, self._line + lines, offset - before.rfind("\n"))

    def _fail(self, offset: int, message: str, expected: str) -> NoReturn:
        raise InputError(message, self._position(offset), expected)
