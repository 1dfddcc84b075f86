"""Which stretches of time ElastAlert aggregates in a run, and what Elasticsearch would answer for one.

Only compatible mode uses this. A run looks at the `buffer_time` before it, in segments if that is more than
one; a segment that is not full is left for a later run. Buckets of `bucket_interval` begin at multiples of
it, moved by the start's offset, and those without events between the first and the last are there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from divertor.rules.types.aggregates import Aggregate

_SECOND = 1_000_000

#: Events of one rule that are kept for later runs.
MAX_ROWS = 1_000_000

#: An event: its time, the parts of its key up to the first that is missing, and its values.
Row: TypeAlias = tuple[int, tuple[str, ...], tuple[Any, ...]]


@dataclass(slots=True)
class Runs:
    """The state: the events since the oldest time a run may look at, and where the last run ended."""

    rows: list[Row] = field(default_factory=list)
    previous: int | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` (not included) to `end`; `offset` moves the buckets; `polled`: windows get a mark."""

    start: int
    end: int
    offset: int = 0
    polled: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one key has in one stretch or bucket of it."""

    parts: tuple[str, ...]
    micros: int
    docs: int
    aggregate: Aggregate


@dataclass(frozen=True, slots=True)
class Poller:
    """A rule's options that shape its queries; lengths in microseconds, `interval` 0 without buckets."""

    buffer: int
    run_every: int
    by_run_every: bool = False
    overlap: bool = False
    interval: int = 0
    sync: bool = False
    min_docs: int = 1
    terms: int = 50

    def take(self, runs: Runs, row: Row) -> None:
        runs.rows.append(row)
        if len(runs.rows) > MAX_ROWS:
            del runs.rows[: MAX_ROWS // 16]
            runs.dropped += MAX_ROWS // 16

    def stretches(self, runs: Runs, end: int) -> list[Stretch]:
        """What the run that ends now looks at."""
        start, offset = self._start(runs, end)
        segment = self.run_every if self.by_run_every else self.buffer
        found, at = [], start
        while end - at > segment:
            found.append(Stretch(at, at + segment, offset, polled=True))
            at += segment
        if end - at == segment:
            found.append(Stretch(at, end, offset))
        elif at == start:
            return []
        else:
            end = at
        runs.previous = end
        oldest = end - 2 * self.buffer - self.interval
        if len(runs.rows) > 64:
            runs.rows = [row for row in runs.rows if row[0] > oldest]
        return found

    def buckets(self, runs: Runs, one: Stretch, depth: int, empty: Callable[[], Aggregate]) -> list[Bucket]:
        """The answer for a stretch: by the `depth` fields of the key, by interval if there is one."""
        rows = [row for row in runs.rows if one.start < row[0] <= one.end]
        groups = self._terms(rows, (), depth)
        return [bucket for parts, own in groups for bucket in self._by_interval(parts, own, one, empty)]

    def _start(self, runs: Runs, end: int) -> tuple[int, int]:
        start = end - self.buffer
        if runs.previous is not None and runs.previous < start:
            start = runs.previous
            if self.overlap and not self.by_run_every and self.buffer > self.run_every:
                start -= self.buffer - self.run_every
        if not self.interval:
            return start, 0
        whole = start // _SECOND * _SECOND
        offset = whole % self.interval // _SECOND * _SECOND
        return (whole - offset, 0) if self.sync else (start, offset)

    def _terms(
        self, rows: list[Row], parts: tuple[str, ...], depth: int
    ) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
        """The keys with the most events, field by field; an event counts for the fields it has."""
        place = len(parts)
        if place == depth:
            yield parts, rows
            return
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if len(row[1]) > place:
                groups.setdefault(row[1][place], []).append(row)
        chosen = [(-len(own), part) for part, own in groups.items() if len(own) >= self.min_docs]
        for _count, part in sorted(chosen)[: self.terms]:
            yield from self._terms(groups[part], (*parts, part), depth)

    def _by_interval(
        self, parts: tuple[str, ...], rows: list[Row], one: Stretch, empty: Callable[[], Aggregate]
    ) -> Iterator[Bucket]:
        if not self.interval:
            yield _bucket(parts, one.end, rows, empty)
            return
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault((row[0] - one.offset) // self.interval, []).append(row)
        for number in range(min(groups, default=0), max(groups, default=-1) + 1):
            moment = number * self.interval + one.offset
            # With several fields ElastAlert gives all buckets the time of the run.
            yield _bucket(parts, one.end if len(parts) > 1 else moment, groups.get(number, ()), empty)


def _bucket(
    parts: tuple[str, ...], micros: int, rows: Iterable[Row], empty: Callable[[], Aggregate]
) -> Bucket:
    aggregate, docs = empty(), 0
    for row in rows:
        docs += 1
        for value in row[2]:
            aggregate.add(value)
    return Bucket(parts, micros, docs, aggregate)
