"""Code sinks: source text that is compiled, by `eval`, `exec` or `compile`, wherever that is called from.

The interpreter announces each compilation (event `compile`). Left alone is what compiles without running
what a user wrote: `ast` (`literal_eval` and `parse` build a tree only), the import system, and libraries that
generate code from their own structures; templates have a sink of their own.
"""

from __future__ import annotations

import sys
from typing import Any

from divertor_sensor.detectors.code import DETECTOR
from divertor_sensor.guard import check
from divertor_sensor.request import Request
from divertor_sensor.sinks.audit import listen

#: Top-level packages whose compilations are their own doing.
_GENERATORS = frozenset(
    "ast attr attrs bottle collections dataclasses decorator django enum functools importlib inspect jinja2"
    " mako pydantic sqlalchemy tornado traceback typing werkzeug wrapt zipimport".split()
)


def instrument() -> None:
    """Listen to the event."""
    listen("compile", _on_compile)


def _on_compile(request: Request, args: tuple[Any, ...]) -> None:
    source = args[0]
    if isinstance(source, bytes):
        source = source.decode("utf-8", "replace")
    if not isinstance(source, str) or _package(sys._getframe(2).f_globals) in _GENERATORS:
        return
    check(request, DETECTOR, "eval" if args[1] == "<string>" else "compile", source, 3)


def _package(scope: dict[str, Any]) -> str:
    name = scope.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""
