"""The numbers that stand for many values: min, max, avg, sum, cardinality, value_count, percentiles.

An aggregate takes values and other aggregates in and says its number; it never gives anything back, so a
window is made of several (`panes.py`). All are exact and of bounded size but two: a cardinality stays at
MAX_DIFFERENT, and a percentile of more than MAX_SAMPLE values is off by at most a twentieth of a percent of
the ranks per tenfold of them (values are then halved: every other one of the sorted stands for two).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from divertor.rules.types.remembered import compact

#: A cardinality beyond this is not told from it.
MAX_DIFFERENT = 100_000

#: Up to this many values a percentile is exact.
MAX_SAMPLE = 16_384

#: Larger numbers are taken for errors: one of them would hide all others in a sum.
_LARGEST = 1e30

#: A text longer than this is no number.
_LONGEST = 64


class Aggregate(Protocol):
    """Takes values in; an event without a value adds none."""

    def add(self, value: Any) -> None: ...

    def merge(self, other: Self) -> None: ...

    def value(self) -> float | None:
        """The number; None when it takes a value to have one and there is none."""


def number_of(value: Any) -> float | None:
    """A field's value as a number: itself, or a text that is one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and len(value) <= _LONGEST:
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or not abs(value) <= _LARGEST:  # as NaN is not either
        return None
    return value


@dataclass(slots=True)
class Sum:
    total: float = 0

    def add(self, value: Any) -> None:
        self.total += value

    def merge(self, other: Self) -> None:
        self.total += other.total

    def value(self) -> float | None:
        return float(self.total)


@dataclass(slots=True)
class Average:
    total: float = 0
    count: int = 0

    def add(self, value: Any) -> None:
        self.total += value
        self.count += 1

    def merge(self, other: Self) -> None:
        self.total += other.total
        self.count += other.count

    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Count:
    count: int = 0

    def add(self, value: Any) -> None:
        self.count += 1

    def merge(self, other: Self) -> None:
        self.count += other.count

    def value(self) -> float | None:
        return self.count


@dataclass(slots=True)
class Least:
    least: float | None = None

    def add(self, value: Any) -> None:
        if self.least is None or value < self.least:
            self.least = value

    def merge(self, other: Self) -> None:
        if other.least is not None:
            self.add(other.least)

    def value(self) -> float | None:
        return None if self.least is None else float(self.least)


@dataclass(slots=True)
class Most:
    most: float | None = None

    def add(self, value: Any) -> None:
        if self.most is None or value > self.most:
            self.most = value

    def merge(self, other: Self) -> None:
        if other.most is not None:
            self.add(other.most)

    def value(self) -> float | None:
        return None if self.most is None else float(self.most)


@dataclass(slots=True)
class Different:
    """`5` and `"5"` are one value, as they are in a query."""

    values: set[str] = field(default_factory=set)

    def add(self, value: Any) -> None:
        if len(self.values) < MAX_DIFFERENT:
            self.values.add(compact(value))

    def merge(self, other: Self) -> None:
        if len(self.values) < MAX_DIFFERENT:
            self.values |= other.values

    def value(self) -> float | None:
        return min(len(self.values), MAX_DIFFERENT)


@dataclass(slots=True)
class Percentile:
    """`levels[n]` holds values that stand for 2^n each; `odd`: which of two neighbours stays next time."""

    rank: float
    levels: list[list[float]] = field(default_factory=lambda: [[]])
    odd: bool = False

    def add(self, value: Any) -> None:
        self.levels[0].append(value)
        if len(self.levels[0]) > MAX_SAMPLE:
            self._halve(0)

    def merge(self, other: Self) -> None:
        for level, values in enumerate(other.levels):
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].extend(values)
            if len(self.levels[level]) > MAX_SAMPLE:
                self._halve(level)

    def value(self) -> float | None:
        """Between the two values at the rank's sides, as far as the rank is between them."""
        weighed = sorted((value, 1 << level) for level, values in enumerate(self.levels) for value in values)
        if not weighed:
            return None
        place = (sum(weight for _value, weight in weighed) - 1) * self.rank / 100
        low, high = int(place), int(place) + (place > int(place))
        below, above = _at(weighed, low), _at(weighed, high)
        return below + (above - below) * (place - low)

    def _halve(self, level: int) -> None:
        values = sorted(self.levels[level])
        kept = values[-1:] if len(values) % 2 else []
        even = values[: len(values) - len(kept)]
        self.levels[level] = kept
        if level + 1 == len(self.levels):
            self.levels.append([])
        self.levels[level + 1].extend(even[int(self.odd) :: 2])
        self.odd = not self.odd
        if len(self.levels[level + 1]) > MAX_SAMPLE:
            self._halve(level + 1)


def _at(weighed: list[tuple[float, int]], place: int) -> float:
    """The value at a place when each stands as often as it weighs."""
    for value, weight in weighed:
        place -= weight
        if place < 0:
            return float(value)
    return float(weighed[-1][0])


#: By ElastAlert's names; `percentiles` needs its rank.
KINDS: Mapping[str, Callable[[float], Aggregate]] = {
    "min": lambda _rank: Least(),
    "max": lambda _rank: Most(),
    "avg": lambda _rank: Average(),
    "sum": lambda _rank: Sum(),
    "cardinality": lambda _rank: Different(),
    "value_count": lambda _rank: Count(),
    "percentiles": Percentile,
}

#: Kinds that take any value, not only numbers.
OF_ANYTHING = frozenset({"cardinality", "value_count"})
