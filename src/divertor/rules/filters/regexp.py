"""Lucene's regular expressions, read into the trees that `divertor.automaton` decides in linear time.

A pattern covers a whole word or value, as in Lucene: there are no anchors. What Lucene adds to the common
syntax is there: any text `@`, no text at all `#`, numbers `<1-99>`, and complement `~` and intersection `&`
where they concern whole texts. Within a sequence or a repetition those two are refused: deciding them there
can take more than linear time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from divertor.automaton import Chars, Either, Repeat, Row, Tree, compile_tree

MAX_PATTERN = 1024
MAX_STATES = 1000
MAX_REPEAT = 1000
MAX_DEPTH = 32
#: Automata that one pattern may need: the parts of its unions, intersections and complements.
MAX_AUTOMATA = 32
#: Digits of a bound of a numeric interval.
MAX_DIGITS = 12

_SPECIAL = frozenset('|*+?{}[]().\\"')
_UNSUPPORTED = frozenset("&<>")

_ANY = Chars((), negated=True)
_ANY_TEXT = Repeat(_ANY, 0, None)
_NO_TEXT = Either(())

_DIGITS = (("0", "9"),)
_LETTERS = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACES = ((" ", " "), ("\t", "\r"))
_KINDS = {
    "d": Chars(_DIGITS),
    "D": Chars(_DIGITS, negated=True),
    "w": Chars(_LETTERS),
    "W": Chars(_LETTERS, negated=True),
    "s": Chars(_SPACES),
    "S": Chars(_SPACES, negated=True),
}

#: Whether a text is covered.
Covers: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Both:
    """What all parts cover."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """What any of the parts covers; only where a part is no tree."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """What the part does not cover."""

    part: Expression


Expression: TypeAlias = Tree | Both | Any | Not


def compile_regexp(pattern: str, *, ignore_case: bool) -> Covers:
    """Whether a pattern covers a text.

    :raises ValueError: the pattern is no such expression, or too large; the message says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern longer than {MAX_PATTERN} characters")
    return _Compiler(ignore_case).compile(_Parser(pattern).whole())


class _Compiler:
    """One automaton for each part that is a tree; the parts are decided one after the other."""

    def __init__(self, ignore_case: bool) -> None:
        self._ignore_case = ignore_case
        self._automata = 0

    def compile(self, expression: Expression) -> Covers:
        match expression:
            case Both(parts):
                together = [self.compile(part) for part in parts]
                return lambda text: all(covers(text) for covers in together)
            case Any(parts):
                either = [self.compile(part) for part in parts]
                return lambda text: any(covers(text) for covers in either)
            case Not(part):
                inner = self.compile(part)
                return lambda text: not inner(text)
            case _:
                return self._tree(expression)

    def _tree(self, tree: Tree) -> Covers:
        self._automata += 1
        if self._automata > MAX_AUTOMATA:
            raise ValueError(f"more than {MAX_AUTOMATA} parts joined by ~, & and |")
        return compile_tree(tree, max_states=MAX_STATES, ignore_case=self._ignore_case)


class _Parser:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._either()
        if self._at < len(self._pattern):
            raise ValueError("a ) too many")
        return expression

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

    def _either(self) -> Expression:
        parts = [self._both()]
        while self._accept("|"):
            parts.append(self._both())
        if len(parts) == 1:
            return parts[0]
        trees = [part for part in parts if _is_tree(part)]
        return Either(tuple(trees)) if len(trees) == len(parts) else Any(tuple(parts))

    def _both(self) -> Expression:
        parts = [self._row()]
        while self._accept("&"):
            parts.append(self._row())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _row(self) -> Expression:
        parts: list[Expression] = []
        while self._peek() not in ("", "|", "&", ")"):
            parts.append(self._repeated(self._atom()))
        if len(parts) == 1:
            return parts[0]
        return Row(tuple(_tree_of(part, "a sequence") for part in parts))

    def _repeated(self, expression: Expression) -> Expression:
        while True:
            if self._accept("*"):
                least, most = 0, None
            elif self._accept("+"):
                least, most = 1, None
            elif self._accept("?"):
                least, most = 0, 1
            elif self._accept("{"):
                least, most = self._counts()
            else:
                return expression
            expression = Repeat(_tree_of(expression, "a repetition"), least, most)

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

    def _atom(self) -> Expression:
        character = self._take("a pattern")
        if character == "(":
            return self._group()
        if character == "~":
            return self._complement()
        if character == "<":
            return self._interval()
        if character == "@":
            return _ANY_TEXT
        if character == "#":
            return _NO_TEXT
        if character == "[":
            return self._class()
        if character == ".":
            return _ANY
        if character == "\\":
            return self._escaped()
        if character == '"':
            return self._quoted()
        if character in _UNSUPPORTED:
            raise ValueError(f"{character} in an unexpected place (\\{character} for the character)")
        if character in _SPECIAL:
            raise ValueError(f"{character} in an unexpected place")
        return _one(character)

    def _complement(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("complements nested too deeply")
        inner = self._atom()
        self._depth -= 1
        return Not(inner)

    def _interval(self) -> Tree:
        """`<1-99>`, whose opening bracket has been read; bounds of one width mean numbers of that width."""
        low = self._digits()
        if not self._accept("-"):
            raise ValueError("an interval without -, such as <1-99>")
        high = self._digits()
        if not self._accept(">"):
            raise ValueError("< without an end")
        if int(low) > int(high):
            low, high = high, low
        if len(low) == len(high):
            return _numbers(low, high)
        zeros = Repeat(_one("0"), 0, None)
        widths = range(len(str(int(low))), len(str(int(high))) + 1)
        return Row((zeros, Either(tuple(_of_width(int(low), int(high), width) for width in widths))))

    def _digits(self) -> str:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        digits = self._pattern[start : self._at]
        if not 0 < len(digits) <= MAX_DIGITS:
            raise ValueError(f"an interval without numbers of 1 to {MAX_DIGITS} digits")
        return digits

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("groups nested too deeply")
        tree = self._either()
        if not self._accept(")"):
            raise ValueError("( without an end")
        self._depth -= 1
        return tree

    def _escaped(self) -> Chars:
        """Digits, words, spaces as Lucene 9 has them, or the character itself. Other letters mean different
        things in different Lucenes.
        """
        character = self._take("a backslash")
        if character in _KINDS:
            return _KINDS[character]
        if character.isalnum():
            raise ValueError(f"\\{character}, which is not supported")
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
        escaped = self._escaped()
        if escaped in _KINDS.values():
            raise ValueError("\\d, \\w or \\s within [ ], which is not supported")
        ((one, _),) = escaped.ranges
        return one


def _one(character: str) -> Chars:
    return Chars(((character, character),))


def _is_tree(expression: Expression) -> TypeGuard[Tree]:
    return not isinstance(expression, Both | Any | Not)


def _tree_of(expression: Expression, what: str) -> Tree:
    if not _is_tree(expression):
        raise ValueError(f"~ or & within {what}, which is not supported")
    return expression


def _of_width(low: int, high: int, width: int) -> Tree:
    """The numbers of so many digits, without leading zeros (0 is a digit)."""
    least = 0 if width == 1 else 10 ** (width - 1)
    low, high = max(low, least), min(high, 10**width - 1)
    return _numbers(str(low), str(high)) if low <= high else _NO_TEXT


def _numbers(low: str, high: str) -> Tree:
    """The numbers from one to another that are written with as many digits."""
    if not low:
        return Row(())
    head, tail = low[0], len(low) - 1
    if low[1:] == "0" * tail and high[1:] == "9" * tail:
        return _leading(head, high[0], tail)
    if head == high[0]:
        return Row((_one(head), _numbers(low[1:], high[1:])))
    ways: list[Tree] = [
        Row((_one(head), _numbers(low[1:], "9" * tail))),
        Row((_one(high[0]), _numbers("0" * tail, high[1:]))),
    ]
    if int(high[0]) - int(head) > 1:
        ways.append(_leading(str(int(head) + 1), str(int(high[0]) - 1), tail))
    return Either(tuple(ways))


def _leading(low: str, high: str, tail: int) -> Tree:
    """A digit in a range, and so many of any."""
    return Row((Chars(((low, high),)), Repeat(Chars((("0", "9"),)), tail, tail)))
