"""psycopg2 sinks: execute, executemany, callproc and copy_expert of every cursor of a connection made by
`psycopg2.connect`.

Its types are C's and cannot be patched, so `connect` gets a factory that is a subclass of the one the app
asked for, and `cursor` likewise: what the app overrides still runs first, and what it hands on with `super()`
is judged. psycopg2's functions that ask for the real types take them. Not guarded: an `extensions.connection`
or `extensions.cursor` built directly, and a factory that is no class.

`execute_values` and `execute_batch` merge the values before they call the cursor; judged is what they were
given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import FrameType, ModuleType
from typing import Any

from divertor_sensor.detectors.sql import POSTGRESQL
from divertor_sensor.patching import integrate, proxy, wrap
from divertor_sensor.sinks.drivers import judged, rendered_by, text_of

#: By method of a cursor: the parameter that holds the statement, and what psycopg2 makes of it.
_METHODS = {
    "execute": ("query", "%s"),
    "executemany": ("query", "%s"),
    "callproc": ("procname", "SELECT * FROM %s()"),
    "copy_expert": ("sql", "%s"),
}
_MERGING = frozenset({"execute_values", "execute_batch"})
#: How many of psycopg2.extras' own functions lie between those two and the cursor (a DictCursor's `execute`).
_MAX_BETWEEN = 4


def instrument() -> None:
    """Patch psycopg2's `connect` once it is imported, through the function that it calls."""
    integrate("sink", "psycopg2", "psycopg2", _patch)


def _patch(module: ModuleType) -> None:
    extensions = module.extensions
    cursor = _guard_of(
        extensions.cursor,
        {
            name: judged(POSTGRESQL, f"psycopg2.cursor.{name}", parameter, within=within, render=_render)
            for name, (parameter, within) in _METHODS.items()
        },
    )

    def make_cursor(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        asked = args[1] if len(args) > 1 else kwargs.get("cursor_factory")
        factory = _below(asked or instance.cursor_factory or extensions.cursor, cursor)
        if len(args) > 1:
            return wrapped(args[0], factory, *args[2:], **kwargs)
        return wrapped(*args, **{**kwargs, "cursor_factory": factory})

    connection = _guard_of(extensions.connection, {"cursor": make_cursor})

    def connect(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        asked = args[1] if len(args) > 1 else kwargs.get("connection_factory")
        factory = _below(asked or extensions.connection, connection)
        if len(args) > 1:
            return wrapped(args[0], factory, *args[2:], **kwargs)
        return wrapped(*args, **{**kwargs, "connection_factory": factory})

    wrap(module, "_connect", connect)


def _guard_of(original: type, wrappers: dict[str, Any]) -> type:
    """A subclass of a C type that answers to its name, has its layout, and these of its methods wrapped."""
    methods = {name: proxy(original.__dict__[name], wrapper) for name, wrapper in wrappers.items()}
    names = {"__module__": original.__module__, "__qualname__": original.__qualname__}
    return type(
        original.__name__, (original,), {**names, **methods, "__doc__": original.__doc__, "__slots__": ()}
    )


@lru_cache(maxsize=256)
def _below(base: Any, guard: type) -> Any:
    """A subclass of `base` with `guard` between it and psycopg2's own type; what is no such class comes back
    as it is.
    """
    original = guard.__mro__[1]
    if base is original:
        return guard
    if not isinstance(base, type) or not issubclass(base, original) or issubclass(base, guard):
        return base
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    make: Callable[..., type] = type(base)
    return make(base.__name__, (base, guard), names)


def _render(statement: Any, owner: Any) -> str | None:
    if isinstance(statement, bytes):
        merging = _merging(sys._getframe(3))
        return text_of(statement) if merging is None else merging
    module = sys.modules.get("psycopg2.sql")
    return text_of(statement) if module is None else rendered_by(module)(statement, owner)


def _merging(caller: FrameType | None) -> str | None:
    """The statement before its values were merged, when psycopg2.extras did that."""
    for _ in range(_MAX_BETWEEN):
        if caller is None or caller.f_globals.get("__name__") != "psycopg2.extras":
            return None
        if caller.f_code.co_name in _MERGING:
            parts = [text_of(caller.f_locals.get(name)) for name in ("sql", "template")]
            return " ".join([part for part in parts if part]) or None
        caller = caller.f_back
    return None
