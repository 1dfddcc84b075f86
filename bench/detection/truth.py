"""Which statements a database accepts, asked of the databases themselves. Nothing is executed.

SQLite compiles the statement (`EXPLAIN`), PostgreSQL parses and analyses it (the protocol's Parse), MariaDB
prepares it. A statement that fails for nothing but an unknown name (table, column, function, …) or the number
of columns of a UNION counts as accepted: on the attacked server the name exists, and attackers try numbers.
In a script each statement must be accepted.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sensor.tests.drivers import servers

from bench.detection import structure

Accepts = Callable[[str], bool]

_COLUMNS = "id integer, name varchar(200), email varchar(200), active integer"
#: SQLSTATE: undefined table, column, function, object, schema, parameter, database; ambiguous column,
#: function.
_PG_NAMES = frozenset("42P01 42703 42883 42704 3F000 42P02 3D000 42702 42725".split())
#: Unknown database, column, table, function, variable; ambiguous column; UNION; not to be prepared.
_MARIADB_NAMES = frozenset({1046, 1049, 1052, 1054, 1109, 1128, 1146, 1193, 1222, 1295, 1305, 1327, 1356})
_SQLITE_NAMES = ("no such ", "unknown database", "ambiguous column", "SELECTs to the left and right of ")


@contextmanager
def judges(stack_of: tuple[str, ...]) -> Iterator[dict[str, Accepts]]:
    """By dialect, what tells whether a server accepts a statement; those left out have no server here."""
    makers = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mariadb}
    with ExitStack() as stack:
        found = {}
        for dialect in stack_of:
            try:
                found[dialect] = stack.enter_context(makers[dialect]())
            except servers.MissingError as problem:
                print(f"{dialect}: {problem}", file=sys.stderr)
        yield found


def executes(dialect: str, accepts: Accepts, statement: str) -> bool:
    """Whether the server would run it: a statement, or a script of which it accepts each statement."""
    if accepts(statement):
        return True
    parts = structure.split(dialect, statement) if ";" in statement else []
    return len(parts) > 1 and all(map(accepts, parts))


@contextmanager
def _sqlite() -> Iterator[Accepts]:
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE users ({_COLUMNS})")

    def accepts(statement: str) -> bool:
        try:
            database.execute(f"EXPLAIN {statement}")
        except (sqlite3.Error, sqlite3.Warning, ValueError) as problem:
            return str(problem).startswith(_SQLITE_NAMES)
        return True

    yield accepts
    database.close()


@contextmanager
def _postgresql() -> Iterator[Accepts]:
    import psycopg

    with (
        servers.postgresql() as server,
        psycopg.connect(
            host=str(server.directory), port=server.port, user="tests", dbname="postgres"
        ) as database,
    ):
        database.execute("SET log_statement = 'none'; SET log_min_duration_statement = -1")
        database.execute("SET log_min_error_statement = 'panic'; SET log_min_messages = 'panic'")
        database.execute("SET statement_timeout = '2s'")
        database.execute(f"CREATE TABLE users ({_COLUMNS})")
        database.commit()
        connection = database.pgconn

        def accepts(statement: str) -> bool:
            try:
                result = connection.prepare(b"", statement.encode("utf-8", "replace"))
            except psycopg.Error:
                return False
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            if state is None or state.decode() in _PG_NAMES:
                return True
            return b"must have the same number of columns" in result.error_message

        yield accepts


@contextmanager
def _mariadb() -> Iterator[Accepts]:
    import pymysql  # type: ignore[import-untyped, unused-ignore]

    with servers.mariadb() as server:
        database: Any = pymysql.connect(
            unix_socket=str(server.socket), user="root", database="tests", autocommit=True
        )
        cursor = database.cursor()
        cursor.execute("SET GLOBAL general_log = OFF")
        cursor.execute("SET max_statement_time = 2")
        cursor.execute(f"CREATE TABLE users ({_COLUMNS})")

        def accepts(statement: str) -> bool:
            try:
                cursor.execute("PREPARE tried FROM %s", (statement,))
            except pymysql.Error as problem:
                return bool(problem.args) and problem.args[0] in _MARIADB_NAMES
            return True

        yield accepts
        database.close()
