"""The stack at a sink, as plain values: the app's own frames first, libraries and the interpreter's after.

Only names and numbers are taken on the request path; the source lines are looked up later, off it
(`with_source`).
"""

from __future__ import annotations

import linecache
import os
import sysconfig
import tokenize
from functools import lru_cache
from itertools import islice
from types import FrameType
from typing import NamedTuple

from divertor_sensor.memory import Site

MAX_FRAMES = 48
_MAX_WALK = 400
_MAX_SITE_WALK = 40
_MAX_SOURCE = 300
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY_MARKS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STANDARD = tuple(
    {os.path.join(path, "") for name in ("stdlib", "platstdlib") if (path := sysconfig.get_paths().get(name))}
)
_MAX_CACHE = 4096
_kinds: dict[str, str] = {}


class Frame(NamedTuple):
    """One level of the stack: file (as the interpreter knows it), line from 1, function, the source line."""

    file: str
    line: int
    function: str
    source: str = ""


def capture(frame: FrameType | None) -> tuple[Frame, ...]:
    """The stack from `frame` outwards, without the sensor: the app's frames, innermost first, then the
    others.
    """
    app: list[Frame] = []
    others: list[Frame] = []
    for _ in range(_MAX_WALK):
        if frame is None:
            break
        code = frame.f_code
        kind = _kind(code.co_filename)
        if kind != "sensor":
            found = _frame(code.co_filename, frame.f_lineno or 0, code.co_qualname)
            (app if kind == "app" else others).append(found)
        frame = frame.f_back
    return tuple((app + others)[:MAX_FRAMES])


def is_app_file(filename: str) -> bool:
    """Whether a file, as the interpreter knows it, is the app's own code."""
    return _kind(filename) == "app"


@lru_cache(maxsize=1024)
def _frame(file: str, line: int, function: str) -> Frame:
    """The same places come again: in one attack after the other, and below every request."""
    return Frame(file, line, function)


def app_frame(frame: FrameType) -> FrameType:
    """The innermost frame of the app's own code, or `frame` when libraries go on for too long."""
    found: FrameType | None = frame
    for _ in range(_MAX_SITE_WALK):
        if found is None:
            break
        if _is_app(found):
            return found
        found = found.f_back
    return frame


def site_of(frame: FrameType) -> Site:
    """The place a frame is at."""
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, frame.f_lasti


def caller_of(frame: FrameType) -> Site | None:
    """The place from which a frame's function was called; None when that is not the app's own code."""
    outer = frame.f_back
    return site_of(outer) if outer is not None and _is_app(outer) else None


def is_constant(text: str, frame: FrameType) -> bool:
    """Whether `text` stands as a constant in the code of an app's function on the stack: then it is the
    program's own, whatever a request holds.
    """
    found: FrameType | None = frame
    for _ in range(_MAX_SITE_WALK):
        if found is None:
            break
        if _is_app(found) and text in found.f_code.co_consts:
            return True
        found = found.f_back
    return False


def _is_app(frame: FrameType) -> bool:
    """Whether a frame is of the app's own code.

    By its module where possible: reading a frame's code raises an audit event, which takes five times as long
    as everything else here once anybody has installed an audit hook.
    """
    name = frame.f_globals.get("__file__")
    return _kind(name if type(name) is str else frame.f_code.co_filename) == "app"


def with_source(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The same frames with their source lines, trimmed; reads files, so not for the request path."""
    return tuple(map(_sourced, frames))


@lru_cache(maxsize=256)
def _sourced(frame: Frame) -> Frame:
    return frame._replace(source=_line(frame.file, frame.line).strip()[:_MAX_SOURCE])


def _line(file: str, number: int) -> str:
    """One line of a source file. `linecache` would keep all the lines of each file for ever, a few hundred
    kilobytes below any framework; what it has already (code without a file, too) is used.
    """
    if file in linecache.cache:
        return linecache.getline(file, number)
    try:
        with tokenize.open(file) as source:
            return next(islice(source, number - 1, None), "") if number > 0 else ""
    except (OSError, ValueError, SyntaxError):  # no such file, or none of Python's
        return ""


def _kind(filename: str) -> str:
    kind = _kinds.get(filename)
    if kind is None:
        if len(_kinds) >= _MAX_CACHE:
            _kinds.clear()
        kind = _kinds[filename] = _classify(filename)
    return kind


def _classify(filename: str) -> str:
    if filename.startswith(_OWN):
        return "sensor"
    if filename.startswith("<frozen ") or any(mark in filename for mark in _LIBRARY_MARKS):
        return "library"
    return "library" if filename.startswith(_STANDARD) else "app"
