"""Process sinks: everything that starts a program, as the interpreter announces it.

`os.system`, `subprocess` (and so `os.popen` and asyncio's own loops), `os.posix_spawn`, `os.exec*` and
`pty.spawn` raise audit events, which carry the program and its arguments as they will be. Patched are only
`os.spawn*`, whose event comes too late (in the child), and asyncio's two functions once uvloop is imported,
which starts its processes itself. A command line goes to the shell detector; of a program started by its
argument list, the options go to the argument detector.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors import arguments, shell
from divertor_sensor.guard import check
from divertor_sensor.patching import Wrapper, integrate, share, wrap
from divertor_sensor.request import Request
from divertor_sensor.sinks.audit import listen

#: More words than these are not looked at.
_MAX_WORDS = 256


def instrument() -> None:
    """Listen to the events of processes, and patch what has none."""
    listen("os.system", _on_system)
    listen("subprocess.Popen", _on_popen)
    listen("os.posix_spawn", _on_posix_spawn)
    listen("os.exec", _on_exec)
    listen("pty.spawn", _on_pty)
    integrate("sink", "processes", "os", _patch_spawn)
    integrate("sink", "processes under uvloop", "uvloop", _patch_asyncio)


def _patch_spawn(module: ModuleType) -> None:
    # `spawnl` and its kin call these.
    for name in ("spawnv", "spawnve", "spawnvp", "spawnvpe"):
        wrap(module, name, _spawn(f"os.{name}"))


def _patch_asyncio(_: ModuleType) -> None:
    integrate("sink", "asyncio's processes", "asyncio", _patch_asyncio_functions)


def _patch_asyncio_functions(module: ModuleType) -> None:
    inner = module.subprocess
    wrap(inner, "create_subprocess_shell", _asyncio_shell)
    wrap(inner, "create_subprocess_exec", _asyncio_exec)
    for name in ("create_subprocess_shell", "create_subprocess_exec"):
        share(module, name, getattr(inner, name))


def _on_system(request: Request, args: tuple[Any, ...]) -> None:
    line = _text(args[0])
    if line is not None:
        check(request, shell.DETECTOR, "os.system", line, 3)


def _on_popen(request: Request, args: tuple[Any, ...]) -> None:
    _judge(request, "subprocess.Popen", args[0], args[1])


def _on_posix_spawn(request: Request, args: tuple[Any, ...]) -> None:
    _judge(request, "os.posix_spawn", args[0], args[1])


def _on_exec(request: Request, args: tuple[Any, ...]) -> None:
    _judge(request, "os.exec", args[0], args[1])


def _on_pty(request: Request, args: tuple[Any, ...]) -> None:
    argv = args[0]
    if isinstance(argv, Sequence) and argv:
        _judge(request, "pty.spawn", argv[0], argv)


def _spawn(sink: str) -> Wrapper:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            program = args[1] if len(args) > 1 else kwargs.get("file")
            argv = args[2] if len(args) > 2 else kwargs.get("args")
            _judge(request, sink, program, argv, 3)
        return wrapped(*args, **kwargs)

    return wrapper


def _asyncio_shell(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        line = _text(args[0] if args else kwargs.get("cmd"))
        if line is not None:
            check(request, shell.DETECTOR, "asyncio.create_subprocess_shell", line)
    return wrapped(*args, **kwargs)


def _asyncio_exec(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        argv = args if args else (kwargs.get("program"),)
        _judge(request, "asyncio.create_subprocess_exec", argv[0], argv, 3)
    return wrapped(*args, **kwargs)


def _judge(request: Request, sink: str, program: object, argv: object, depth: int = 4) -> None:
    """Judge a program about to start: the line when a shell will read one, and its options.

    `depth` as for `check`: 4 below a handler, 3 below a wrapper.
    """
    words = _words(program, argv)
    if not words:
        return
    line = shell.shell_line(words)
    if line is not None:
        check(request, shell.DETECTOR, sink, line, depth)
    if arguments.is_steerable(words) or (len(words) > 1 and words[0].lower() in request.raw()):
        check(request, arguments.DETECTOR, sink, arguments.joined(words), depth)


def _words(program: object, argv: object) -> list[str]:
    """What will run, with its arguments; empty for what the call itself will refuse."""
    first = _text(program)
    if first is None or not isinstance(argv, Sequence) or isinstance(argv, (str, bytes)):
        return []
    return [first, *(_text(word) or "" for word in argv[1:_MAX_WORDS])]


def _text(value: object) -> str | None:
    if type(value) is str:
        return value
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except Exception:  # the app's own __fspath__ may raise anything; the call will raise it where it belongs
        return None
