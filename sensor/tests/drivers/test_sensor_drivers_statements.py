"""How a statement is read that is no text, and what the drivers' patched functions look like from outside."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aiomysql  # type: ignore[import-untyped, unused-ignore]  # noqa: F401  # patched once it is imported
import asyncpg  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
import psycopg.sql
import psycopg2.sql  # type: ignore[import-untyped, unused-ignore]
import pymysql  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
import pytest
from sensor.tests.drivers.conftest import Trial, driver, find

from divertor_sensor import context, patching
from divertor_sensor.detectors.sql import POSTGRESQL
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import AttackInterrupted, Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sinks.drivers import judged, rendered_by, text_of

MakeSensor = Callable[..., Sensor]
MODULES: list[Any] = [psycopg.sql, psycopg2.sql]
both_modules = pytest.mark.parametrize("sql", MODULES)


class Text(str):
    """As template engines and ORMs have them."""

    def __str__(self) -> str:
        return "something else"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Text("select"), "select"),
        ("é".encode(), "é"),
        (b"\xe9", "é"),
        (bytearray(b"a"), "a"),
        (memoryview(b"a"), "a"),
        (5, None),
        (None, None),
        (["a"], None),
    ],
)
def test_a_statement_is_read_as_the_server_gets_it(given: Any, text: str | None) -> None:
    assert text_of(given) == text and type(text_of(given)) in (str, type(None))


@both_modules
def test_what_is_composed_is_read_with_its_names_and_without_its_values(sql: Any) -> None:
    composed = sql.SQL("select {}, {} from {} where a = {} and {}").format(
        sql.Identifier('a"b'),
        sql.SQL(", ").join([sql.Identifier("t", "c"), sql.Placeholder("x")]),
        sql.Identifier("users"),
        sql.Literal("it's"),
        sql.Composed([sql.SQL("b = "), sql.Placeholder()]),
    )
    expected = 'select "a""b", "t"."c", %s from "users" where a = %s and b = %s'
    assert rendered_by(sql)(composed, None) == expected


@both_modules
def test_a_composable_of_the_app_is_asked_for_its_text(sql: Any) -> None:
    class Own(sql.SQL):  # type: ignore[misc, name-defined, unused-ignore]
        def as_string(self, context: Any = None) -> str:
            return f"own {context}"

    assert rendered_by(sql)(sql.Composed([sql.SQL("a "), Own("x")]), "cursor") == "a own cursor"


class Stand:
    """A cursor whose `execute` gives back what it got, under guard."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


def guarded(**options: Any) -> Any:
    wrapper = judged(POSTGRESQL, "stand", "query", **options)
    return type("Guarded", (Stand,), {"execute": patching.proxy(Stand.execute, wrapper)})()


def a_request(make_sensor: MakeSensor, value: str = "x' or 'a'='a", **settings: Any) -> Request:
    request = Request(make_sensor(**settings), lambda: Head("GET", "/", "", {}, ""))
    request.body.record(value.encode())
    return request


def test_a_statement_that_cannot_be_read_is_the_drivers(
    make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    def broken(given: Any, owner: Any) -> str:
        raise ValueError("no")

    request = a_request(make_sensor, strict=False)
    assert context.run_in(request, guarded(render=broken).execute, 5) == ((5,), {})
    assert request.sensor.faults.count == 1 and kept == []


@pytest.mark.parametrize("own", [(), (__name__,)])
def test_a_call_of_the_driver_itself_is_passed_on(own: Any, make_sensor: MakeSensor) -> None:
    def call() -> Any:
        return guarded(own=own).execute(find("x' or 'a'='a"))

    if own:
        assert context.run_in(a_request(make_sensor), call)
    else:
        with pytest.raises(AttackInterrupted):
            context.run_in(a_request(make_sensor), call)


UNDOING = [
    "rollback",
    " ROLLBACK ; ",
    "rollback work",
    "rollback transaction",
    "abort",
    "ROLLBACK TO SAVEPOINT sa_savepoint_1",
    'rollback to savepoint "s1234_x5"',
    "ROLLBACK TO `s1`;",
]
NOT_UNDOING = [
    "rollback; select 1",
    "rollback to savepoint a b",
    "commit",
    "rollback prepared 'x'",
    "begin",
    "",
]


@pytest.mark.parametrize("statement", [*UNDOING, *NOT_UNDOING])
def test_an_interrupted_request_may_only_undo(statement: str, make_sensor: MakeSensor) -> None:
    request = a_request(make_sensor)
    request.interrupted = True
    if statement in UNDOING:
        assert context.run_in(request, guarded().execute, statement) == ((statement,), {})
    else:
        with pytest.raises(AttackInterrupted):
            context.run_in(request, guarded().execute, statement)


def drivers_patches() -> dict[tuple[str, str], tuple[Any, Any]]:
    for late in ("MySQLdb.cursors", "MySQLdb.connections", "mysql.connector", "mysql.connector.aio"):
        driver(late)
    titles = {"psycopg", "psycopg2", "asyncpg", "PyMySQL", "mysqlclient", "aiomysql", "MySQL Connector"}
    modules = {each.module for each in patching.integrations.values() if each.title in titles}
    return {
        key: (original, owner.__dict__[attribute])
        for key, (owner, attribute, original) in patching.patched.items()
        if key[0] in modules
    }


def has_c_part(patches: Iterable[tuple[str, str]]) -> bool:
    """Whether MySQL Connector's C part is there: it does not load beside another library's libssl."""
    return any(module.endswith("_cext") for module, _ in patches)


def kind_of(function: Any) -> tuple[bool, ...]:
    return (
        inspect.iscoroutinefunction(function),
        inspect.isgeneratorfunction(function),
        inspect.isasyncgenfunction(function),
        inspect.isfunction(function),
        inspect.isbuiltin(function),
    )


def signature_of(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "none"


def test_every_patched_function_answers_as_the_original_does() -> None:
    patches = drivers_patches()
    for original, patched in patches.values():
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            assert getattr(patched, name) == getattr(original, name)
        assert kind_of(patched) == kind_of(original)
        assert signature_of(patched) == signature_of(original)
    assert len(patches) == (85 if has_c_part(patches) else 76)


def legal_calls(signature: inspect.Signature) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Each number of arguments by position and the others by name, with the optional ones and without."""
    parameters = list(signature.parameters.values())[1:]
    plain = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    must = {p.name for p in parameters if p.default is p.empty}
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return [
        (tuple(plain[:count]), {name: name for name in [*plain[count:], *named] if take_all or name in must})
        for count in range(len(plain) + 1)
        for take_all in (True, False)
    ]


def test_every_legal_call_is_passed_on_as_it_came(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    count = 0
    for key, (original, patched) in drivers_patches().items():
        if key == ("psycopg2", "_connect"):
            continue  # it gets a factory; see the tests of psycopg2

        def body(self: Any, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        proxied = type("Holder", (), {"call": patching.proxy(body, patched._self_wrapper)})().call
        for args, kwargs in legal_calls(inspect.signature(original)):
            assert proxied(*args, **kwargs) == (args, kwargs)
            assert context.run_in(a_request(make_sensor), proxied, *args, **kwargs) == (args, kwargs)
            count += 1
    assert count == (452 if has_c_part(drivers_patches()) else 402) and kept == []


@pytest.mark.parametrize("implementation", ["python", "binary"])
def test_either_implementation_of_psycopg_is_guarded(implementation: str, on_postgresql: Trial) -> None:
    server = on_postgresql.server
    task = [str(server.directory), str(server.port), on_postgresql.attack, find(on_postgresql.attack)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("psycopg_app.py")), *task],
        env={**os.environ, "PSYCOPG_IMPL": implementation},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [implementation, "2"], done.stderr
    assert not on_postgresql.arrived()
