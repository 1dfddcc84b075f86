"""Findings in the log, where there is no collector: bounded, because attackers decide how many there are.

The first finding of a kind at a place on a route has a line of its own at once. Its like are counted, and
told as one line after `PAUSE` seconds, or when the process ends. So many routes of a kind are told apart, and
so many kinds, and no more; of the others there is one count. Nothing goes unmentioned, and who makes up paths
hides no other place of the app. `Digest` decides, given the time; `LogReporter` is the edge: the log, the
clock, the timer.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from divertor_sensor import context
from divertor_sensor.faults import LOG
from divertor_sensor.reports.detection import Detection, Report

#: Seconds between two lines about the same; the routes told apart of one kind within them, and the groups of
#: kind and route in all.
PAUSE = 60.0
MAX_ROUTES, MAX_GROUPS = 8, 128

_reporters: weakref.WeakSet[LogReporter] = weakref.WeakSet()


@dataclass(slots=True)
class _Group:
    """What is alike: how it reads, and how many were not told since `since`."""

    text: str
    since: float
    count: int = 0


class Digest:
    """Which findings have a line of their own, and the counts of the others. `now` is in steady seconds."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Hashable, Hashable], _Group] = {}
        self._others = _Group("of further kinds and places", 0.0)

    def note(self, found: Detection, now: float) -> list[str]:
        """The lines to write for a finding, with those that are due anyway."""
        lines = self.due(now)
        kind, route = _kind_of(found), (found.subject.method, found.subject.path[:200])
        group = self._groups.get((kind, route))
        if group is None and self._is_room(kind):
            line = found.summary()
            self._groups[kind, route] = _Group(f"like this: {line}", now)
            return [*lines, line]
        group = group or self._catch_all(kind, found, now)
        group.count += 1
        return lines

    def _is_room(self, kind: Hashable) -> bool:
        """Whether one more route of `kind` is told apart."""
        routes = sum([known == kind for known, _ in self._groups])
        return routes < MAX_ROUTES and len(self._groups) < MAX_GROUPS

    def _catch_all(self, kind: Hashable, found: Detection, now: float) -> _Group:
        """What counts the findings of `kind` on further routes."""
        group = self._groups.get((kind, None))
        if group is None and len(self._groups) < MAX_GROUPS:
            text = f"on further routes, like this: {found.summary()}"
            group = self._groups[kind, None] = _Group(text, now)
        if group is None:
            group = self._others
            group.since = group.since if group.count else now
        return group

    def due(self, now: float, pause: float = PAUSE) -> list[str]:
        """The lines about what was counted for `pause` seconds. What was quiet for as long is forgotten: its
        next finding has a line of its own.
        """
        lines: list[str] = []
        for key, group in list(self._groups.items()):
            if now - group.since >= pause:
                lines += _told(group, now)
                if not group.count:
                    self._groups.pop(key, None)
                group.since, group.count = now, 0
        if self._others.count and now - self._others.since >= pause:
            lines += _told(self._others, now)
            self._others.since, self._others.count = now, 0
        return lines

    def is_counting(self) -> bool:
        """Whether there is a count that was not told yet."""
        return self._others.count > 0 or any(group.count for group in self._groups.values())


def _kind_of(found: Detection) -> Hashable:
    first = found.frames[0] if found.frames else None
    place = first and (first.file, first.line)
    return found.type, found.signal, found.outcome, found.simulated, found.source, found.sink, place


def _told(group: _Group, now: float) -> Iterable[str]:
    if group.count:
        yield f"{group.count:,} more in the last {now - group.since:.0f} s {group.text}"


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    with context.suspended():
        timer.start()


class LogReporter:
    """Writes findings to the log; used when no endpoint is configured. `later` calls back after so many
    seconds, from another thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], None] = _later,
    ) -> None:
        self._clock = clock
        self._later = later
        self.after_fork()
        _reporters.add(self)

    def after_fork(self) -> None:
        """In a child: what the parent counted is the parent's to tell, and its timer is gone."""
        self._lock = threading.RLock()  # a handler of the log may itself run into a finding
        self._digest = Digest()
        self._is_waiting = False

    def submit(self, report: Report) -> None:
        if isinstance(report, Detection):
            with self._lock:
                lines = self._digest.note(report, self._clock())
                starts = self._digest.is_counting() and not self._is_waiting
                self._is_waiting = self._is_waiting or starts
            _write(lines)
            if starts:
                self._wait()

    def tell(self) -> None:
        """Write what was counted so far, however short ago."""
        with self._lock:
            lines = self._digest.due(self._clock(), 0.0)
        _write(lines)

    def _wait(self) -> None:
        try:
            self._later(PAUSE, self._on_time)
        except RuntimeError:  # no more threads, or the interpreter is shutting down: the next finding tells
            self._is_waiting = False

    def _on_time(self) -> None:
        with self._lock:
            lines = self._digest.due(self._clock())
            self._is_waiting = goes_on = self._digest.is_counting()
        _write(lines)
        if goes_on:
            self._wait()


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        with suppress(Exception):  # a handler of the app's may raise, and the app must not see that
            LOG.warning("%s", line)


def _after_fork() -> None:
    for reporter in list(_reporters):
        reporter.after_fork()


def _at_exit() -> None:
    for reporter in list(_reporters):
        reporter.tell()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
