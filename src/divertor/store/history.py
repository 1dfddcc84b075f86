"""Stored events in the order of their times, all of them, in bounded memory: what a backtest reads.

The database file is opened for reading only, which works while no other process has it open. Time is cut into
slices of about equal numbers of events; each is sorted by itself, so the whole never has to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from msgspec.json import Decoder

from divertor.errors import UnavailableError
from divertor.model.events import Event, moment_of
from divertor.store.query import EventQuery, where

#: Events that are sorted at once, about.
SLICE = 100_000
#: Events that are taken out of the database at once.
_FETCH = 5_000
#: Steps that the time between the first and the last event is cut into to count.
_STEPS = 4_096

_BODIES = Decoder(list[dict[str, Any]])
_COLUMNS = "id, type, epoch_us(ts), epoch_us(received), indices, tags, value, body"


@dataclass(frozen=True, slots=True)
class Extent:
    """How many events there are, and from when to when in microseconds since the epoch, both included."""

    count: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: those of any of the `indices` patterns within the times of `EventQuery`, and among them
    only those with one of `words` in their body, whatever its field (none given: all). In the order of their
    own times or, `by_arrival`, in that of their receipt.

    The words are ASCII and in lower case; whoever asks knows that other events do not matter.
    """

    indices: tuple[str, ...] = ("*",)
    since: datetime | None = None
    until: datetime | None = None
    words: tuple[str, ...] = ()
    by_arrival: bool = False

    @property
    def column(self) -> str:
        """What orders them, as SQL."""
        return "received" if self.by_arrival else "ts"


class History:
    """One database file. Use it as a context manager."""

    def __init__(self, path: Path, memory_limit: str = "192MB") -> None:
        """:raises UnavailableError: it is not there, another process has it, or it is damaged."""
        if not path.is_file():
            raise UnavailableError(f"the event store {path} is not there")
        config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "enable_external_access": False,
        }
        try:
            self._connection = duckdb.connect(str(path), read_only=True, config=config)
        except duckdb.Error as problem:
            raise UnavailableError(
                f"the event store {path} cannot be read: {_first_line(problem)}"
            ) from problem
        self._path = path

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def extent(self, wanted: Wanted) -> Extent:
        """What there is in the times that are wanted, of whatever index.

        :raises UnavailableError: the database cannot be read.
        """
        condition, values = _times(wanted)
        time = f"epoch_us({wanted.column})"
        sql = f"SELECT count(*), min({time}), max({time}) FROM events WHERE {condition}"
        ((count, first, last),) = self._ask(sql, values)
        return Extent(int(count), int(first), int(last)) if count else Extent(0)

    def events(self, wanted: Wanted) -> Iterator[tuple[list[Event], int]]:
        """Lists of the wanted events in the order of their times (of equal ones: of their arrival), each with
        how many events of any kind there were up to then.

        :raises UnavailableError: the database cannot be read.
        """
        passed = 0
        for since, until, count in self._slices(wanted):
            yield from ((events, passed) for events in self._slice(wanted, since, until))
            passed += count
            yield [], passed

    def _slices(self, wanted: Wanted) -> Iterator[tuple[int, int, int]]:
        """From (included) and to (not included) when, and how many events: together all there are."""
        extent = self.extent(wanted)
        if not extent.count:
            return
        width = (extent.last - extent.first) // _STEPS + 1
        condition, values = _times(wanted)
        sql = (
            f"SELECT (epoch_us({wanted.column}) - ?::BIGINT) // ?::BIGINT AS step, count(*) FROM events "
            f"WHERE {condition} GROUP BY step ORDER BY step"
        )
        begun, held, end = extent.first, 0, extent.first
        for step, count in self._ask(sql, [extent.first, width, *values]):
            if held and held + count > SLICE:
                yield begun, end, held
                begun, held = end, 0
            held += count
            end = extent.first + (step + 1) * width
        yield begun, end, held

    def _slice(self, wanted: Wanted, since: int, until: int) -> Iterator[list[Event]]:
        condition, values = _only(wanted)
        time = wanted.column
        sql = (
            f"SELECT {_COLUMNS} FROM events WHERE {time} >= make_timestamp(?::BIGINT) "
            f"AND {time} < make_timestamp(?::BIGINT) AND {condition} ORDER BY {time}, rowid"
        )
        try:
            self._connection.execute(sql, [since, until, *values])
            while rows := self._connection.fetchmany(_FETCH):
                yield _events(rows)
        except duckdb.Error as problem:
            raise self._unreadable(problem) from problem

    def _ask(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except duckdb.Error as problem:
            raise self._unreadable(problem) from problem

    def _unreadable(self, problem: Exception) -> UnavailableError:
        return UnavailableError(f"the event store {self._path}: {_first_line(problem)}")


def _times(wanted: Wanted) -> tuple[str, list[Any]]:
    return where(EventQuery(since=wanted.since, until=wanted.until))


def _only(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition for times, indices and words."""
    condition, values = _times(wanted)
    parts = [condition]
    if "*" not in wanted.indices:
        each = [where(EventQuery(index=pattern)) for pattern in wanted.indices]
        parts.append(f"({' OR '.join(sql for sql, _ in each)})")
        values += [value for _, found in each for value in found]
    if wanted.words:
        parts.append(f"({' OR '.join('contains(lower(CAST(body AS VARCHAR)), ?)' for _ in wanted.words)})")
        values += wanted.words
    return " AND ".join(parts), values


def _events(rows: Sequence[tuple[Any, ...]]) -> list[Event]:
    events: list[Event] = []
    for (id, type_, ts, received, indices, tags, value, _body), body in zip(rows, _bodies(rows), strict=True):
        read = None if value is None else json.loads(value)
        happened = moment_of(ts)
        arrived = happened if received == ts else moment_of(received)
        events.append(
            Event(id, type_, happened, arrived, tuple(indices or ()), tuple(tags or ()), read, body)
        )
    return events


def _bodies(rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The bodies, read all at once if nothing is strange about any of them."""
    try:
        found = _BODIES.decode(f"[{','.join([row[7] or '{}' for row in rows])}]")
    except ValueError:
        found = [json.loads(row[7] or "{}") for row in rows]
    return found


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n", 1)[0][:300]
