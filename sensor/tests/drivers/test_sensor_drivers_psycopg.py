"""psycopg 3 against a real PostgreSQL: each way to run a statement, sync and async, is seen before."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sensor.tests.drivers.conftest import POSTGRESQL, Trial
from sensor.tests.drivers.servers import Server


def connect(server: Server, kind: Any = psycopg.Connection, **options: Any) -> Any:
    return kind.connect(host=str(server.directory), port=server.port, **POSTGRESQL, **options)


class OwnCursor(psycopg.Cursor[Any]):
    """As an app writes one: with its own signature, handing on another text."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        return super().execute(query.replace("SELEKT", "select"), params, **kwargs)


class OwnConnection(psycopg.Connection[Any]):
    pass


class OwnAsyncCursor(psycopg.AsyncCursor[Any]):
    async def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        return await super().execute(query, params, **kwargs)


def copied(db: Any, statement: str) -> Any:
    with db.cursor().copy(f"copy ({statement}) to stdout") as copy:
        return list(copy.rows())


def fetched(cursor: Any, statement: str) -> Any:
    with cursor:
        return cursor.execute(statement).fetchall()


def piped(db: Any, statement: str) -> Any:
    with db.pipeline():
        return db.execute(statement)


SYNC: dict[str, Callable[[Any, Any], Any]] = {
    "cursor execute": lambda db, s: db.cursor().execute(s),
    "cursor execute by name": lambda db, s: db.cursor().execute(query=s, prepare=True),
    "cursor execute with parameters": lambda db, s: db.cursor().execute(f"{s} or id = %s", (1,)),
    "cursor executemany": lambda db, s: db.cursor().executemany(s, [()]),
    "cursor executemany returning": lambda db, s: db.cursor().executemany(
        f"{s} or id = %s", [(1,), (2,)], returning=True
    ),
    "cursor stream": lambda db, s: list(db.cursor().stream(s)),
    "cursor copy": copied,
    "connection execute": lambda db, s: db.execute(s, binary=True),
    "pipeline": piped,
    "server-side cursor": lambda db, s: fetched(db.cursor("own"), s),
    "server-side raw cursor": lambda db, s: fetched(psycopg.RawServerCursor(db, "own"), s),
    "client-side cursor": lambda db, s: psycopg.ClientCursor(db).execute(f"{s} or id = %s", (1,)),
    "raw cursor": lambda db, s: psycopg.RawCursor(db).execute(f"{s} or id = $1", (1,)),
    "bytes": lambda db, s: db.execute(s.encode()),
    "SQL": lambda db, s: db.execute(sql.SQL(s)),
    "Composed": lambda db, s: db.execute(sql.SQL("{} and {} = {}").format(sql.SQL(s), 1, sql.Literal(1))),
    "several at once": lambda db, s: db.execute(f"select 1; {s}"),
    "own cursor": lambda db, s: OwnCursor(db).execute(s.replace("select", "SELEKT")),
}


async def copied_async(db: Any, statement: str) -> Any:
    async with db.cursor().copy(f"copy ({statement}) to stdout") as copy:
        return [row async for row in copy.rows()]


async def streamed_async(db: Any, statement: str) -> Any:
    return [row async for row in db.cursor().stream(statement)]


async def fetched_async(cursor: Any, statement: str) -> Any:
    async with cursor:
        return await (await cursor.execute(statement)).fetchall()


async def piped_async(db: Any, statement: str) -> Any:
    async with db.pipeline():
        return await db.execute(statement)


async def in_tasks(db: Any, statement: str) -> Any:
    return await asyncio.gather(db.execute("select 1"), db.execute(statement))


ASYNC: dict[str, Callable[[Any, Any], Any]] = {
    "cursor execute": lambda db, s: db.cursor().execute(s),
    "cursor execute by name": lambda db, s: db.cursor().execute(query=s, params=None),
    "cursor executemany": lambda db, s: db.cursor().executemany(s, [()]),
    "cursor stream": streamed_async,
    "cursor copy": copied_async,
    "connection execute": lambda db, s: db.execute(s),
    "pipeline": piped_async,
    "server-side cursor": lambda db, s: fetched_async(db.cursor("own"), s),
    "server-side raw cursor": lambda db, s: fetched_async(psycopg.AsyncRawServerCursor(db, "own"), s),
    "client-side cursor": lambda db, s: psycopg.AsyncClientCursor(db).execute(f"{s} or id = %s", (1,)),
    "raw cursor": lambda db, s: psycopg.AsyncRawCursor(db).execute(f"{s} or id = $1", (1,)),
    "bytes": lambda db, s: db.execute(s.encode()),
    "Composed": lambda db, s: db.execute(sql.SQL("{} and true").format(sql.SQL(s))),
    "own cursor": lambda db, s: OwnAsyncCursor(db).execute(s),
    "task": lambda db, s: asyncio.create_task(db.execute(s)),
    "gathered": in_tasks,
}


def sync_way(server: Server, name: str) -> Callable[[str], Any]:
    def run(statement: str) -> Any:
        with connect(server, OwnConnection) as db:
            return SYNC[name](db, statement)

    return run


def async_way(server: Server, name: str) -> Callable[[str], Any]:
    async def run(statement: str) -> Any:
        async with await connect(server, psycopg.AsyncConnection) as db:
            return await ASYNC[name](db, statement)

    return lambda statement: asyncio.run(run(statement))


WAYS = [(sync_way, name) for name in SYNC] + [(async_way, name) for name in ASYNC]
every_way = pytest.mark.parametrize(("way", "name"), WAYS)


def test_the_number_of_ways_is_what_it_was() -> None:
    assert (len(SYNC), len(ASYNC)) == (18, 16)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@every_way
def test_an_attack_is_stopped_before_it_is_sent(way: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.stops(way(on_postgresql.server, name))


@every_way
def test_an_honest_value_passes(way: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.lets_pass(way(on_postgresql.server, name))


@every_way
def test_outside_a_request_nothing_is_judged(way: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.would_run(way(on_postgresql.server, name))


class Template(psycopg._compat.Template):
    """What a template string is to psycopg, on a Python that has none."""

    def __new__(cls, *parts: Any) -> Template:
        return object.__new__(cls)

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)


def interpolated(value: Any, spec: str = "") -> Any:
    return psycopg._compat.Interpolation(value, "value", None, spec)


before_templates = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="a template string cannot be made up"
)


@before_templates
def test_the_values_of_a_template_string_are_free(on_postgresql: Trial) -> None:
    def app(value: str) -> Any:
        inner = Template("name = ", interpolated(value), " or name = ", interpolated(value, "l"))
        column = interpolated("name", "i")
        statement = Template("select ", column, " from users where ", interpolated(inner, "q"))
        with connect(on_postgresql.server) as db:
            return db.execute(statement).fetchall()

    assert on_postgresql.run(app, on_postgresql.attack) == [] and on_postgresql.kept == []
    assert on_postgresql.run(app, "ann") == [("ann",)]


def within_template(server: Server) -> Callable[[str], Any]:
    def app(statement: str) -> Any:
        inner = Template("(", interpolated(sql.SQL(statement), "q"), ")")
        with connect(server) as db:
            return db.execute(Template("select * from ", interpolated(inner, "q"), " as found"))

    return app


@before_templates
def test_what_a_template_string_takes_as_sql_is_judged(on_postgresql: Trial) -> None:
    on_postgresql.stops(within_template(on_postgresql.server))


@before_templates
def test_an_honest_value_in_what_a_template_string_takes_as_sql_passes(on_postgresql: Trial) -> None:
    on_postgresql.lets_pass(within_template(on_postgresql.server))


@before_templates
def test_a_name_in_a_template_string_is_quoted(on_postgresql: Trial) -> None:
    def app(value: str) -> Any:
        with connect(on_postgresql.server) as db:
            db.execute(Template("select 1 as ", interpolated(value, "i")))

    on_postgresql.run(app, 'a" from users; --')
    assert on_postgresql.kept == []
