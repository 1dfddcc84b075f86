"""What stands in for sqlite3's types and for functions of the standard library ends as they do, for real.

sqlite3's guards are subclasses and no proxies; files and processes are heard of from the interpreter or
proxied. Each call is made without the sensor, with it, and within a request, and has to end the same way.
"""

from __future__ import annotations

import builtins
import inspect
import io
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from divertor_sensor import context, patching
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sinks.sqlite import GuardedConnection, GuardedCursor

MakeSensor = Callable[..., Sensor]
Shape = tuple[tuple[Any, ...], dict[str, Any]]


def a_request(make_sensor: MakeSensor) -> Request:
    return Request(make_sensor(), lambda: Head("GET", "/", "q=some+thing", {}, ""))


def signature_of(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "none"


METHODS: dict[str, list[Shape]] = {
    "execute": [
        (("select 1",), {}),
        (("select ?", (1,)), {}),
        (("select :a", {"a": 1}), {}),
        ((), {}),
        ((1,), {}),
        ((b"select 1",), {}),
        (("select", ()), {}),
        (("select ?", (1, 2)), {}),
        (("select 1; select 2",), {}),
        ((), {"sql": "select 1"}),
        (("select 1",), {"parameters": ()}),
        (("select 1", (), 3), {}),
        (("select \ud800",), {}),
    ],
    "executemany": [
        (("insert into t values (?)", [(1,), (2,)]), {}),
        (("insert into t values (?)", ((1,), (2,), (3,))), {}),
        (("insert into t values (?)",), {}),
        (("select 1", []), {}),
        ((None, []), {}),
    ],
    "executescript": [
        (("insert into t values (3); select 1",), {}),
        ((5,), {}),
        ((), {}),
        (("nonsense",), {}),
    ],
}
SQL_CALLS: list[tuple[str, str, Shape]] = [
    (owner, method, shape)
    for owner in ("connection", "cursor")
    for method, calls in METHODS.items()
    for shape in calls
]


def outcome(connect: Callable[..., sqlite3.Connection], owner: str, method: str, shape: Shape) -> Any:
    """What a call returns or raises, and what it leaves in the table."""
    args, kwargs = shape
    with closing(connect(":memory:")) as database:
        database.execute("create table t (a)")
        target = database if owner == "connection" else database.cursor()
        try:
            result = getattr(target, method)(*args, **kwargs)
            told: Any = (
                isinstance(result, sqlite3.Cursor),
                result.fetchall(),
                result.rowcount,
                result.description,
            )
        except Exception as problem:
            told = type(problem)
        return told, database.execute("select * from t").fetchall()


@pytest.mark.parametrize(("owner", "method", "shape"), SQL_CALLS)
def test_a_database_call_ends_as_it_would_without_the_sensor(
    owner: str, method: str, shape: Shape, make_sensor: MakeSensor
) -> None:
    original = patching.patched[("sqlite3", "connect")][2]
    expected = outcome(original, owner, method, shape)
    assert outcome(sqlite3.connect, owner, method, shape) == expected
    assert context.run_in(a_request(make_sensor), outcome, sqlite3.connect, owner, method, shape) == expected


GUARDS = [(GuardedCursor, sqlite3.Cursor), (GuardedConnection, sqlite3.Connection)]


@pytest.mark.parametrize(("guard", "original"), GUARDS)
def test_a_guarded_type_answers_to_the_names_of_the_original(guard: type, original: type) -> None:
    for name in ("__name__", "__qualname__", "__module__"):
        assert getattr(guard, name) == getattr(original, name)
    for name in [name for name in guard.__dict__ if not name.startswith("_")]:
        mine, theirs = getattr(guard, name), getattr(original, name)
        for detail in ("__name__", "__qualname__", "__doc__"):
            assert getattr(mine, detail) == getattr(theirs, detail)
        if signature_of(theirs) != "none":
            assert list(inspect.signature(mine).parameters) == list(inspect.signature(theirs).parameters)


CONNECTS: list[Shape] = [
    ((":memory:",), {}),
    ((), {"database": ":memory:"}),
    ((":memory:", 1.0), {"isolation_level": None}),
    ((":memory:", 1.0, 0, None, False), {}),
    ((":memory:", 1.0, 0, None, False, sqlite3.Connection, 10, True), {}),
    ((":memory:",), {"factory": sqlite3.Connection, "uri": True}),
    ((), {}),
    ((3.5,), {}),
    ((":memory:",), {"unknown": 1}),
    ((":memory:",), {"factory": 5}),
    ((":memory:",), {"factory": lambda *args, **kwargs: sqlite3.Connection(":memory:")}),
]


@pytest.mark.parametrize("shape", CONNECTS)
def test_connect_ends_as_it_would_without_the_sensor(shape: Shape) -> None:
    def ends(connect: Callable[..., sqlite3.Connection]) -> Any:
        try:
            with closing(connect(*shape[0], **shape[1])) as database:
                return (
                    isinstance(database, sqlite3.Connection),
                    database.isolation_level,
                    type(database).__name__,
                )
        except Exception as problem:
            return type(problem)

    assert ends(sqlite3.connect) == ends(patching.patched[("sqlite3", "connect")][2])


def test_the_two_names_of_connect_stay_one_object() -> None:
    assert sqlite3.connect is sqlite3.dbapi2.connect


def test_what_the_interpreter_announces_is_not_touched() -> None:
    heard = {("builtins", "open"), ("io", "open"), ("os", "open"), ("os", "system"), ("os", "remove")}
    assert heard.isdisjoint(patching.patched) and io.open is builtins.open


def test_open_does_not_bind_as_a_class_attribute(tmp_path: Any) -> None:
    class Store:
        opener: Any = open

    (tmp_path / "x").write_text("content")
    with Store().opener(tmp_path / "x") as file:
        assert file.read() == "content"


#: Calls of the proxied functions of `os`, as text that is evaluated where `d` is a directory with a file `f`.
OS_CALLS = [
    "stat(d + '/f').st_size",
    "stat(path=d + '/f').st_size",
    "stat((d + '/f').encode()).st_size",
    "stat(Path(d, 'f')).st_size",
    "stat(d + '/f', follow_symlinks=False).st_size",
    "stat(d + '/f', dir_fd=None, follow_symlinks=True).st_size",
    "stat('f', dir_fd=fd).st_size",
    "stat(fd).st_mode",
    "stat(d + '/none')",
    "stat(d + '/f\\0')",
    "stat()",
    "stat(None)",
    "stat(1.5)",
    "stat(d, 1)",
    "stat(d, unknown=1)",
    "lstat(d + '/l').st_mode",
    "lstat('l', dir_fd=fd).st_mode",
    "lstat(fd)",
    "access(d + '/f', 4)",
    "access(path=d + '/f', mode=4, effective_ids=False)",
    "access('f', 4, dir_fd=fd)",
    "access(d + '/none', 0)",
    "access(d + '/f')",
    "readlink(d + '/l')",
    "readlink((d + '/l').encode())",
    "readlink('l', dir_fd=fd)",
    "readlink(d + '/f')",
    "spawnv(os.P_WAIT, '/bin/true', ['true'])",
    "spawnv(mode=os.P_WAIT, file='/bin/false', args=('false',))",
    "spawnvp(os.P_WAIT, 'true', ['true'])",
    "spawnve(os.P_WAIT, '/bin/true', ['true'], {})",
    "spawnvpe(os.P_WAIT, 'true', ['true'], env={})",
    "spawnv(os.P_WAIT, '/bin/true', 'true')",
    "spawnv(os.P_WAIT, '/bin/true')",
    "spawnlp(os.P_WAIT, 'true', 'true')",
]


def os_outcome(call: str, d: str, fd: int, functions: dict[str, Any]) -> Any:
    try:
        return eval(call, {**vars(os), **functions, "os": os, "Path": Path, "d": d, "fd": fd})
    except Exception as problem:
        return type(problem), str(problem)


@pytest.mark.parametrize("call", OS_CALLS)
def test_a_function_of_os_ends_as_it_would_without_the_sensor(
    call: str, make_sensor: MakeSensor, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("content")
    (tmp_path / "l").symlink_to("f")
    originals = {name: found[2] for (module, name), found in patching.patched.items() if module == "os"}
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        expected = os_outcome(call, str(tmp_path), fd, originals)
        assert os_outcome(call, str(tmp_path), fd, {}) == expected
        assert context.run_in(a_request(make_sensor), os_outcome, call, str(tmp_path), fd, {}) == expected
    finally:
        os.close(fd)


def test_the_number_of_calls_is_what_it_was() -> None:
    assert (len(SQL_CALLS), len(CONNECTS), len(OS_CALLS)) == (44, 11, 35)


def test_what_os_says_of_its_functions_still_holds() -> None:
    assert os.stat in os.supports_dir_fd and os.stat in os.supports_fd
    assert os.stat in os.supports_follow_symlinks and os.access in os.supports_effective_ids
