"""Text to selectors: Vamp's language for routes made from what runs.

`name(…)`, `kind(…)`, `namespace(…)`, `image(…)`, `label(…)(…)`, `ip(…)`, `port(…)`, `index(…)` (and Vamp's
other names for them), `true` and `false`, joined by `and`, `or` and `not` as in conditions. What they select
is `selecting`. Anything that cannot be read exactly is refused with its column and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from divertor.errors import InputError, Position
from divertor.model.capturing import check_pattern
from divertor.model.selectors import Always, Both, Either, Not, Operand, Selector, Tree

#: Characters; a selector becomes a few dozen tests at most.
MAX_LENGTH = 4096
MAX_DEPTH = 32
#: Stands for the namespace of the gateway's own deployment, within `namespace(…)`.
NAMESPACE = "$namespace"

_WORDS = {
    **{word: word for word in ("name", "kind", "namespace", "image", "label", "ip", "port", "index")},
    **{"id": "name", "type": "kind", "group": "namespace", "host": "ip", "port_index": "index"},
}
_NUMBERS = {"port": 65535, "index": 999}
_SPACE = re.compile(r"[ \t\r\n]*")
_OR = re.compile(r"\|\|?|or(?![0-9A-Za-z_])", re.IGNORECASE)
_AND = re.compile(r"&&?|and(?![0-9A-Za-z_])", re.IGNORECASE)
_NOT = re.compile(r"!|not(?![0-9A-Za-z_])", re.IGNORECASE)
_CONSTANT = re.compile(r"(?:(?P<true>true|t|1)|false|f|0)(?![0-9A-Za-z_])", re.IGNORECASE)
_OPERAND = re.compile(f"({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![0-9A-Za-z_])", re.IGNORECASE)
_WORD = re.compile(r"[^ \t\r\n()]+")
_EXPECTED = "name, kind, namespace, image, label, ip, port, index, not, true, false or '('"


def parse_selector(text: str, source: str = "selector", line: int = 1, column: int = 1) -> Selector:
    """Read one selector; `line` and `column` say where `text` begins in `source`.

    :raises InputError: the text is no selector, or one of its patterns no regular expression of ours.
    """
    return Selector(text, _Reader(text, source, line, column).read())


def selector_text(tree: Tree) -> str:
    """The text of a tree, which reads back to it."""
    match tree:
        case Operand(what, patterns):
            return what + "".join(f"({pattern})" for pattern in patterns)
        case Always(value):
            return "true" if value else "false"
        case Not(inner):
            return f"not {_nested(inner)}"
        case Both(parts):
            return " and ".join(map(_nested, parts))
        case Either(parts):
            return " or ".join(map(_nested, parts))


def _nested(tree: Tree) -> str:
    text = selector_text(tree)
    return f"({text})" if isinstance(tree, Both | Either) else text


class _Reader:
    """The text, how far it is read, and how deep the nesting is."""

    def __init__(self, text: str, source: str, line: int, column: int) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._begin = Position(source, line, column)

    def read(self) -> Tree:
        if len(self._text) > MAX_LENGTH:
            self._fail(0, f"a selector of {len(self._text)} characters", f"at most {MAX_LENGTH}")
        tree = self._any_of()
        if self._at < len(self._text):
            self._fail(self._at, f"unexpected {self._next()!r}", "'and', 'or' or the end")
        return tree

    def _any_of(self) -> Tree:
        return self._chain(_OR, partial(self._chain, _AND, self._factor, Both), Either)

    def _chain(
        self, operator: re.Pattern[str], part: Callable[[], Tree], join: Callable[[tuple[Tree, ...]], Tree]
    ) -> Tree:
        parts = [part()]
        while self._take(operator):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _factor(self) -> Tree:
        self._take(_SPACE)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(self._at, "nested too deeply", f"at most {MAX_DEPTH} levels")
        tree = Not(self._factor()) if self._take(_NOT) else self._nested_or_operand()
        self._depth -= 1
        self._take(_SPACE)
        return tree

    def _nested_or_operand(self) -> Tree:
        opened = self._at
        if not self._text.startswith("(", opened):
            return self._operand()
        self._at += 1
        tree = self._any_of()
        if not self._text.startswith(")", self._at):
            self._fail(self._at, f"unexpected {self._next()!r}", f"')' for the '(' at {self._place(opened)}")
        self._at += 1
        return tree

    def _operand(self) -> Tree:
        if found := self._take(_CONSTANT):
            return Always(found["true"] is not None)
        found = self._take(_OPERAND)
        if found is None:
            self._fail(self._at, f"unexpected {self._next()!r}", _EXPECTED)
        what = _WORDS[found[1].lower()]
        if what in _NUMBERS:
            return Operand(what, (self._number(what),))
        count = 2 if what == "label" else 1
        return Operand(what, tuple(self._pattern(what) for _ in range(count)))

    def _number(self, what: str) -> str:
        start, text = self._value(what)
        text = text.strip()
        if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _NUMBERS[what]:
            self._fail(start, f"{text[:40]!r} is no {what}", f"a number from 0 to {_NUMBERS[what]}")
        return str(int(text))

    def _pattern(self, what: str) -> str:
        start, text = self._value(what)
        sample = text.replace(NAMESPACE, "x") if what == "namespace" else text
        try:
            check_pattern(sample)
        except ValueError as problem:
            self._fail(start, f"{text[:80]!r} is no pattern of {what}: {problem}", "a regular expression")
        if not text.isprintable():
            self._fail(start, f"an invisible character in {text[:80]!r}", "visible characters and spaces")
        return text

    def _value(self, what: str) -> tuple[int, str]:
        """What is between the next parenthesis and the one that closes it, and where it begins."""
        self._take(_SPACE)
        if not self._text.startswith("(", self._at):
            self._fail(self._at, f"unexpected {self._next()!r}", f"'(' and the {what}'s value")
        start = self._at + 1
        end = self._closing(start)
        if end is None:
            self._fail(start - 1, f"the value of {what} does not end", "')'")
        if end == start:
            self._fail(start, f"an empty {what}", "a value")
        self._at = end + 1
        return start, self._text[start:end]

    def _closing(self, at: int) -> int | None:
        """The parenthesis that closes one before `at`: neither one within, nor one meant as a character."""
        depth, in_class = 0, False
        while at < len(self._text):
            character = self._text[at]
            if character == "\\":
                at += 1
            elif in_class or character == "[":
                in_class = character != "]"
            elif character == "(":
                depth += 1
            elif character == ")" and depth == 0:
                return at
            elif character == ")":
                depth -= 1
            at += 1
        return None

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _next(self) -> str:
        found = _WORD.match(self._text, self._at)
        return found[0][:40] if found else self._text[self._at : self._at + 1] or "end of the selector"

    def _place(self, offset: int) -> Position:
        begin, before = self._begin, self._text[:offset]
        lines = before.count("\n")
        if not begin.line:
            return begin
        if not lines:
            return Position(begin.source, begin.line, begin.column + offset)
        return Position(begin.source, begin.line + lines, offset - before.rfind("\n"))

    def _fail(self, offset: int, message: str, expected: str) -> NoReturn:
        raise InputError(message, self._place(offset), expected)
