"""What holds for every driver: bound values are free, errors and transactions are the server's own, and an
interruption leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import aiomysql  # type: ignore[import-untyped, unused-ignore]
import asyncpg  # type: ignore[import-untyped, unused-ignore]
import psycopg
import psycopg2  # type: ignore[import-untyped, unused-ignore]
import pymysql  # type: ignore[import-untyped, unused-ignore]
import pytest
from sensor.tests.drivers.conftest import MARIADB, Trial, driver, find
from sensor.tests.drivers.servers import Server

from divertor_sensor import AttackInterrupted, context


@dataclass
class Database:
    """A connection of any driver, with a synchronous function that takes `%s` for a value."""

    run: Callable[..., Any]
    close: Callable[[], Any]


def of_dbapi(connection: Any) -> Database:
    def run(statement: str, *values: Any) -> Any:
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else None

    return Database(run, connection.close)


def of_asyncio(connect: Callable[[], Any], run: Callable[..., Any]) -> Database:
    runner = asyncio.Runner()

    async def connected() -> Any:
        return await connect()

    async def close(connection: Any) -> None:
        if (closing := connection.close()) is not None:
            await closing

    def close_all() -> None:
        runner.run(close(connection))
        runner.close()

    def run_here(statement: str, *values: Any) -> Any:
        # A runner keeps the context that it was made in; a request is found in the one of now.
        return runner.run(run(connection, statement, *values), context=copy_context())

    connection = runner.run(connected())
    return Database(run_here, close_all)


async def run_psycopg(connection: Any, statement: str, *values: Any) -> Any:
    cursor = await connection.execute(statement, values or None)
    return await cursor.fetchall() if cursor.description else None


async def run_asyncpg(connection: Any, statement: str, *values: Any) -> Any:
    rows = await connection.fetch(statement.replace("%s", "$1"), *values)
    return [tuple(row) for row in rows]


async def run_aiomysql(connection: Any, statement: str, *values: Any) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(statement, values or None)
        return list(await cursor.fetchall()) if cursor.description else None


def on_socket(server: Server) -> dict[str, Any]:
    return {"host": str(server.directory), "port": server.port, "user": "tests"}


CONNECT: dict[str, Callable[[Server], Database]] = {
    "psycopg": lambda server: of_dbapi(psycopg.connect(**on_socket(server), dbname="postgres")),
    "psycopg2": lambda server: of_dbapi(psycopg2.connect(**on_socket(server), dbname="postgres")),
    "psycopg async": lambda server: of_asyncio(
        lambda: psycopg.AsyncConnection.connect(**on_socket(server), dbname="postgres"), run_psycopg
    ),
    "asyncpg": lambda server: of_asyncio(
        lambda: asyncpg.connect(**on_socket(server), database="postgres"), run_asyncpg
    ),
    "PyMySQL": lambda server: of_dbapi(pymysql.connect(unix_socket=str(server.socket), **MARIADB)),
    "mysqlclient": lambda server: of_dbapi(
        driver("MySQLdb").connect(unix_socket=str(server.socket), **MARIADB)
    ),
    "aiomysql": lambda server: of_asyncio(
        lambda: aiomysql.connect(unix_socket=str(server.socket), user="root", db="tests"), run_aiomysql
    ),
}


@pytest.fixture(params=CONNECT)
def trial(request: pytest.FixtureRequest) -> Trial:
    """The trial on the server that the driver is for."""
    of_mariadb = request.param in ("PyMySQL", "mysqlclient", "aiomysql")
    found: Trial = request.getfixturevalue("on_mariadb" if of_mariadb else "on_postgresql")
    return found


@pytest.fixture
def db(trial: Trial, request: pytest.FixtureRequest) -> Iterator[Database]:
    database = CONNECT[request.node.callspec.params["trial"]](trial.server)
    yield database
    database.close()


def test_the_number_of_drivers_is_what_it_was() -> None:
    assert len(CONNECT) == 7


def test_a_bound_value_is_free(trial: Trial, db: Database) -> None:
    statement = f"select name from users where name <> '{trial.word}' and name = %s"
    assert trial.run(lambda value: db.run(statement, value), trial.attack) == []
    assert trial.arrived() and trial.kept == []


def test_an_input_that_is_a_piece_of_the_apps_own_statement_is_free(trial: Trial, db: Database) -> None:
    names = trial.run(lambda _: db.run("select name from users where id > 0 and id < 3"), "id > 0 and id < 3")
    assert len(names) == 2 and trial.kept == []


def test_an_honest_fragment_is_free(trial: Trial, db: Database) -> None:
    names = trial.run(lambda value: db.run(f"select name from users order by {value}"), "name desc, id")
    assert list(names) == [("bob",), ("ann",)] and trial.kept == []


def test_an_unquoted_number_that_goes_on_is_stopped(trial: Trial, db: Database) -> None:
    attack = f"1 or '{trial.word}' <> ''"
    assert len(db.run(f"select name from users where id = {attack}")) == 2
    with pytest.raises(AttackInterrupted):
        trial.run(lambda value: db.run(f"select id, name from users where id = {value}"), attack)
    assert not trial.server.has_seen(f"select id, name from users where id = {attack}")


def test_a_name_with_an_apostrophe_is_reported_and_runs(trial: Trial, db: Database) -> None:
    name = f"{trial.word} O'Brien"
    with pytest.raises(Exception, match="(?i)syntax"):
        trial.run(lambda value: db.run(find(value)), name)
    assert trial.arrived() and [found.signal for found in trial.kept] == ["vulnerability"]


def test_the_servers_error_comes_through_as_it_is(trial: Trial, db: Database) -> None:
    def ending(value: str) -> Any:
        try:
            return db.run(f"select nothing from users where name = '{value}'")
        except Exception as problem:
            sensors = [
                frame for frame in traceback.extract_tb(problem.__traceback__) if frame.name == "wrapper"
            ]
            return type(problem), problem.args, len(sensors)
        finally:
            with suppress(Exception):
                db.run("rollback")

    expected = ending("ann")
    assert trial.run(ending, "ann") == expected
    assert expected[2] <= 2  # a cursor's, and that of the connection's function it calls


def test_an_interruption_leaves_the_transaction_as_it_was(trial: Trial, db: Database) -> None:
    other = CONNECT["PyMySQL" if trial.server.port == 0 else "psycopg"](trial.server)
    db.run("begin")
    db.run("delete from users where id = 1")
    with pytest.raises(AttackInterrupted):
        trial.run(lambda value: db.run(find(value)), trial.attack)
    assert db.run("select count(*) from users")[0] == (1,)
    assert other.run("select count(*) from users")[0] == (2,)
    db.run("rollback")
    assert db.run("select count(*) from users")[0] == (2,)
    other.close()


def test_a_connection_serves_the_next_request(trial: Trial, db: Database) -> None:
    with pytest.raises(AttackInterrupted):
        trial.run(lambda value: db.run(find(value)), trial.attack)
    assert trial.run(lambda value: list(db.run(find(value))), "ann") == [("ann",)]


def test_an_interrupted_request_may_roll_back_and_nothing_else(trial: Trial, db: Database) -> None:
    def app(value: str) -> None:
        db.run("begin")
        db.run("savepoint here")
        db.run("delete from users")
        try:
            db.run(find(value))
        finally:
            with pytest.raises(AttackInterrupted):
                db.run("select count(*) from users")
            with pytest.raises(AttackInterrupted):
                db.run("rollback; delete from users")
            db.run("ROLLBACK TO SAVEPOINT here")
            db.run(" rollback ;")

    with pytest.raises(AttackInterrupted):
        trial.run(app, trial.attack)
    assert db.run("select count(*) from users")[0] == (2,)


def test_a_statement_that_is_none_is_the_drivers_to_refuse(trial: Trial, db: Database) -> None:
    def ending(statement: Any) -> Any:
        try:
            return db.run(statement)
        except Exception as problem:
            return type(problem)

    for statement in (5, b"select \xff", "", ["select 1"]):
        expected = ending(statement)
        assert trial.run(lambda _, it=statement: ending(it), "x") == expected
    assert trial.kept == []


@pytest.mark.parametrize("trial", ["psycopg2", "PyMySQL", "mysqlclient"], indirect=True)
def test_a_placeholder_that_an_input_brings_into_a_literal_is_stopped(
    trial: Trial, request: pytest.FixtureRequest
) -> None:
    module = {"psycopg2": psycopg2, "PyMySQL": pymysql}.get(request.node.callspec.params["trial"])
    values = {"unix_socket": str(trial.server.socket), **MARIADB}
    if module is psycopg2:
        values = {**on_socket(trial.server), "dbname": "postgres"}
    connection = (module or driver("MySQLdb")).connect(**values)
    cursor = connection.cursor()

    def way(name: str) -> Any:
        statement = f"select name from users where name = '{name}' and name <> %(note)s -- {trial.word}"
        cursor.execute(statement, {"note": " or name <> "})
        return cursor.fetchall()

    assert len(way("%(note)s")) == 2  # every row
    with pytest.raises(AttackInterrupted):
        context.run_in(trial.request("%(note)s", " or name <> "), way, "%(note)s")
    assert len(context.run_in(trial.request("ann", "bob"), way, "ann")) == 1
    connection.close()
