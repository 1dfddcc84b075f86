"""Shell sinks: `os.system`, `os.popen`, `subprocess.Popen` (and so run, call, check_*) and asyncio's
subprocesses.

Guarded is what a shell reads: a command string with `shell=True`, and the line in `["sh", "-c", LINE]`. A
program called by its argument list without a shell is not judged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.shell import DETECTOR, shell_line
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, share, wrap


def instrument() -> None:
    """Patch the process-starting functions of os, subprocess and asyncio."""
    wrap(os, "system", _checked("os.system", "command", _text))
    wrap(os, "popen", _checked("os.popen", "cmd", _text))
    integrate("sink", "processes", "subprocess", lambda module: wrap(module, "Popen.__init__", _popen))
    integrate("sink", "processes", "asyncio", _patch_asyncio)


def _patch_asyncio(module: ModuleType) -> None:
    inner = module.subprocess
    wrap(inner, "create_subprocess_shell", _checked("asyncio.create_subprocess_shell", "cmd", _text))
    wrap(inner, "create_subprocess_exec", _exec)
    for name in ("create_subprocess_shell", "create_subprocess_exec"):
        share(module, name, getattr(inner, name))


def _checked(sink: str, parameter: str, line_of: Callable[[object], str | None]) -> Callable[..., Any]:
    """A wrapper that judges the first argument, by position or as `parameter`."""

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            line = line_of(args[0] if args else kwargs.get(parameter))
            if line is not None:
                check(request, DETECTOR, sink, line)
        return wrapped(*args, **kwargs)

    return wrapper


def _popen(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = context.current.get()
    if request is not None:
        line = _popen_line(args, kwargs)
        if line is not None:
            check(request, DETECTOR, "subprocess.Popen", line)
    return wrapped(*args, **kwargs)


def _exec(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = context.current.get()
    if request is not None:
        first = () if args else (kwargs.get("program"),)
        line = shell_line([_text(word) or "" for word in (*first, *args)])
        if line is not None:
            check(request, DETECTOR, "asyncio.create_subprocess_exec", line)
    return wrapped(*args, **kwargs)


#: Where `shell` stands among Popen's positional parameters (Python 3.11 to 3.14).
_SHELL_POSITION = 8


def _popen_line(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What a shell would read in this call of Popen; None when no shell is started."""
    command = args[0] if args else kwargs.get("args")
    shell = args[_SHELL_POSITION] if len(args) > _SHELL_POSITION else kwargs.get("shell", False)
    if isinstance(command, (str, bytes, os.PathLike)):
        return _text(command) if shell else None
    if not isinstance(command, Sequence):
        return None
    if shell:
        return _text(command[0]) if command else None
    return shell_line([_text(word) or "" for word in command[:16]])


def _text(value: object) -> str | None:
    if type(value) is str:
        return value
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except Exception:  # the app's own __fspath__ may raise anything; the call will raise it where it belongs
        return None
