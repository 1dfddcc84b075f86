"""Lucene's regular expressions, judged in time linear in the text, whatever the pattern and the text are.

A pattern becomes a nondeterministic automaton, and that a deterministic one as far as texts lead into it (a
bounded memory, emptied when full): nothing backtracks, because the text comes from an attacker. A pattern
covers a whole word or value, as in Lucene: there are no anchors. What Lucene adds to the common syntax
(complement `~`, intersection `&`, intervals `<1-9>`, `@`, `#`) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

MAX_PATTERN = 1024
MAX_STATES = 1000
MAX_REPEAT = 1000
MAX_DEPTH = 32
#: Steps of the deterministic automaton that are remembered.
_MAX_KNOWN = 5_000

_SPECIAL = frozenset('|*+?{}[]().\\"')
_UNSUPPORTED = frozenset("~&<>@#")


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of ranges (both ends included), or out of all others."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def holds(self, character: str, ignore_case: bool) -> bool:
        spellings = (character, character.lower(), character.upper()) if ignore_case else (character,)
        found = any(low <= one <= high for one in spellings for low, high in self.ranges)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other; nothing at all when empty."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` times or more, at most `most` times (None: no bound)."""

    part: Tree
    least: int
    most: int | None


Tree: TypeAlias = Chars | Row | Either | Repeat

_ANY = Chars((), negated=True)


def compile_regexp(pattern: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a pattern covers a text.

    :raises ValueError: the pattern is no such expression, or too large; the message says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern longer than {MAX_PATTERN} characters")
    automaton = _Automaton(ignore_case)
    automaton.accept = automaton.add(_Parser(pattern).whole(), automaton.state())
    return _Runner(automaton).covers


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


class _Automaton:
    """States with edges: by a character of a kind, or by nothing."""

    def __init__(self, ignore_case: bool) -> None:
        self.ignore_case = ignore_case
        self.free: list[list[int]] = []
        self.edges: list[list[tuple[Chars, int]]] = []
        self.accept = 0

    def state(self) -> int:
        if len(self.free) >= MAX_STATES:
            raise ValueError("a pattern too large once its repetitions are written out")
        self.free.append([])
        self.edges.append([])
        return len(self.free) - 1

    def add(self, tree: Tree, start: int) -> int:
        """Build what leads from `start` over the tree; the state it ends in."""
        match tree:
            case Chars():
                end = self.state()
                self.edges[start].append((tree, end))
                return end
            case Row(parts):
                for part in parts:
                    start = self.add(part, start)
                return start
            case Either(parts):
                return self._join([self.add(part, self._branch(start)) for part in parts])
            case Repeat():
                return self._repeat(tree, start)

    def _branch(self, start: int) -> int:
        branch = self.state()
        self.free[start].append(branch)
        return branch

    def _join(self, ends: list[int]) -> int:
        join = self.state()
        for end in ends:
            self.free[end].append(join)
        return join

    def _repeat(self, tree: Repeat, start: int) -> int:
        for _ in range(tree.least):
            start = self.add(tree.part, start)
        if tree.most is None:
            loop = self._branch(start)
            self.free[self.add(tree.part, loop)].append(loop)
            return self._branch(loop)
        ends = [start]
        for _ in range(tree.most - tree.least):
            ends.append(self.add(tree.part, self._branch(ends[-1])))
        return self._join(ends)


class _Runner:
    """The deterministic side: sets of states, and the steps between them that were already worked out."""

    def __init__(self, automaton: _Automaton) -> None:
        self._automaton = automaton
        self._start = self._closed({0})
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def covers(self, text: str) -> bool:
        here, known = self._start, self._known
        for character in text:
            step = (here, character)
            there = known.get(step)
            if there is None:
                there = self._work_out(step)
            if not there:
                return False
            here = there
        return self._automaton.accept in here

    def _work_out(self, step: tuple[frozenset[int], str]) -> frozenset[int]:
        here, character = step
        automaton = self._automaton
        reached = {
            end
            for state in here
            for kind, end in automaton.edges[state]
            if kind.holds(character, automaton.ignore_case)
        }
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        there = self._known[step] = self._closed(reached)
        return there

    def _closed(self, states: set[int]) -> frozenset[int]:
        """With all states that nothing separates from these."""
        waiting = list(states)
        while waiting:
            for state in self._automaton.free[waiting.pop()]:
                if state not in states:
                    states.add(state)
                    waiting.append(state)
        return frozenset(states)
