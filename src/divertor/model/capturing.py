"""Regular expressions that say what their groups matched, in time linear in the text.

The syntax is that of conditions (`conditions.regexp`), and like there a pattern covers the whole text. All
ways through the pattern are followed at once, the preferred ones first, each remembering where its groups
began and ended: nothing backtracks. As everywhere, of several ways the leftmost alternative and the longest
repetition win. What only needs a yes or no is `automaton`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from divertor.automaton import Chars, Either, Repeat, Tree
from divertor.conditions.regexp import Capture, read_pattern

#: Longer texts match nothing. Labels are at most 63 characters where labels come from.
MAX_TEXT = 256
#: Of a pattern once its repetitions are written out: what it takes to read a text stays below a second.
MAX_STATES = 2000


@dataclass(frozen=True, slots=True)
class _Mark:
    """Remember this place as the beginning (even) or the end (odd) of a group."""

    slot: int
    to: int


@dataclass(frozen=True, slots=True)
class _Step:
    chars: Chars
    to: int


@dataclass(frozen=True, slots=True)
class _Fork:
    """Without reading anything, to any of these; the first is preferred."""

    to: tuple[int, ...]


_State: TypeAlias = _Mark | _Step | _Fork | None
_Slots: TypeAlias = tuple[int, ...]


def check_pattern(pattern: str) -> None:
    """:raises ValueError: the pattern is none (see `conditions.regexp.read_pattern`), or too large."""
    _compiled(pattern)


@lru_cache(maxsize=16_384)
def captured(pattern: str, text: str) -> tuple[str, ...] | None:
    """What the groups of `pattern` matched, those that took part, in the order in which they open; None when
    the pattern does not cover the text.

    :raises ValueError: see `check_pattern`.
    """
    program = _compiled(pattern)
    if len(text) > MAX_TEXT:
        return None
    data = text.encode("utf-8", "surrogatepass")
    slots = program.run(data.decode("latin-1"))
    if slots is None:
        return None
    pairs = zip(slots[::2], slots[1::2], strict=True)
    return tuple(data[begin:end].decode("utf-8", "replace") for begin, end in pairs if end >= 0)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Program:
    program = _Program()
    program.start = program.add(read_pattern(pattern, captures=True), program.accept)
    return program


class _Program:
    """States, built from the end of the pattern to its beginning."""

    def __init__(self) -> None:
        self.states: list[_State] = [None]
        self.accept = 0
        self.start = 0
        self.slots = 0

    def add(self, tree: Tree, to: int) -> int:
        """The state from which `tree` leads to the state `to`."""
        match tree:
            case Chars():
                return self._state(_Step(tree, to))
            case Capture(parts, number):
                self.slots = max(self.slots, 2 * number)
                end = self._state(_Mark(2 * number - 1, to))
                return self._state(_Mark(2 * number - 2, self.add(parts[0], end)))
            case Either(parts):
                return self._state(_Fork(tuple(self.add(part, to) for part in parts)))
            case Repeat():
                return self._repeat(tree, to)
            case row:
                for part in reversed(row.parts):
                    to = self.add(part, to)
                return to

    def _state(self, state: _State) -> int:
        if len(self.states) >= MAX_STATES:
            raise ValueError("a pattern too large once its repetitions are written out")
        self.states.append(state)
        return len(self.states) - 1

    def _repeat(self, tree: Repeat, to: int) -> int:
        if tree.most is None:
            loop = self._state(None)
            self.states[loop] = _Fork((self.add(tree.part, loop), to))
            start = loop
        else:
            start = to
            for _ in range(tree.most - tree.least):
                start = self._state(_Fork((self.add(tree.part, start), to)))
        for _ in range(tree.least):
            start = self.add(tree.part, start)
        return start

    def run(self, text: str) -> _Slots | None:
        """Where the groups began and ended (-1: not at all), two places for each; None: no match."""
        here = self._reached([(self.start, (-1,) * self.slots)], 0)
        for place, character in enumerate(text, 1):
            stepped = [
                (state.to, slots)
                for number, slots in here.items()
                if isinstance(state := self.states[number], _Step) and state.chars.holds(character, False)
            ]
            here = self._reached(stepped, place)
            if not here:
                return None
        return here.get(self.accept)

    def _reached(self, waiting: list[tuple[int, _Slots]], place: int) -> dict[int, _Slots]:
        """All states that are reached without reading, each by the most preferred way, in that order."""
        found: dict[int, _Slots] = {}
        stack = waiting[::-1]
        while stack:
            number, slots = stack.pop()
            if number in found:
                continue
            found[number] = slots
            match self.states[number]:
                case _Mark(slot, to):
                    stack.append((to, (*slots[:slot], place, *slots[slot + 1 :])))
                case _Fork(to=ways):
                    stack.extend((way, slots) for way in reversed(ways))
        return found
