"""File sinks: `open` (also as `io.open`, which pathlib uses) and `os.open`.

Only the path is looked at. A file descriptor is no path; other functions that take one (`os.remove`,
`os.stat`, …) are not guarded.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.path import DETECTOR
from divertor_sensor.guard import check
from divertor_sensor.patching import share, wrap


def instrument() -> None:
    """Patch `builtins.open`, `io.open` (the same object before and after) and `os.open`."""
    wrap(builtins, "open", _open)
    share(io, "open", builtins.open)
    wrap(os, "open", _os_open)


def _open(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = context.current.get()
    if request is not None:
        path = _path(args[0] if args else kwargs.get("file"))
        if path is not None:
            check(request, DETECTOR, "open", path)
    return wrapped(*args, **kwargs)


def _os_open(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        path = _path(args[0] if args else kwargs.get("path"))
        if path is not None:
            check(request, DETECTOR, "os.open", path)
    return wrapped(*args, **kwargs)


def _path(value: object) -> str | None:
    """The path as text; None for a descriptor, or for what the call itself will refuse."""
    if type(value) is str:
        return value
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except Exception:  # the app's own __fspath__ may raise anything; the call will raise it where it belongs
        return None
