"""The event store: every event of the bus in one DuckDB file, to be asked about.

One process owns the file. All calls of the database run in one thread of their own, so the event loop never
waits for it. Losing the file loses nothing the broker still holds: the recorder fills a new one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from divertor.errors import UnavailableError
from divertor.model.events import JSON, Event, micros_of, moment_of
from divertor.store.query import Aggregate, EventQuery, number_at, where

log = logging.getLogger("divertor.store")

T = TypeVar("T")

#: Seconds after which a query is stopped, so that one bad question cannot hold up recording.
QUERY_SECONDS = 20.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq BIGINT, id VARCHAR, type VARCHAR, ts TIMESTAMP, received TIMESTAMP,
    indices VARCHAR[], tags VARCHAR[], labels VARCHAR[], value JSON, body JSON
);
CREATE TABLE IF NOT EXISTS progress (epoch VARCHAR, last_seq BIGINT);
INSERT INTO progress SELECT '', 0 WHERE NOT EXISTS (SELECT 1 FROM progress);
"""

# One text parameter of JSON lines is the fastest way in: measured twice as fast as lists of columns, and
# forty times as fast as executemany.
_APPEND = """
INSERT INTO events
SELECT ?::BIGINT, e.id, e.type, make_timestamp(e.ts), make_timestamp(e.received),
       e.indices, e.tags, e.labels, e.value, e.body
FROM (SELECT from_json(line, '{"id":"VARCHAR","type":"VARCHAR","ts":"BIGINT","received":"BIGINT",
    "indices":["VARCHAR"],"tags":["VARCHAR"],"labels":["VARCHAR"],"value":"JSON","body":"JSON"}') AS e
    FROM (SELECT unnest(string_split(?, chr(10))) AS line))
"""

_COLUMNS = "id, type, epoch_us(ts), epoch_us(received), indices, tags, value, body"

_AGGREGATES = {
    Aggregate.MIN: "min",
    Aggregate.MAX: "max",
    Aggregate.AVERAGE: "avg",
    Aggregate.SUM: "sum",
}

#: What DuckDB raises for an event it cannot take, as opposed to a database that does not work.
_UNSTORABLE = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)


class EventStore:
    """The store. Make it with `await EventStore.open(...)`, end it with `await close()`."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        connection: duckdb.DuckDBPyConnection,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._path = path
        self._connect = connect
        self._connection = connection
        self._thread = thread
        self._running: object = None

    @classmethod
    async def open(cls, path: Path, memory_limit: str = "96MB", threads: int = 1) -> EventStore:
        """Open the database file `path`, made if missing (its directory as well).

        :raises UnavailableError: another process has it, or it is damaged; the text says what to do.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-store")
        connect = partial(_connect, path, memory_limit, threads)
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, connect)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connect, connection, thread)

    async def close(self) -> None:
        """Write everything into the file and let go of it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=True)

    # --- writing ----------------------------------------------------------------------------------------

    async def append(self, seq: int, events: Sequence[Event], epoch: str = "") -> int:
        """Store the events of the bus up to stream sequence `seq` and return how many were stored.

        Together with that sequence, in one transaction; a sequence that is stored already is skipped, so a
        repetition changes nothing. `epoch` names the stream (see `Batch.epoch`): another one starts anew.
        An event the database cannot hold is left out and logged, never a reason to stop.

        :raises UnavailableError: the database cannot write (a full disk); nothing of it was stored.
        """
        return await self._run(lambda: self._append(seq, events, epoch))

    def _append(self, seq: int, events: Sequence[Event], epoch: str) -> int:
        if (epoch, seq) <= self._progress_in(epoch):
            return 0
        lines = [_line(event) for event in events]
        try:
            self._store(seq, lines, epoch)
        except _UNSTORABLE:
            lines = [line for line in lines if self._storable(line)]
            log.error("%d of %d events cannot be stored", len(events) - len(lines), len(events))
            self._store(seq, lines, epoch)
        return len(lines)

    def _store(self, seq: int, lines: Sequence[str], epoch: str) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            if lines:
                connection.execute(_APPEND, [seq, "\n".join(lines)])
            connection.execute("UPDATE progress SET epoch = ?, last_seq = ?", [epoch, seq])
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    def _storable(self, line: str) -> bool:
        try:
            self._connection.execute("BEGIN")
            self._connection.execute(_APPEND, [0, line])
            return True
        except _UNSTORABLE:
            return False
        finally:
            _roll_back(self._connection)

    def _progress_in(self, epoch: str) -> tuple[str, int]:
        stored, seq = self._one("SELECT epoch, last_seq FROM progress", [])
        return (epoch, int(seq)) if stored == epoch else (epoch, -1)

    async def last_seq(self, epoch: str = "") -> int:
        """The last stream sequence stored of the stream `epoch`; 0 when there is none."""
        return max(0, (await self._run(lambda: self._progress_in(epoch)))[1])

    async def prune(self, before: datetime) -> int:
        """Delete what Divertor received before that time and return how many events that were.

        Judged by arrival, so that a sender's wrong clock neither saves nor loses anything.
        """
        return await self._run(lambda: self._prune(before))

    def _prune(self, before: datetime) -> int:
        sql = "DELETE FROM events WHERE received < make_timestamp(?::BIGINT)"
        return int(self._one(sql, [micros_of(before)])[0])

    # --- asking -----------------------------------------------------------------------------------------

    async def query(self, query: EventQuery) -> list[Event]:
        """The events that fit, in order of their time.

        :raises UnavailableError: it took more than 20 s, or the database does not answer.
        """
        condition, values = where(query)
        order = "DESC" if query.newest_first else "ASC"
        sql = (
            f"SELECT {_COLUMNS} FROM events WHERE {condition} "
            f"ORDER BY ts {order}, rowid {order} LIMIT ?::BIGINT OFFSET ?::BIGINT"
        )
        rows = await self._ask(sql, [*values, query.limit, query.offset])
        return [_event(row) for row in rows]

    async def count(self, query: EventQuery) -> int:
        """How many events fit, whatever `limit` and `offset` say."""
        condition, values = where(query)
        rows = await self._ask(f"SELECT count(*) FROM events WHERE {condition}", values)
        return int(rows[0][0])

    async def aggregate(self, query: EventQuery, kind: Aggregate, field: str = "value") -> float | int | None:
        """One number over the events that fit (`limit` and `offset` aside).

        `field` is `value` (the event's own), `value.<path>`, or a dotted path into the body; events
        without a number there do not count, except for `count`, which counts events. None: no numbers.
        """
        if kind is Aggregate.COUNT:
            return await self.count(query)
        condition, values = where(query)
        number, path = number_at(field)
        sql = f"SELECT {_AGGREGATES[kind]}({number}) FROM events WHERE {condition}"
        result = (await self._ask(sql, [*path, *values]))[0][0]
        return None if result is None or not math.isfinite(result) else float(result)

    async def get(self, id: str) -> Event | None:
        """The event with this id, the latest if several came under it; None if there is none."""
        sql = f"SELECT {_COLUMNS} FROM events WHERE id = ? ORDER BY rowid DESC LIMIT 1"
        rows = await self._ask(sql, [id])
        return _event(rows[0]) if rows else None

    # --- the thread -------------------------------------------------------------------------------------

    async def _ask(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
        clean = [_storable_text(value) for value in values]
        return await self._run(lambda: self._connection.execute(sql, clean).fetchall(), QUERY_SECONDS)

    async def _run(self, work: Callable[[], T], limit: float | None = None) -> T:
        token = object()

        def marked() -> T:
            self._running = token
            try:
                return work()
            except duckdb.InterruptException as problem:
                raise UnavailableError("the query took too long and was stopped; ask for less") from problem
            except duckdb.Error as problem:
                self._recover(problem)
                raise UnavailableError(f"the event store {self._path}: {_first_line(problem)}") from problem
            finally:
                self._running = None

        future = asyncio.get_running_loop().run_in_executor(self._thread, marked)
        if limit is None:
            return await future
        done, _ = await asyncio.wait([future], timeout=limit)
        if not done and self._running is token:
            self._connection.interrupt()
        return await future

    def _recover(self, problem: duckdb.Error) -> None:
        """A failed write can make DuckDB refuse everything until the file is opened again."""
        if not isinstance(problem, duckdb.FatalException) and "invalidated" not in str(problem):
            return
        try:
            self._connection.close()
            self._connection = self._connect()
        except (duckdb.Error, UnavailableError) as still:
            log.error("the event store cannot be opened again yet: %s", still)

    def _one(self, sql: str, values: list[Any]) -> tuple[Any, ...]:
        row = self._connection.execute(sql, values).fetchone()
        assert row is not None
        return row


def set_aside(path: Path, suffix: str) -> list[Path]:
    """Rename a damaged database and its log to `<name>.<suffix>`, so that the next start makes a new one.

    Only for whoever asked for it: the store never does this by itself. Returns the new names.
    """
    parts = (path, path.with_name(path.name + ".wal"))
    return [part.rename(part.with_name(f"{part.name}.{suffix}")) for part in parts if part.exists()]


def _connect(path: Path, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "checkpoint_threshold": "64MB",
        "max_temp_directory_size": "1GB",
        # The store reads and writes its own file and nothing else, whatever a query says.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "enable_external_access": False,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(str(path), config=config)
        connection.execute(_SCHEMA)
    except (duckdb.Error, OSError) as problem:
        raise UnavailableError(_explained(path, problem)) from problem
    return connection


def _explained(path: Path, problem: Exception) -> str:
    text = _first_line(problem)
    if "lock" in text.lower():
        return f"the event store {path} is in use by another process: {text}"
    if isinstance(problem, OSError | duckdb.PermissionException):
        return f"the event store {path} cannot be made: {text}"
    return (
        f"the event store {path} cannot be read: {text}. Move it aside to start with a new one; "
        "it is filled again with the events the broker still holds"
    )


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n", 1)[0][:300]


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error as problem:  # the transaction is gone already
        log.debug("rollback: %s", problem)


def _line(event: Event) -> str:
    """One event as a line of JSON the database takes: no lone surrogates, no NaN."""
    record = {
        "id": event.id,
        "type": event.type,
        "ts": micros_of(event.timestamp),
        "received": micros_of(event.received),
        "indices": event.indices,
        "tags": event.tags,
        "labels": _labels(event.tags),
        "value": event.value,
        "body": event.body,
    }
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        text = json.dumps(_finite(record), ensure_ascii=False, separators=(",", ":"), default=str)
    return str(_storable_text(text))


def _finite(value: JSON) -> JSON:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _storable_text(value: Any) -> Any:
    """Text as the database takes it: a lone surrogate is no UTF-8, a question mark stands for it."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable_text(inner) for inner in value]
    return value


def _labels(tags: Iterable[str]) -> list[str]:
    """The tags, and for `a:b` also `a`."""
    labels = dict.fromkeys(tags)
    labels.update(dict.fromkeys(tag.split(":", 1)[0] for tag in tags))
    return list(labels)


def _event(row: tuple[Any, ...]) -> Event:
    id, type_, ts, received, indices, tags, value, body = row
    return Event(
        id=id,
        type=type_,
        timestamp=moment_of(ts),
        received=moment_of(received),
        indices=tuple(indices or ()),
        tags=tuple(tags or ()),
        value=None if value is None else json.loads(value),
        body=json.loads(body) if body else {},
    )
