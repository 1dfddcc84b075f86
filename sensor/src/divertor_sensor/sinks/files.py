"""File sinks: every call with a path that the interpreter announces, and the four that probe for a file.

`open`, `io.open`, `os.open`, pathlib, shutil and most of `os` raise audit events, also when called from C or
under a name imported early. `os.stat`, `os.lstat`, `os.access` and `os.readlink` (and so `os.path.exists`
and its kin) raise none and are patched. Only paths are looked at: a file descriptor is none, and what the
file holds is not read. A path without `..` that does not begin at the root cannot leave its directory; it
costs a search and no more.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.path import DETECTOR
from divertor_sensor.guard import check
from divertor_sensor.patching import Wrapper, integrate, wrap
from divertor_sensor.request import Request
from divertor_sensor.sinks.audit import Handler, listen
from divertor_sensor.work import Spent

#: Which of an event's arguments are paths (https://docs.python.org/3/library/audit_events.html).
EVENTS: dict[str, tuple[int, ...]] = {
    "ctypes.dlopen": (0,),
    "glob.glob": (0,),
    "os.chdir": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.getxattr": (0,),
    "os.link": (0, 1),
    "os.listdir": (0,),
    "os.listxattr": (0,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.removexattr": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.scandir": (0,),
    "os.setxattr": (0,),
    "os.symlink": (0, 1),
    "os.truncate": (0,),
    "os.utime": (0,),
    "shutil.chown": (0,),
    "shutil.copyfile": (0, 1),
    "shutil.copytree": (0, 1),
    "shutil.make_archive": (0, 2),
    "shutil.move": (0, 1),
    "shutil.rmtree": (0,),
    "shutil.unpack_archive": (0, 1),
    "sqlite3.connect": (0,),
}
#: Without an event.
PROBES = ("access", "lstat", "readlink", "stat")
_MAX_WALK = 64
_IMPORTERS = ("importlib._bootstrap_external", "zipimport")
#: Stands for every path among the statements a request is clear of.
_NOTHING = (DETECTOR, "")
#: What a path needs to lead anywhere: the root, a step up, or a NUL.
_LEADS = re.compile(r"\A/|\.\.|\0")


def instrument() -> None:
    """Listen to the events of files, and patch the functions of `os` that have none."""
    listen("open", _on_open)
    for event, places in EVENTS.items():
        listen(event, _handler(event, places))
    integrate("sink", "files", "os", _patch_os)


def _patch_os(module: ModuleType) -> None:
    for name in PROBES:
        wrap(module, name, _probe(f"os.{name}"))


def _on_open(request: Request, args: tuple[Any, ...]) -> None:
    path = args[0]
    if type(path) is not str:
        path = _path(path)
    if path is not None and _is_suspect(request, path) and not _is_own_import(request, path):
        # `os.open` names no mode.
        check(request, DETECTOR, "open" if args[1] is not None else "os.open", path, 3)
        _come_to_rest(request)


def _handler(event: str, places: tuple[int, ...]) -> Handler:
    def handle(request: Request, args: tuple[Any, ...]) -> None:
        for place in places:
            path = _path(args[place])
            if path is not None and _is_suspect(request, path) and not _is_own_import(request, path):
                check(request, DETECTOR, event, path, 3)
                _come_to_rest(request)

    return handle


def _probe(sink: str) -> Wrapper:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            path = _path(args[0] if args else kwargs.get("path"))
            # After an interruption probing goes on: imports and tracebacks do it, and it changes nothing.
            if path is not None and not request.interrupted and _is_suspect(request, path):
                check(request, DETECTOR, sink, path)
                _come_to_rest(request)
        return wrapped(*args, **kwargs)

    return wrapper


def _is_suspect(request: Request, path: str) -> bool:
    """Whether a call with `path` has to be judged, or refused because the request was interrupted.

    Imports are not refused: the app cleans up, and may need a module for that; nor is what removes temporary
    files, which attacks could fill the disk with otherwise.
    """
    if request.interrupted:
        caller = sys._getframe(3)
        return caller.f_globals.get("__name__") not in _IMPORTERS and not _removes_temporary(caller)
    return _LEADS.search(path) is not None and not _is_at_rest(request)


def _is_own_import(request: Request, path: str) -> bool:
    """Whether the interpreter imports from where modules are, for a request that cannot be judged: it is not
    to blame for what the app imports late.
    """
    if sys._getframe(3).f_globals.get("__name__") not in _IMPORTERS or ".." in path or "\0" in path:
        return False
    if not any(entry and path.startswith(entry) for entry in sys.path if type(entry) is str):
        return False
    try:
        return not request.is_complete(DETECTOR)
    except Spent:
        return True


def _removes_temporary(frame: FrameType | None) -> bool:
    """Whether `tempfile` makes this call, by itself or through `shutil.rmtree`, which calls itself."""
    for _ in range(_MAX_WALK):
        name = None if frame is None else frame.f_globals.get("__name__")
        if frame is None or name != "shutil":
            return name == "tempfile"
        frame = frame.f_back
    return False


def _is_at_rest(request: Request) -> bool:
    """Whether it is known that nothing in the request, as far as it was read, can lead a path anywhere."""
    return _NOTHING in request.cleared and request.is_current()


def _come_to_rest(request: Request) -> None:
    """Take note when no input is of the kind that `DETECTOR` looks for: most requests bring none."""
    if _NOTHING in request.cleared or not request.is_current():
        return
    try:
        if not request.candidates(DETECTOR) and request.is_complete(DETECTOR):
            request.cleared.add(_NOTHING)
    except Exception as problem:
        if not isinstance(problem, Spent):
            request.sensor.faults.contain("sinks.files", problem)


def _path(value: object) -> str | None:
    """The path as text; None for a descriptor, or for what the call itself will refuse."""
    if type(value) is str:
        return value
    if value is None or type(value) is int:
        return None
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except Exception:  # the app's own __fspath__ may raise anything; the call will raise it where it belongs
        return None
