"""psycopg 3 sinks: every way to run a statement with its cursors and connections, sync and async.

Patched are the classes' own methods, so a cursor or connection class of the app is guarded where it hands on
with `super()`, and the client-side, raw and server-side cursors are with it, whichever implementation
(Python, C, binary) is below. Not guarded: `pgconn`, the bare connection of libpq, and template strings
(Python 3.14), whose values psycopg binds.
"""

from __future__ import annotations

from types import ModuleType

from divertor_sensor.detectors.sql import POSTGRESQL
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.sinks.drivers import judged, rendered_by

_OWN = frozenset({"psycopg.connection", "psycopg.connection_async"})
_METHODS = {
    "Cursor": ("execute", "executemany", "stream", "copy"),
    "ServerCursor": ("execute",),
    "Connection": ("execute",),
}


def instrument() -> None:
    """Patch psycopg's cursors and connections once it is imported."""
    integrate("sink", "psycopg", "psycopg", _patch)


def _patch(module: ModuleType) -> None:
    render = rendered_by(module.sql)
    for kind, methods in _METHODS.items():
        for owner in (kind, f"Async{kind}"):
            for method in methods:
                sink = f"psycopg.{owner}.{method}"
                parameter = "statement" if method == "copy" else "query"
                wrapper = judged(POSTGRESQL, sink, parameter, own=_OWN, render=render)
                wrap(module, f"{owner}.{method}", wrapper)
