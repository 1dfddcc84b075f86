"""PyMySQL, mysqlclient, aiomysql and MySQL Connector against a real MariaDB."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiomysql  # type: ignore[import-untyped, unused-ignore]
import pymysql  # type: ignore[import-untyped, unused-ignore]
import pytest
from pymysql.constants import CLIENT  # type: ignore[import-untyped, unused-ignore]
from sensor.tests.drivers.conftest import MARIADB, Trial, driver
from sensor.tests.drivers.servers import Server


class OwnCursor(pymysql.cursors.Cursor):  # type: ignore[misc, unused-ignore]
    def execute(self, query: Any, args: Any = None) -> Any:
        return super().execute(query.replace("SELEKT", "select"), args)


class OwnAsyncCursor(aiomysql.Cursor):  # type: ignore[misc, unused-ignore]
    async def execute(self, query: Any, args: Any = None) -> Any:
        return await super().execute(query, args)


def pymysql_connection(server: Server) -> Any:
    return pymysql.connect(unix_socket=str(server.socket), client_flag=CLIENT.MULTI_STATEMENTS, **MARIADB)


def mysqlclient_connection(server: Server) -> Any:
    return driver("MySQLdb").connect(unix_socket=str(server.socket), **MARIADB)


def aiomysql_connection(server: Server) -> Any:
    return aiomysql.connect(
        unix_socket=str(server.socket),
        client_flag=CLIENT.MULTI_STATEMENTS,
        user=MARIADB["user"],
        db=MARIADB["database"],
    )


def insertion(statement: str) -> str:
    """A statement of the kind whose rows are put together by `executemany`."""
    condition = statement.partition("where ")[2]
    return f"insert into users values (%s, %s) on duplicate key update name = if({condition}, 'a', 'b')"


def procedure(statement: str) -> str:
    return f"no_procedure({statement})"


#: What the two synchronous drivers have in common.
SYNC: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda db, s: db.cursor().execute(s),
    "execute by name": lambda db, s: db.cursor().execute(query=s, args=None),
    "execute with values": lambda db, s: db.cursor().execute(f"{s} or id = %s", (1,)),
    "execute with names": lambda db, s: db.cursor().execute(f"{s} or id = %(id)s", {"id": 1}),
    "execute bytes": lambda db, s: db.cursor().execute(s.encode()),
    "executemany": lambda db, s: db.cursor().executemany(f"{s} or id = %s", [(1,), (2,)]),
    "executemany of rows": lambda db, s: db.cursor().executemany(insertion(s), [(1, "a"), (2, "b")]),
    "several at once": lambda db, s: db.cursor().execute(f"select 1; {s}"),
    "query": lambda db, s: db.query(s),
    "query bytes": lambda db, s: db.query(s.encode()),
}
PYMYSQL: dict[str, Callable[[Any, Any], Any]] = {
    **SYNC,
    "dictionaries": lambda db, s: db.cursor(pymysql.cursors.DictCursor).execute(s),
    "unbuffered": lambda db, s: db.cursor(pymysql.cursors.SSCursor).execute(s),
    "unbuffered dictionaries": lambda db, s: db.cursor(pymysql.cursors.SSDictCursor).execute(s),
    "own cursor": lambda db, s: db.cursor(OwnCursor).execute(s.replace("select", "SELEKT")),
    "merged by the app": lambda db, s: db.query(db.cursor().mogrify(f"{s} or id = %s", (1,))),
}
MYSQLCLIENT: dict[str, Callable[[Any, Any], Any]] = {
    **SYNC,
    "dictionaries": lambda db, s: db.cursor(driver("MySQLdb.cursors").DictCursor).execute(s),
    "unbuffered": lambda db, s: db.cursor(driver("MySQLdb.cursors").SSCursor).execute(s),
}


async def with_cursor(db: Any, kind: Any, statement: str, *values: Any) -> Any:
    async with db.cursor(kind) as cursor:
        return await cursor.execute(statement, *values)


async def many(db: Any, statement: str, values: Any) -> Any:
    async with db.cursor() as cursor:
        return await cursor.executemany(statement, values)


async def in_a_task(db: Any, statement: str) -> Any:
    async with db.cursor() as cursor:
        return await asyncio.create_task(cursor.execute(statement))


AIOMYSQL: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda db, s: with_cursor(db, aiomysql.Cursor, s),
    "execute with values": lambda db, s: with_cursor(db, aiomysql.Cursor, f"{s} or id = %s", (1,)),
    "executemany": lambda db, s: many(db, f"{s} or id = %s", [(1,), (2,)]),
    "executemany of rows": lambda db, s: many(db, insertion(s), [(1, "a"), (2, "b")]),
    "several at once": lambda db, s: with_cursor(db, aiomysql.Cursor, f"select 1; {s}"),
    "dictionaries": lambda db, s: with_cursor(db, aiomysql.DictCursor, s),
    "unbuffered": lambda db, s: with_cursor(db, aiomysql.SSCursor, s),
    "own cursor": lambda db, s: with_cursor(db, OwnAsyncCursor, s),
    "query": lambda db, s: db.query(s),
    "task": in_a_task,
}


def connector_connection(server: Server, pure: bool = False) -> Any:
    made = driver("mysql.connector").connect(
        unix_socket=str(server.socket), use_pure=pure, collation="utf8mb4_general_ci", **MARIADB
    )
    made.can_consume_results = True
    return made


def pure_connection(server: Server) -> Any:
    return connector_connection(server, pure=True)


async def aio_connection(server: Server) -> Any:
    connect = driver("mysql.connector.aio").connect
    return await connect(unix_socket=str(server.socket), collation="utf8mb4_general_ci", **MARIADB)


#: The statements of MySQL Connector, with its C extension and without.
CONNECTOR: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda db, s: db.cursor().execute(s),
    "execute by name": lambda db, s: db.cursor().execute(operation=s, params=()),
    "execute with values": lambda db, s: db.cursor().execute(f"{s} or id = %s", (1,)),
    "execute bytes": lambda db, s: db.cursor().execute(s.encode()),
    "executemany": lambda db, s: db.cursor(buffered=True).executemany(f"{s} or id = %s", [(1,), (2,)]),
    "several at once": lambda db, s: list(db.cursor().execute(f"select 1; {s}") or ()),
    "dictionaries": lambda db, s: db.cursor(dictionary=True).execute(s),
    "raw": lambda db, s: db.cursor(raw=True, buffered=True).execute(s),
    "prepared": lambda db, s: db.cursor(prepared=True).execute(f"{s} or id = ?", (1,)),
    "prepared dictionaries": lambda db, s: db.cursor(prepared=True, dictionary=True).execute(s),
    "connection": lambda db, s: db.cmd_query(s),
}


async def with_aio_cursor(db: Any, statement: str, *values: Any, **options: Any) -> Any:
    async with await db.cursor(**options) as cursor:
        await cursor.execute(statement, *values)
        return await cursor.fetchall()


AIO: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda db, s: with_aio_cursor(db, s),
    "execute with values": lambda db, s: with_aio_cursor(db, f"{s} or id = %s", (1,)),
    "prepared": lambda db, s: with_aio_cursor(db, f"{s} or id = ?", (1,), prepared=True),
    "connection": lambda db, s: db.cmd_query(s),
}


def sync_way(server: Server, connect: Any, ways: Any, name: str) -> Callable[[str], Any]:
    def run(statement: str) -> Any:
        db = connect(server)
        try:
            ways[name](db, statement)
        finally:
            db.close()

    return run


def async_way(server: Server, connect: Any, ways: Any, name: str) -> Callable[[str], Any]:
    async def run(statement: str) -> Any:
        db = await connect(server)
        try:
            await ways[name](db, statement)
        finally:
            closing = db.close()
            if closing is not None:
                await closing

    return lambda statement: asyncio.run(run(statement))


WAYS: dict[str, tuple[Any, Any, Any, str]] = {
    **{f"PyMySQL {name}": (sync_way, pymysql_connection, PYMYSQL, name) for name in PYMYSQL},
    **{f"mysqlclient {name}": (sync_way, mysqlclient_connection, MYSQLCLIENT, name) for name in MYSQLCLIENT},
    **{f"Connector {name}": (sync_way, connector_connection, CONNECTOR, name) for name in CONNECTOR},
    **{f"pure Connector {name}": (sync_way, pure_connection, CONNECTOR, name) for name in CONNECTOR},
    **{f"async Connector {name}": (async_way, aio_connection, AIO, name) for name in AIO},
    **{f"aiomysql {name}": (async_way, aiomysql_connection, AIOMYSQL, name) for name in AIOMYSQL},
}
every_way = pytest.mark.parametrize("name", WAYS)


def way(server: Server, name: str) -> Callable[[str], Any]:
    kind, connect, ways, short = WAYS[name]
    made: Callable[[str], Any] = kind(server, connect, ways, short)
    return made


def test_the_number_of_ways_is_what_it_was() -> None:
    assert [len(each) for each in (PYMYSQL, MYSQLCLIENT, AIOMYSQL, CONNECTOR, AIO)] == [15, 12, 10, 11, 4]
    assert len(WAYS) == 15 + 12 + 10 + 2 * 11 + 4


@every_way
def test_an_attack_is_stopped_before_it_is_sent(name: str, on_mariadb: Trial) -> None:
    on_mariadb.stops(way(on_mariadb.server, name))


@every_way
def test_an_honest_value_passes(name: str, on_mariadb: Trial) -> None:
    on_mariadb.lets_pass(way(on_mariadb.server, name))


@every_way
def test_outside_a_request_nothing_is_judged(name: str, on_mariadb: Trial) -> None:
    on_mariadb.would_run(way(on_mariadb.server, name))


@pytest.mark.parametrize("connect", [pymysql_connection, mysqlclient_connection])
def test_a_name_of_a_procedure_is_judged(connect: Any, on_mariadb: Trial) -> None:
    """Not every version of the drivers quotes it."""
    db = connect(on_mariadb.server)
    on_mariadb.stops(lambda statement: db.cursor().callproc(procedure(statement)))
    db.close()


def test_a_pool_gives_guarded_connections(on_mariadb: Trial) -> None:
    server = on_mariadb.server

    async def run(statement: str) -> None:
        async with aiomysql.create_pool(
            maxsize=1, unix_socket=str(server.socket), user="root", db="tests"
        ) as pool:
            async with pool.acquire() as db:
                await with_cursor(db, aiomysql.Cursor, statement)

    on_mariadb.stops(lambda statement: asyncio.run(run(statement)))


def test_rows_that_executemany_merges_are_not_judged(on_mariadb: Trial) -> None:
    """Merged, this would stand in the statement as it came."""

    def insert(value: str) -> None:
        db = pymysql_connection(on_mariadb.server)
        with db.cursor() as cursor:
            cursor.executemany("insert into users values (%s, %s)", [(3, value), (4, "x")])
            cursor.execute("select name from users where id = 3")
            assert cursor.fetchone() == (value,)
        db.close()

    on_mariadb.run(insert, "c", "'),(4,'")
    assert on_mariadb.kept == []
