"""Carries the current request into threads and pools, which do not inherit it by themselves.

Only the sensor's own variable is carried: other context variables stay as the interpreter would have them, so
an app sees no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import Request


def instrument() -> None:
    """Patch `Thread.start`, and how the two kinds of thread pools take their tasks."""
    integrate("context", "threads", "threading", lambda module: wrap(module, "Thread.start", _start))
    integrate("context", "thread pools", "concurrent.futures.thread", _patch_pool)
    integrate("context", "thread pools", "multiprocessing.pool", _patch_old_pool)


def _patch_pool(module: ModuleType) -> None:
    wrap(module, "ThreadPoolExecutor.submit", _submit)


def _patch_old_pool(module: ModuleType) -> None:
    """Its methods are those of pools of processes, to which a request cannot be carried."""
    threads = module.ThreadPool

    def taking(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is None or not args or request.lapsed or not isinstance(instance, threads):
            return wrapped(*args, **kwargs)
        with context.suspended():
            return wrapped(partial(context.run_in, request, args[0]), *args[1:], **kwargs)

    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        wrap(module, f"Pool.{name}", taking)


def _start(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = context.current.get()
    if request is not None and not request.lapsed:
        instance.run = partial(_run, request, instance, instance.__dict__.get("run"), instance.run)
    return wrapped(*args, **kwargs)


def _run(request: Request, thread: Any, own: Any, run: Callable[[], None]) -> None:
    """The thread's `run`, for `request`; the thread itself is first put back as it was."""
    del thread.run
    if own is not None:
        thread.run = own
    context.run_in(request, run)


def _submit(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = context.current.get()
    if request is None or not args or request.lapsed:
        return wrapped(*args, **kwargs)
    # The pool may start a thread now; that one outlives the request and must not be tied to it.
    with context.suspended():
        return wrapped(partial(context.run_in, request, args[0]), *args[1:], **kwargs)
