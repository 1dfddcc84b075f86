"""Lucene's regular expressions, read into the trees that `divertor.automaton` decides in linear time.

A pattern covers a whole word or value, as in Lucene: there are no anchors. What Lucene adds to the common
syntax (complement `~`, intersection `&`, intervals `<1-9>`, `@`, `#`) is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from divertor.automaton import Chars, Either, Repeat, Row, Tree, compile_tree

MAX_PATTERN = 1024
MAX_STATES = 1000
MAX_REPEAT = 1000
MAX_DEPTH = 32

_SPECIAL = frozenset('|*+?{}[]().\\"')
_UNSUPPORTED = frozenset("~&<>@#")

_ANY = Chars((), negated=True)


def compile_regexp(pattern: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a pattern covers a text.

    :raises ValueError: the pattern is no such expression, or too large; the message says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern longer than {MAX_PATTERN} characters")
    return compile_tree(_Parser(pattern).whole(), max_states=MAX_STATES, ignore_case=ignore_case)


class _Parser:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> Tree:
        tree = self._either()
        if self._at < len(self._pattern):
            raise ValueError("a ) too many")
        return tree

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self, what: str) -> str:
        if self._at >= len(self._pattern):
            raise ValueError(f"{what} without an end")
        self._at += 1
        return self._pattern[self._at - 1]

    def _accept(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _either(self) -> Tree:
        parts = [self._row()]
        while self._accept("|"):
            parts.append(self._row())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _row(self) -> Tree:
        parts: list[Tree] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _repeated(self, tree: Tree) -> Tree:
        while True:
            if self._accept("*"):
                tree = Repeat(tree, 0, None)
            elif self._accept("+"):
                tree = Repeat(tree, 1, None)
            elif self._accept("?"):
                tree = Repeat(tree, 0, 1)
            elif self._accept("{"):
                tree = Repeat(tree, *self._counts())
            else:
                return tree

    def _counts(self) -> tuple[int, int | None]:
        least = self._number()
        if not self._accept(","):
            most: int | None = least
        else:
            most = self._number() if self._peek() != "}" else None
        if not self._accept("}"):
            raise ValueError("{ without an end")
        if least > MAX_REPEAT or (most is not None and (most > MAX_REPEAT or most < least)):
            raise ValueError(f"a repetition that is not within 0 to {MAX_REPEAT}")
        return least, most

    def _number(self) -> int:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        if not 0 < self._at - start <= 6:
            raise ValueError("a repetition without a number")
        return int(self._pattern[start : self._at])

    def _atom(self) -> Tree:
        character = self._take("a pattern")
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return _ANY
        if character == "\\":
            return self._escaped()
        if character == '"':
            return self._quoted()
        if character in _UNSUPPORTED:
            raise ValueError(f"{character} is not supported yet (\\{character} for the character)")
        if character in _SPECIAL:
            raise ValueError(f"{character} in an unexpected place")
        return _one(character)

    def _group(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("groups nested too deeply")
        tree = self._either()
        if not self._accept(")"):
            raise ValueError("( without an end")
        self._depth -= 1
        return tree

    def _escaped(self) -> Chars:
        """The character itself. Letters after a backslash mean different things in different Lucenes."""
        character = self._take("a backslash")
        if character.isalnum():
            raise ValueError(f"\\{character} is not supported yet")
        return _one(character)

    def _quoted(self) -> Tree:
        parts: list[Tree] = []
        while (character := self._take("a quote")) != '"':
            parts.append(_one(character))
        return Row(tuple(parts))

    def _class(self) -> Chars:
        negated = self._accept("^")
        ranges: list[tuple[str, str]] = []
        while not ranges or self._peek() != "]":
            low = self._class_character()
            high = low
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_character()
            if high < low:
                raise ValueError(f"the range {low}-{high} is backwards")
            ranges.append((low, high))
        self._at += 1
        return Chars(tuple(ranges), negated)

    def _class_character(self) -> str:
        character = self._take("[")
        if character != "\\":
            return character
        ((one, _),) = self._escaped().ranges
        return one


def _one(character: str) -> Chars:
    return Chars(((character, character),))
