"""Which request the running code belongs to.

A context variable holds the request being served; it is set and reset by the framework wrappers, and
carried into threads by `divertor_sensor.threads`. Sinks ask `current.get()` first, and do nothing when it
is None.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from divertor_sensor.request import Request

P = ParamSpec("P")
R = TypeVar("R")

current: ContextVar[Request | None] = ContextVar("divertor_sensor_request", default=None)


def _after_fork() -> None:
    """In a child: nobody will tell it when the request is over, and it may work for others for long."""
    request = current.get()
    if request is not None:
        request.close()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def suspended() -> Iterator[None]:
    """Inside, no request is current: the sensor's own work is not guarded."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


def run_in(request: Request, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` with `request` as the current one."""
    token = current.set(request)
    try:
        return function(*args, **kwargs)
    finally:
        current.reset(token)
