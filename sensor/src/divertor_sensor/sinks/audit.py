"""The interpreter's own audit events as sinks (`sys.addaudithook`, PEP 578).

Where CPython announces a call before it makes it, nothing needs to be patched: no name, signature or
traceback of the host changes, and no caller gets round it, however early it imported the function. An
exception raised here takes the place of the call.

A hook can never be taken back, so there is one for the whole process, and it asks a table. It runs for every
event of the interpreter, and most have no entry: keep it short. Handlers are called within a request only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from divertor_sensor import context
from divertor_sensor.request import Request

#: Gets the request and the event's own arguments; calls `divertor_sensor.guard.check` with `depth=3`, or one
#: more for each function of the sensor in between.
Handler: TypeAlias = Callable[[Request, tuple[Any, ...]], None]

#: By event (https://docs.python.org/3/library/audit_events.html).
_handlers: dict[str, Handler] = {}
_hooked = False


def listen(event: str, handler: Handler) -> None:
    """Have `handler` called before each `event` that happens within a request."""
    global _hooked
    _handlers[event] = handler
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)


def events() -> tuple[str, ...]:
    """The events that are listened to now."""
    return tuple(_handlers)


def silence() -> None:
    """Forget every handler; the hook itself stays and does nothing."""
    _handlers.clear()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    handler = _handlers.get(event)
    if handler is not None:
        request = context.current.get()
        if request is not None:
            try:
                handler(request, args)
            except Exception as problem:
                request.sensor.faults.contain(f"audit event {event}", problem)
