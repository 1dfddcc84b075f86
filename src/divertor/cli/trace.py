"""A detection as a trace to act upon: the request, what it carried, the line of code, what was done.

Pure but for the source files it may quote: a file is only quoted when its line still reads as the sensor saw
it, so a report that lies about its files shows nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divertor.cli.text import clean

#: Lines quoted before and after the vulnerable one, and the largest file that is read for it.
AROUND = 3
MAX_FILE = 2_000_000

_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")
_OUTCOMES = {
    "diverted": "stopped before it ran; the same request was answered by the audited version",
    "blocked": "stopped before it ran; the request was refused",
    "reported": "NOT stopped: the sensor only reports",
    "probe": "reached nothing; it only looks like an attack",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of the stack; `line` counts from 1, 0 when unknown."""

    file: str
    line: int
    function: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detection says; whatever it leaves out is empty."""

    id: str
    time: str
    type: str
    cwe: str
    signal: str
    outcome: str
    method: str
    path: str
    service: str
    version: str
    address: str
    user_agent: str
    session: str
    source: str
    parameter: str
    payload: str
    sink: str
    statement: str
    frames: tuple[Frame, ...]
    simulated: str = ""

    @property
    def place(self) -> str:
        """`FILE:LINE` of the app's own code."""
        return f"{self.frames[0].file}:{self.frames[0].line}" if self.frames else ""


def finding(detection: Mapping[str, Any]) -> Finding:
    """A detection, as the API gives it."""
    request = _mapping(detection.get("request"))
    event = _mapping(detection.get("event"))
    kind = _mapping(_mapping(event.get("body")).get("detections")).get("type") or detection.get("type")

    def text(name: str, of: Mapping[str, Any] = detection) -> str:
        value = of.get(name)
        return "" if value is None else str(value)

    listed = detection.get("frames")
    return Finding(
        id=text("id"),
        time=text("timestamp"),
        type=str(kind or ""),
        cwe=text("cwe"),
        signal=text("signal"),
        outcome=text("outcome"),
        method=text("method", request),
        path=text("path", request),
        service=text("service"),
        version=text("version"),
        address=text("address", request),
        user_agent=text("user_agent", request),
        session=text("session", request),
        source=text("source"),
        parameter=text("parameter"),
        payload=text("payload"),
        sink=text("sink"),
        statement=text("statement"),
        frames=tuple(_frame(each) for each in listed if each) if isinstance(listed, list) else (),
        simulated=text("simulated"),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _frame(value: object) -> Frame:
    each = _mapping(value)
    line = each.get("line")
    return Frame(
        str(each.get("file", "")),
        line if isinstance(line, int) else 0,
        str(each.get("function", "")),
        str(each.get("source", "")),
    )


def trace(found: Finding) -> Iterator[tuple[str, str]]:
    """The trace as lines of (style, text), cleaned."""
    yield "bold red", clean(f"{found.type} {found.signal} · {found.cwe}".strip(" ·"))
    yield "dim", clean(f"{found.time} · {found.id}")
    yield "", ""
    for label, value in _facts(found):
        if value:
            yield "", f"  {label:<10} {clean(value)}"
    yield "", ""
    if found.frames:
        yield "bold", "  The vulnerable line"
        yield from _vulnerable(found.frames[0])
        yield from _callers(found.frames[1:])


def _facts(found: Finding) -> Iterator[tuple[str, str]]:
    yield "request", f"{found.method} {found.path}"
    yield "served by", found.version or found.service
    yield "client", " · ".join(filter(None, (found.address, found.user_agent)))
    yield "session", found.session
    yield "came in as", f"{found.source} {found.parameter}".strip()
    yield "payload", found.payload
    yield "sink", found.sink
    yield "statement", found.statement
    yield "outcome", _outcome(found)


def _outcome(found: Finding) -> str:
    if found.simulated:
        return f"NOT stopped: simulated, it would have been {found.simulated}"
    key = "probe" if found.signal == "probe" else found.outcome
    return _OUTCOMES.get(key, found.outcome)


def _vulnerable(frame: Frame) -> Iterator[tuple[str, str]]:
    yield "cyan", clean(f"  {frame.file}:{frame.line} in {frame.function}")
    for number, line in _quoted(frame):
        mark, style = ("→", "bold yellow") if number == frame.line else (" ", "dim")
        yield style, f"  {mark} {number:>5} │ {clean(line, keep=chr(9))}"


def _quoted(frame: Frame) -> list[tuple[int, str]]:
    """Lines around the vulnerable one; that one alone when the file is not what the sensor saw."""
    alone = [(frame.line, frame.source)] if frame.source else []
    path = Path(frame.file)
    try:
        if not frame.source or path.suffix != ".py" or path.stat().st_size > MAX_FILE:
            return alone
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return alone
    if not 0 < frame.line <= len(lines) or not lines[frame.line - 1].strip().startswith(frame.source):
        return alone
    first = max(1, frame.line - AROUND)
    return [(number, lines[number - 1]) for number in range(first, min(len(lines), frame.line + AROUND) + 1)]


def _callers(frames: tuple[Frame, ...]) -> Iterator[tuple[str, str]]:
    callers = [each for each in frames if not any(mark in each.file for mark in _LIBRARIES)][:5]
    if callers:
        yield "", ""
        yield "bold", "  Called from"
    for each in callers:
        yield "dim", clean(f"    {each.file}:{each.line} in {each.function}")
