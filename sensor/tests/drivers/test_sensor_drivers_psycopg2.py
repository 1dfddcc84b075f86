"""psycopg2 against a real PostgreSQL: its types are C's, and still what the app gets is what it asked for."""

from __future__ import annotations

import io
import logging
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import psycopg2  # type: ignore[import-untyped, unused-ignore]
import pytest
from psycopg2 import extensions, extras, pool, sql  # type: ignore[import-untyped, unused-ignore]
from sensor.tests.drivers.conftest import POSTGRESQL, Trial
from sensor.tests.drivers.servers import Server

from divertor_sensor import patching


def connect(server: Server, **options: Any) -> Any:
    return psycopg2.connect(host=str(server.directory), port=server.port, **POSTGRESQL, **options)


class OwnCursor(extensions.cursor):  # type: ignore[misc, unused-ignore]
    def execute(self, query: Any, tag: str = "") -> Any:
        return super().execute(query.replace("SELEKT", "select"))


class OwnConnection(extensions.connection):  # type: ignore[misc, unused-ignore]
    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        return super().cursor(*args, cursor_factory=OwnCursor, **kwargs)


def by_values(db: Any, statement: str) -> Any:
    query = f"insert into users {statement.replace('name', '3, name', 1)} and id in (%s)"
    return extras.execute_values(db.cursor(), query, [(4,), (5,)])


def logged(db: Any, statement: str) -> Any:
    db.initialize(logging.getLogger("unheard"))
    return db.cursor().execute(statement)


#: What to connect with, and how to run a statement then.
WAYS: dict[str, tuple[dict[str, Any], Callable[[Any, Any], Any]]] = {
    "execute": ({}, lambda db, s: db.cursor().execute(s)),
    "execute by name": ({}, lambda db, s: db.cursor().execute(query=s, vars=None)),
    "execute with parameters": ({}, lambda db, s: db.cursor().execute(f"{s} or id = %s", (1,))),
    "executemany": ({}, lambda db, s: db.cursor().executemany(s, [()])),
    "callproc": (
        {},
        lambda db, s: db.cursor().callproc(f"version() where exists ({s}) or pg_is_in_recovery"),
    ),
    "copy_expert": ({}, lambda db, s: db.cursor().copy_expert(f"copy ({s}) to stdout", io.StringIO())),
    "bytes": ({}, lambda db, s: db.cursor().execute(s.encode())),
    "Composed": ({}, lambda db, s: db.cursor().execute(sql.SQL("{} and true").format(sql.SQL(s)))),
    "merged by the app": (
        {},
        lambda db, s: db.cursor().execute(db.cursor().mogrify(f"{s} or id = %s", (1,))),
    ),
    "named cursor": ({}, lambda db, s: db.cursor("own").execute(s)),
    "named cursor, options": ({}, lambda db, s: db.cursor("own", None, True, False).execute(s)),
    "DictCursor": ({}, lambda db, s: db.cursor(cursor_factory=extras.DictCursor).execute(s)),
    "RealDictCursor": ({"cursor_factory": extras.RealDictCursor}, lambda db, s: db.cursor().execute(s)),
    "NamedTupleCursor": ({}, lambda db, s: db.cursor(None, extras.NamedTupleCursor).execute(s)),
    "NamedTupleCursor executemany": (
        {"cursor_factory": extras.NamedTupleCursor},
        lambda db, s: db.cursor().executemany(s, [()]),
    ),
    "LoggingConnection": ({"connection_factory": extras.LoggingConnection}, logged),
    "DictConnection": ({"connection_factory": extras.DictConnection}, lambda db, s: db.cursor().execute(s)),
    "execute_values": ({}, by_values),
    "execute_batch": ({}, lambda db, s: extras.execute_batch(db.cursor(), f"{s} or id = %s", [(1,), (2,)])),
    "execute_batch of a DictCursor": (
        {"cursor_factory": extras.DictCursor},
        lambda db, s: extras.execute_batch(db.cursor(), f"{s} or id = %s", [(1,), (2,)]),
    ),
    "own cursor": (
        {"cursor_factory": OwnCursor},
        lambda db, s: db.cursor().execute(s.replace("select", "SELEKT"), tag="x"),
    ),
    "own connection": (
        {"connection_factory": OwnConnection},
        lambda db, s: db.cursor().execute(s.replace("select", "SELEKT")),
    ),
}
every_way = pytest.mark.parametrize("name", WAYS)


def way(server: Server, name: str) -> Callable[[str], Any]:
    options, run = WAYS[name]

    def connected(statement: str) -> Any:
        db = connect(server, **options)
        try:
            run(db, statement)
        finally:
            db.close()

    return connected


def test_the_number_of_ways_is_what_it_was() -> None:
    assert len(WAYS) == 22


@every_way
def test_an_attack_is_stopped_before_it_is_sent(name: str, on_postgresql: Trial) -> None:
    on_postgresql.stops(way(on_postgresql.server, name))


@every_way
def test_an_honest_value_passes(name: str, on_postgresql: Trial) -> None:
    on_postgresql.lets_pass(way(on_postgresql.server, name))


@every_way
def test_outside_a_request_nothing_is_judged(name: str, on_postgresql: Trial) -> None:
    on_postgresql.would_run(way(on_postgresql.server, name))


def test_values_that_execute_values_merges_are_not_judged(on_postgresql: Trial) -> None:
    """Merged, this one would stand in the statement as it came."""

    def insert(value: str) -> None:
        with connect(on_postgresql.server) as db, db.cursor() as cursor:
            template = f"(%s, {3 + 4}, %s)"
            cursor.execute("create temp table t (a int, b int, c text)")
            extras.execute_values(cursor, "insert into t values %s", [(1, value)], template=template)
            cursor.execute("select c from t")
            assert cursor.fetchall() == [(value,)]
        db.close()

    on_postgresql.run(insert, "x','y", ", 7, 'x'',''y')")
    assert on_postgresql.kept == []


@pytest.fixture
def db(postgresql_users: Server) -> Any:
    db = connect(postgresql_users)
    yield db
    db.close()


def test_a_connection_and_a_cursor_are_of_the_real_types(db: Any) -> None:
    with db.cursor() as cursor:
        assert isinstance(db, extensions.connection) and isinstance(cursor, extensions.cursor)
        for found, real in ((type(db), extensions.connection), (type(cursor), extensions.cursor)):
            assert (found.__name__, found.__qualname__, found.__module__) == (
                real.__name__,
                real.__qualname__,
                real.__module__,
            )
            assert found.__doc__ == real.__doc__ and found.__dictoffset__ == real.__dictoffset__
        assert repr(db).startswith("<connection object at") and repr(cursor).startswith("<cursor object at")
        assert weakref.ref(db)() is db and cursor.connection is db


@pytest.mark.parametrize("method", ["execute", "executemany", "callproc", "copy_expert"])
def test_a_method_answers_to_the_names_of_the_original(db: Any, method: str) -> None:
    mine, theirs = getattr(db.cursor(), method), getattr(extensions.cursor, method)
    for detail in ("__name__", "__qualname__", "__doc__"):
        assert getattr(mine, detail) == getattr(theirs, detail)


def test_an_own_factory_is_what_the_app_gets(postgresql_users: Server) -> None:
    db = connect(postgresql_users, connection_factory=OwnConnection)
    assert isinstance(db, OwnConnection) and type(db).__name__ == "OwnConnection"
    assert isinstance(db.cursor(), OwnCursor) and type(db.cursor()) is type(db.cursor())
    db.close()


def test_the_cursor_factory_of_a_connection_stays_what_the_app_set(postgresql_users: Server) -> None:
    db = connect(postgresql_users, cursor_factory=extras.DictCursor)
    assert db.cursor_factory is extras.DictCursor
    db.cursor_factory = None
    assert not isinstance(db.cursor(), extras.DictCursor)
    db.close()


def test_functions_that_ask_for_the_real_types_take_ours(db: Any) -> None:
    with db.cursor() as cursor:
        for scope in (db, cursor):
            extensions.register_type(extensions.UNICODE, scope)
            extras.register_default_jsonb(scope)
            extras.register_uuid(None, scope)
            assert extensions.quote_ident('a"b', scope) == '"a""b"'
            assert sql.Identifier("a").as_string(scope) == '"a"'
        extras.register_composite("users", cursor)
        cursor.execute("select u from users u where id = 1")
        assert cursor.fetchone()[0].name == "ann"
        assert extensions.adapt("x").getquoted() == b"'x'" and extensions.encodings[db.encoding]


def calls(connect: Callable[..., Any], arguments: dict[str, Any]) -> list[Any]:
    """How calls end that no app should write, and some that it may."""
    db = connect(**arguments)
    cursor = db.cursor()
    ends = [
        ending(call)
        for call in (
            lambda: cursor.execute(),
            lambda: cursor.execute(None),
            lambda: cursor.execute(5),
            lambda: cursor.execute("select 1", (), 3),
            lambda: cursor.execute("select %s", vars=(1,)),
            lambda: cursor.execute(sql="select 1"),
            lambda: cursor.execute("select %s"),
            lambda: cursor.executemany("select %s", [(1,), (2,)]),
            lambda: cursor.executemany("select 1"),
            lambda: cursor.callproc("lower", ["A"]),
            lambda: cursor.callproc(5),
            lambda: cursor.copy_expert("copy (select 1) to stdout", io.StringIO()),
            lambda: cursor.copy_expert(None, None),
            lambda: type(db.cursor(None)).__name__,
            lambda: type(db.cursor("a", scrollable=True)).__name__,
            lambda: db.cursor(cursor_factory=5),
            lambda: db.cursor(unknown=5),
            lambda: db.cursor("a", None, False, None, 3),
        )
    ]
    db.close()
    return ends


def ending(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as problem:
        return type(problem), str(problem)


def test_every_call_ends_as_it_would_without_the_sensor(on_postgresql: Trial) -> None:
    server = on_postgresql.server
    arguments = {"dsn": f"host={server.directory} port={server.port} user=tests dbname=postgres"}
    expected = calls(patching.patched[("psycopg2", "_connect")][2], arguments)
    assert len(expected) == 18
    assert calls(psycopg2.connect, arguments) == expected
    assert on_postgresql.run(lambda _: calls(psycopg2.connect, arguments), "x") == expected


def test_what_the_real_types_refuse_is_refused(db: Any) -> None:
    """They have no dictionary, and cannot be pickled."""
    for found in (db, db.cursor()):
        with pytest.raises(AttributeError):
            found.other = 1
        with pytest.raises(TypeError):
            pickle.dumps(found)


def test_a_pool_gives_guarded_connections(on_postgresql: Trial) -> None:
    server = on_postgresql.server
    connections = pool.ThreadedConnectionPool(
        1, 1, host=str(server.directory), port=server.port, **POSTGRESQL
    )
    db = connections.getconn()
    on_postgresql.stops(db.cursor().execute)
    connections.putconn(db)
    assert connections.getconn() is db
    connections.closeall()


def test_a_factory_that_is_a_function_is_called_as_it_is(postgresql_users: Server) -> None:
    db = connect(postgresql_users, connection_factory=lambda dsn, **options: extensions.connection(dsn))
    assert type(db) is extensions.connection
    db.close()


def test_statements_in_another_charset_are_read(on_postgresql: Trial) -> None:
    db = connect(on_postgresql.server)
    db.set_client_encoding("latin1")
    on_postgresql.attack = f"é{on_postgresql.attack}"
    on_postgresql.stops(lambda statement: db.cursor().execute(statement.encode("latin-1")))
    db.close()
