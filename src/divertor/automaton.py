"""Regular expressions as trees, decided in time linear in the text, whatever the tree and the text are.

A tree becomes a nondeterministic automaton, and that a deterministic one as far as texts lead into it (a
bounded memory, emptied when full): nothing backtracks, because the text comes from an attacker. Nothing here
reads patterns: who has a syntax (`rules`, `conditions`) builds the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

#: Steps of the deterministic automaton that are remembered.
_MAX_KNOWN = 5_000


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


def compile_tree(tree: Tree, *, max_states: int, ignore_case: bool = False) -> Callable[[str], bool]:
    """Whether a tree covers a text, the whole of it.

    :raises ValueError: the tree takes more than `max_states` states once its repetitions are written out.
    """
    automaton = _Automaton(ignore_case, max_states)
    automaton.accept = automaton.add(tree, automaton.state())
    return _Runner(automaton).covers


class _Automaton:
    """States with edges: by a character of a kind, or by nothing."""

    def __init__(self, ignore_case: bool, max_states: int) -> None:
        self.ignore_case = ignore_case
        self.max_states = max_states
        self.free: list[list[int]] = []
        self.edges: list[list[tuple[Chars, int]]] = []
        self.accept = 0

    def state(self) -> int:
        if len(self.free) >= self.max_states:
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
            end = self.add(tree.part, start)
            if end == start:
                break  # nothing, a million times, is nothing
            start = end
        if tree.most is None:
            loop = self._branch(start)
            self.free[self.add(tree.part, loop)].append(loop)
            return self._branch(loop)
        if tree.most == tree.least:
            return start
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
