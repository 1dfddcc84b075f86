"""For the tests of database drivers: a PostgreSQL, a MariaDB, and the trial that every way to a statement
stands.
"""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import psycopg
import pymysql  # type: ignore[import-untyped, unused-ignore]
import pytest
from sensor.tests.drivers import servers
from sensor.tests.drivers.servers import Server

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor

#: Runs a statement in some way of some driver.
Way = Callable[[str], Any]

_TABLE = (
    "create table if not exists users (id integer primary key, name varchar(400))",
    "delete from users",
    "insert into users values (1, 'ann'), (2, 'bob')",
)


def missing(reason: str) -> NoReturn:
    """Skips the test; where servers are required, fails it."""
    if os.environ.get("DIVERTOR_REQUIRE_SERVERS"):
        pytest.fail(reason)
    pytest.skip(reason)


def driver(name: str) -> Any:
    """The driver of that name, or the test is skipped (see `missing`)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"{name} is not installed")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(servers.postgresql())
        except servers.MissingError as problem:
            missing(str(problem))
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(servers.mariadb())
        except servers.MissingError as problem:
            missing(str(problem))
        yield server


@pytest.fixture
def postgresql_users(postgresql: Server) -> Server:
    """PostgreSQL with the table `users`: 1 ann, 2 bob."""
    with psycopg.connect(host=str(postgresql.directory), port=postgresql.port, **POSTGRESQL) as database:
        for statement in _TABLE:
            database.execute(statement)
    return postgresql


@pytest.fixture
def mariadb_users(mariadb: Server) -> Server:
    """MariaDB with the table `users`: 1 ann, 2 bob."""
    database = pymysql.connect(unix_socket=str(mariadb.socket), **MARIADB)
    with database.cursor() as cursor:
        for statement in _TABLE:
            cursor.execute(statement)
    database.commit()
    database.close()
    return mariadb


POSTGRESQL: dict[str, Any] = {"user": "tests", "dbname": "postgres"}
MARIADB: dict[str, Any] = {"user": "root", "database": "tests"}


class Trial:
    """What happens to a way to run a statement, inside a request and outside.

    Every statement carries a word that no other one has, by which the server is asked whether it arrived.
    """

    def __init__(self, server: Server, make_sensor: Callable[..., Sensor], kept: list[Detection]) -> None:
        self.server = server
        self.kept = kept
        self._make_sensor = make_sensor
        self.word = f"w{uuid.uuid4().hex}"
        self.attack = f"x' or '{self.word}' = '{self.word}"
        self.honest = f"ann {self.word}"

    def request(self, *values: str) -> Request:
        """A request with these values as parameters."""
        request = Request(self._make_sensor(), lambda: Head("POST", "/", "", {}, ""))
        request.body.record("&".join(f"v={_percent(value)}" for value in values).encode())
        return request

    def run(self, way: Callable[..., Any], *values: str) -> Any:
        """What `way` gives, called with the first value inside a request that brought the values."""
        return context.run_in(self.request(*values), way, values[0])

    def arrived(self) -> bool:
        return self.server.has_seen(self.word)

    def stops(self, way: Callable[..., Any]) -> None:
        """The attack is interrupted, reported once, and never reaches the server."""
        with pytest.raises(AttackInterrupted):
            self.run(lambda value: way(find(value)), self.attack)
        assert [(found.type, found.signal) for found in self.kept] == [("sql_injection", "attack")]
        assert self.word in self.kept[0].statement
        assert not self.arrived()

    def lets_pass(self, way: Callable[..., Any]) -> None:
        """An honest value in the same statement is no finding, and what is run outside a request is none."""
        self.run(lambda value: way(find(value)), self.honest)
        assert self.arrived() and self.kept == []

    def would_run(self, way: Callable[..., Any]) -> None:
        """Without a request the attack runs: the server understands it."""
        way(find(self.attack))
        assert self.arrived() and self.kept == []


def find(value: str) -> str:
    """What a careless app writes."""
    return f"select name from users where name = '{value}'"


def _percent(value: str) -> str:
    return "".join(f"%{byte:02x}" for byte in value.encode())


@pytest.fixture
def on_postgresql(
    postgresql_users: Server, make_sensor: Callable[..., Sensor], kept: list[Detection]
) -> Trial:
    return Trial(postgresql_users, make_sensor, kept)


@pytest.fixture
def on_mariadb(mariadb_users: Server, make_sensor: Callable[..., Sensor], kept: list[Detection]) -> Trial:
    return Trial(mariadb_users, make_sensor, kept)
