"""What the SQL detector takes for prose that no database reads is read by none: asked of the servers' own
parsers, with every keyword that they know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import psycopg
import pymysql  # type: ignore[import-untyped, unused-ignore]
from sensor.tests.drivers.conftest import MARIADB, POSTGRESQL
from sensor.tests.drivers.servers import Server

from divertor_sensor.detectors.sql_grammar import is_prose, takes_no_name

STATEMENTS = (
    "select id from users where name = '%s'",
    "select id from users where id > 1 and name like '%s' order by id",
    "select id from users where name in ('%s', 'x') order by id",
    "select id from users where id in (select id from users where name <> '%s')",
    "insert into users values (9, '%s')",
    "insert into users (id, name) values (8, lower('x')), (9, '%s')",
    "update users set name = '%s' where id = 1",
    "delete from users where name = '%s'",
)
TAILS = (" -- ", " from users -- ", ", 1) -- ", " by 1 -- ", " (1) -- ", " = ", ", name = '")
_SYNTAX_ERROR, _ER_PARSE_ERROR = "42601", 1064


def unreadable(keywords: Iterable[str]) -> Iterator[str]:
    """Statements broken by two words, of which one is a keyword, that the detector says nobody reads."""
    words = [word.lower() for word in keywords]
    pairs = [f" {word} worry" for word in words] + [f" t {word}" for word in words] + [" s order was", " s 5"]
    for statement in STATEMENTS:
        before = statement[: statement.index("'%s'")]
        assert takes_no_name(before.replace("'x'", "''"))
        for pair in pairs:
            for tail in TAILS:
                if is_prose(pair + tail):
                    yield statement % f"don'{pair}{tail}"


def accepted(statements: Iterable[str], is_accepted: Callable[[str], bool]) -> tuple[int, list[str]]:
    """How many there are, and those that a server reads."""
    tried = list(statements)
    return len(tried), [statement for statement in tried if is_accepted(statement)]


def test_postgresql_reads_none(postgresql_users: Server) -> None:
    where, port = str(postgresql_users.directory), postgresql_users.port
    with psycopg.connect(host=where, port=port, autocommit=True, **POSTGRESQL) as database:

        def is_accepted(statement: str) -> bool:
            result = database.pgconn.prepare(b"", statement.encode())
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b""
            return state.decode() != _SYNTAX_ERROR

        assert is_accepted("select 'don' t from users -- '")
        keywords = [word for (word,) in database.execute("select word from pg_get_keywords()").fetchall()]
        tried, read = accepted(unreadable(keywords), is_accepted)
    assert tried > 10_000 and read == []


def test_mariadb_reads_none(mariadb_users: Server) -> None:
    with pymysql.connect(unix_socket=str(mariadb_users.socket), **MARIADB) as database:
        cursor = database.cursor()

        def is_accepted(statement: str) -> bool:
            try:
                cursor.execute("prepare p from " + database.escape(statement))
            except pymysql.err.MySQLError as problem:
                return bool(problem.args[0] != _ER_PARSE_ERROR)
            return True

        assert is_accepted("select 'don' t from users -- '")
        cursor.execute("select word from information_schema.keywords")
        tried, read = accepted(unreadable([word for (word,) in cursor.fetchall()]), is_accepted)
    assert tried > 10_000 and read == []
