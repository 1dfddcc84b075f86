"""Every patched callable behaves as the original, in every legal call shape, inside a request and outside.

The shapes are generated from the original's own signature: each parameter by position or by name, each
optional one given or left out. The bodies are stand-ins that return exactly what they were given; sqlite3's
methods, which are subclasses and no proxies, run for real.
"""

from __future__ import annotations

import builtins
import concurrent.futures.thread  # noqa: F401  # it is patched once it is imported
import inspect
import io
import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import wrapt

from divertor_sensor import context, patching
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sinks.sqlite import GuardedConnection, GuardedCursor

MakeSensor = Callable[..., Sensor]
Shape = tuple[tuple[Any, ...], dict[str, Any]]

#: What the sensor patches outside the frameworks; `sqlite3.connect` tells no signature and is run for real.
PROXIES = {
    ("asyncio", "create_subprocess_exec"),
    ("asyncio", "create_subprocess_shell"),
    ("asyncio.subprocess", "create_subprocess_exec"),
    ("asyncio.subprocess", "create_subprocess_shell"),
    ("builtins", "open"),
    ("concurrent.futures.thread", "ThreadPoolExecutor.submit"),
    ("io", "open"),
    ("os", "open"),
    ("os", "popen"),
    ("os", "system"),
    ("sqlite3", "connect"),
    ("sqlite3.dbapi2", "connect"),
    ("subprocess", "Popen.__init__"),
    ("threading", "Thread.start"),
}
SIGNED = sorted(PROXIES - {("sqlite3", "connect"), ("sqlite3.dbapi2", "connect")})
#: Optional parameters beyond this many are given all or none: the shapes would be millions.
FREE = 6


def shapes(signature: inspect.Signature, drop_self: bool) -> Iterator[Shape]:
    """Every legal way to call `signature`: how many by position, and which optional ones at all."""
    parameters = list(signature.parameters.values())[1 if drop_self else 0 :]
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p for p in plain if p.default is p.empty]
    for count in range(len(plain) + 1):
        by_position = tuple(f"value of {p.name}" for p in plain[:count])
        must = [p for p in required if p not in plain[:count]]
        if any(p.kind is p.POSITIONAL_ONLY for p in must):
            continue
        free = [p for p in plain[count:] if p not in must and p.kind is not p.POSITIONAL_ONLY] + named
        yield from (_shape(by_position, must, chosen) for chosen in _choices(free))


def _choices(free: list[inspect.Parameter]) -> Iterator[tuple[inspect.Parameter, ...]]:
    first, rest = free[:FREE], tuple(free[FREE:])
    for size in range(len(first) + 1):
        for chosen in itertools.combinations(first, size):
            yield chosen
            if rest:
                yield (*chosen, *rest)


def _shape(by_position: tuple[Any, ...], must: list[Any], chosen: tuple[Any, ...]) -> Shape:
    return by_position, {p.name: f"value of {p.name}" for p in (*must, *chosen)}


def original_and_patched(key: tuple[str, str]) -> tuple[Any, Any, bool]:
    owner, attribute, original = patching.patched[key]
    return original, owner.__dict__[attribute], isinstance(owner, type)


def stand_in(original: Any, patched: Any, is_method: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(plain, proxied): a body that returns what it is called with, bare and behind the real wrapper."""

    def body(*args: Any, **kwargs: Any) -> Any:
        return args[1:] if is_method else args, kwargs

    holder = type(
        "Holder", (), {"plain": body, "proxied": wrapt.FunctionWrapper(body, patched._self_wrapper)}
    )
    if is_method:
        return holder().plain, holder().proxied
    return body, holder.__dict__["proxied"]


def a_request(make_sensor: MakeSensor) -> Request:
    return Request(make_sensor(), lambda: Head("GET", "/", "q=some+thing", {}, ""))


def test_the_list_of_proxies_is_complete() -> None:
    assert {key for key in patching.patched if not key[0].startswith(("flask", "starlette"))} == PROXIES


@pytest.mark.parametrize("key", sorted(PROXIES))
def test_a_proxy_answers_as_the_original_does(key: tuple[str, str]) -> None:
    original, patched, _ = original_and_patched(key)
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        assert getattr(patched, name) == getattr(original, name)
    assert signature_of(patched) == signature_of(original)
    assert inspect.iscoroutinefunction(patched) == inspect.iscoroutinefunction(original)
    assert inspect.isbuiltin(patched) == inspect.isbuiltin(original)
    assert isinstance(patched, type(original))


def signature_of(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "none"


@pytest.mark.parametrize("key", SIGNED)
def test_every_legal_call_is_passed_on_as_it_came(key: tuple[str, str], make_sensor: MakeSensor) -> None:
    original, patched, is_method = original_and_patched(key)
    plain, proxied = stand_in(original, patched, is_method)
    for args, kwargs in shapes(inspect.signature(original), is_method):
        expected = plain(*args, **kwargs)
        assert proxied(*args, **kwargs) == expected
        if key[1] not in {
            "Thread.start",
            "ThreadPoolExecutor.submit",
        }:  # these carry the request: test_threads
            assert context.run_in(a_request(make_sensor), proxied, *args, **kwargs) == expected


def test_the_number_of_shapes_is_what_it_was() -> None:
    counts = {}
    for key in SIGNED:
        original, _, is_method = original_and_patched(key)
        counts[key] = sum(1 for _ in shapes(inspect.signature(original), is_method))
    assert sum(counts.values()) == SHAPES.get(sys.version_info[:2], sum(counts.values()))
    assert sum(counts.values()) > 3000 and min(counts.values()) >= 1


#: By interpreter version: signatures grow.
SHAPES = {(3, 11): 3257}

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


def test_the_number_of_database_calls_is_what_it_was() -> None:
    assert len(SQL_CALLS) == 44


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


def test_the_two_names_of_open_and_of_connect_stay_one_object() -> None:
    assert io.open is builtins.open and sqlite3.connect is sqlite3.dbapi2.connect


def test_open_does_not_bind_as_a_class_attribute(tmp_path: Any) -> None:
    class Store:
        opener: Any = open

    (tmp_path / "x").write_text("content")
    with Store().opener(tmp_path / "x") as file:
        assert file.read() == "content"
