"""SQLite sinks: execute, executemany and executescript of every connection made by `sqlite3.connect`.

The types of sqlite3 cannot be patched, so `connect` (in `sqlite3` and in `sqlite3.dbapi2`, which Django and
SQLAlchemy use) gets a factory that is a subclass of the one the app asked for, and `cursor` likewise. Not
guarded: a `sqlite3.Connection` built directly, and a factory that is no class.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import perf_counter
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.behaviour import slow
from divertor_sensor.detectors.sql import DETECTOR
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, share, wrap

#: Where `factory` stands among connect's positional parameters.
_FACTORY_POSITION = 5


def instrument() -> None:
    """Patch `connect` under both of its names."""
    integrate("sink", "SQLite", "sqlite3.dbapi2", lambda module: wrap(module, "connect", _connect))
    integrate("sink", "SQLite", "sqlite3", _share_connect)


def _share_connect(module: ModuleType) -> None:
    share(module, "connect", module.__dict__["dbapi2"].connect)


def _connect(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if len(args) > _FACTORY_POSITION:
        factory = guarded_connection(args[_FACTORY_POSITION])
        args = (*args[:_FACTORY_POSITION], factory, *args[_FACTORY_POSITION + 1 :])
    else:
        kwargs = {**kwargs, "factory": guarded_connection(kwargs.get("factory", sqlite3.Connection))}
    return wrapped(*args, **kwargs)


class GuardedCursor(sqlite3.Cursor):
    """A cursor that asks before it executes."""

    __slots__ = ()

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        request = context.current.get()
        if request is not None and isinstance(sql, str):
            check(request, DETECTOR, "sqlite3.Cursor.execute", sql)
        started = perf_counter()
        try:
            return sqlite3.Cursor.execute(self, sql, parameters)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Cursor.execute", sql, perf_counter() - started)

    def executemany(self, sql: str, seq_of_parameters: Any, /) -> Any:
        request = context.current.get()
        if request is not None and isinstance(sql, str):
            check(request, DETECTOR, "sqlite3.Cursor.executemany", sql)
        started = perf_counter()
        try:
            return sqlite3.Cursor.executemany(self, sql, seq_of_parameters)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Cursor.executemany", sql, perf_counter() - started)

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        request = context.current.get()
        if request is not None and isinstance(sql_script, str):
            check(request, DETECTOR, "sqlite3.Cursor.executescript", sql_script)
        started = perf_counter()
        try:
            return sqlite3.Cursor.executescript(self, sql_script)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Cursor.executescript", sql_script, perf_counter() - started)


class GuardedConnection(sqlite3.Connection):
    """A connection whose cursors are guarded, and its own short cuts to them.

    A short cut makes its cursor itself (sqlite3's own does not ask `cursor` for one), unless the app has
    written a `cursor` of its own: then it is left to sqlite3.
    """

    __slots__ = ()

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        request = context.current.get()
        if request is not None and isinstance(sql, str):
            check(request, DETECTOR, "sqlite3.Connection.execute", sql)
        started = perf_counter()
        try:
            if type(self).cursor is not GuardedConnection.cursor:
                return sqlite3.Connection.execute(self, sql, parameters)
            return sqlite3.Cursor.execute(sqlite3.Connection.cursor(self, GuardedCursor), sql, parameters)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Connection.execute", sql, perf_counter() - started)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        request = context.current.get()
        if request is not None and isinstance(sql, str):
            check(request, DETECTOR, "sqlite3.Connection.executemany", sql)
        started = perf_counter()
        try:
            if type(self).cursor is not GuardedConnection.cursor:
                return sqlite3.Connection.executemany(self, sql, parameters)
            return sqlite3.Cursor.executemany(sqlite3.Connection.cursor(self, GuardedCursor), sql, parameters)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Connection.executemany", sql, perf_counter() - started)

    def executescript(self, sql_script: str, /) -> Any:
        request = context.current.get()
        if request is not None and isinstance(sql_script, str):
            check(request, DETECTOR, "sqlite3.Connection.executescript", sql_script)
        started = perf_counter()
        try:
            if type(self).cursor is not GuardedConnection.cursor:
                return sqlite3.Connection.executescript(self, sql_script)
            return sqlite3.Cursor.executescript(sqlite3.Connection.cursor(self, GuardedCursor), sql_script)
        finally:
            if request is not None and perf_counter() - started > request.sensor.slow:
                slow(request, "sqlite3.Connection.executescript", sql_script, perf_counter() - started)

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        return sqlite3.Connection.cursor(self, guarded_cursor(factory))


def guarded_connection(base: Any) -> Any:
    """`base`, a connection factory, as a guarded class; anything else comes back as it is."""
    return GuardedConnection if base is sqlite3.Connection else _below(base, GuardedConnection)


def guarded_cursor(base: Any) -> Any:
    """`base`, a cursor factory, as a guarded class; anything else comes back as it is."""
    return GuardedCursor if base is sqlite3.Cursor else _below(base, GuardedCursor)


@lru_cache(maxsize=256)
def _below(base: Any, guard: type) -> Any:
    """A subclass of `base` with `guard` between it and sqlite3's own type.

    What the app overrides still runs first, and what it hands on with `super()` is what gets judged.
    """
    if not isinstance(base, type) or not issubclass(base, guard.__mro__[1]) or issubclass(base, guard):
        return base
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    make: Callable[..., type] = type(base)
    return make(base.__name__, (base, guard), names)


def _take_names(guard: type, original: type, methods: Sequence[str]) -> None:
    """Answer to the names of the type that is stood in for, as tracebacks and `repr` show them."""
    guard.__name__, guard.__qualname__, guard.__module__ = original.__name__, original.__qualname__, "sqlite3"
    for name in methods:
        method = guard.__dict__[name]
        method.__qualname__ = f"{original.__qualname__}.{name}"
        method.__doc__ = getattr(original, name).__doc__


_take_names(GuardedCursor, sqlite3.Cursor, ("execute", "executemany", "executescript"))
_take_names(GuardedConnection, sqlite3.Connection, ("execute", "executemany", "executescript", "cursor"))
