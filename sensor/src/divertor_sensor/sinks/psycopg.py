"""psycopg 3 sinks: every way to run a statement with its cursors and connections, sync and async.

Patched are the classes' own methods, so a cursor or connection class of the app is guarded where it hands on
with `super()`, and the client-side, raw and server-side cursors are with it, whichever implementation
(Python, C, binary) is below. Of a template string (Python 3.14) the values count as bound, and what it takes
as SQL is judged. Not guarded: `pgconn`, the bare connection of libpq.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from divertor_sensor.detectors.sql import POSTGRESQL
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.sinks.drivers import Render, judged, rendered_by

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
    render = _render_of(module)
    for kind, methods in _METHODS.items():
        for owner in (kind, f"Async{kind}"):
            for method in methods:
                sink = f"psycopg.{owner}.{method}"
                parameter = "statement" if method == "copy" else "query"
                wrapper = judged(POSTGRESQL, sink, parameter, own=_OWN, render=render)
                wrap(module, f"{owner}.{method}", wrapper)


def _render_of(module: ModuleType) -> Render:
    """How to read what psycopg takes for a statement: text, `Composable` objects, and template strings."""
    plain = rendered_by(module.sql)
    template = getattr(getattr(module, "_compat", None), "Template", ())

    def render(given: Any, owner: Any) -> str | None:
        if not isinstance(given, template):
            return plain(given, owner)
        return "".join([part if isinstance(part, str) else interpolated(part, owner) for part in given])

    def interpolated(part: Any, owner: Any) -> str:
        if isinstance(part.value, (template, module.sql.Composable)):
            return render(part.value, owner) or ""
        if part.format_spec == "i" and isinstance(part.value, str):
            return plain(module.sql.Identifier(part.value), owner) or ""
        return "%s"

    return render
