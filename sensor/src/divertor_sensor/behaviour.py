"""What field metrics need of an app: the errors nobody handled, the calls that took long, how requests end.

Sampled and bounded. An error is told with a fingerprint that groups it with its like, at most once in
`PAUSE` seconds for each fingerprint, with the number of those before it; a slow call likewise for each place
in the app; the end of a request when the app failed at it, and of one in so many others (`Settings.sample`).
It judges nothing, and the count of one process is its own. `failed` is what the frameworks call that answer
an error by themselves, `slow` what sinks of databases and HTTP clients call.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from divertor_sensor import context
from divertor_sensor.detectors.skeleton import skeleton
from divertor_sensor.reports.detection import MAX_STATEMENT, Failure, Outcome, Slow
from divertor_sensor.reports.frames import MAX_FRAMES, Frame, capture, is_app_file
from divertor_sensor.reports.redaction import secret_words, without_secrets
from divertor_sensor.request import Request

if TYPE_CHECKING:
    from divertor_sensor.responses import Raw

#: Seconds between two reports of the same error or place, and the most reports of each kind in a second.
PAUSE, ERRORS_A_SECOND, SLOW_A_SECOND, OUTCOMES_A_SECOND = 10.0, 10, 10, 50
_MAX_GROUPS = 512
_MAX_MESSAGE = 1024
_MAX_WALK = 400
_SERVER_ERROR = 500
_VALUE = re.compile(r"'+|(?<![\w.])\d[\w.]*")


class Behaviour:
    """The counts behind sampling and bounds. No lock: a count may be lost where two threads meet."""

    def __init__(self, sample: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sample = sample
        self._clock = clock
        self._requests = itertools.count(1)
        #: By fingerprint: when it was told last, and how many were not since.
        self._groups: dict[str, tuple[float, int]] = {}
        self._errors = _Allowance(ERRORS_A_SECOND)
        self._slow = _Allowance(SLOW_A_SECOND)
        self._outcomes = _Allowance(OUTCOMES_A_SECOND)

    @property
    def dropped(self) -> int:
        """Reports that were not made because there were too many."""
        return self._errors.dropped + self._slow.dropped + self._outcomes.dropped

    def note_failure(self, request: Request, problem: BaseException) -> None:
        """Tell of an exception that no handler of the app's took."""
        frames = traceback_frames(problem.__traceback__)
        name = _type_name(problem)
        fingerprint = fingerprint_of(name, frames)
        missed = self._missed(fingerprint)
        if missed is None or not self._errors.take(self._clock()):
            return
        with context.suspended():
            request.sensor.reporter.submit(
                Failure(
                    time=time.time_ns(),
                    type=name,
                    message=_message(request, problem),
                    fingerprint=fingerprint,
                    count=missed + 1,
                    subject=request.subject(),
                    frames=frames,
                )
            )

    def note_slow(
        self, request: Request, sink: str, statement: str, seconds: float, frames: tuple[Frame, ...]
    ) -> None:
        """Tell of a call that took `seconds`."""
        place = f"{frames[0].file}:{frames[0].line}" if frames else sink
        missed = self._missed(place)
        if missed is None or not self._slow.take(self._clock()):
            return
        with context.suspended():
            request.sensor.reporter.submit(
                Slow(
                    time=time.time_ns(),
                    sink=sink,
                    statement=without_values(statement),
                    duration=round(seconds * 1000, 3),
                    count=missed + 1,
                    subject=request.subject(),
                    frames=frames,
                )
            )

    def note_end(self, request: Request) -> None:
        """Tell how a request ended, if it is one of those."""
        is_failed = request.status >= _SERVER_ERROR
        if not is_failed and not (self._sample and next(self._requests) % self._sample == 0):
            return
        if not request.status:  # a web socket, or a client that went away
            return
        if not self._outcomes.take(self._clock()):
            return
        elapsed = time.perf_counter() - request.started
        with context.suspended():
            request.sensor.reporter.submit(
                Outcome(time.time_ns(), request.status, round(elapsed * 1000, 3), request.subject())
            )

    def _missed(self, fingerprint: str) -> int | None:
        """How many of this group were not told since the last that was; None when this one is not either."""
        now = self._clock()
        told, missed = self._groups.get(fingerprint, (now - PAUSE, 0))
        if now - told < PAUSE:
            self._groups[fingerprint] = (told, missed + 1)
            return None
        if len(self._groups) >= _MAX_GROUPS:
            self._groups.clear()
        self._groups[fingerprint] = (now, 0)
        return missed


class _Allowance:
    """So many a second; `dropped` counts the rest."""

    def __init__(self, a_second: int) -> None:
        self._a_second = a_second
        self._second = float("-inf")
        self._taken = 0
        self.dropped = 0

    def take(self, now: float) -> bool:
        if now - self._second >= 1:
            self._second, self._taken = now, 0
        if self._taken >= self._a_second:
            self.dropped += 1
            return False
        self._taken += 1
        return True


def failed(request: Request, problem: BaseException) -> None:
    """Tell of an exception that ended the work on `request`; the same one is told once, whoever calls.

    Never raises into the host, except under `DIVERTOR_SENSOR_STRICT=1`.
    """
    if not isinstance(problem, Exception) or request.interrupted:
        return
    try:
        if request.first_time("error", "", str(id(problem))):
            request.sensor.behaviour.note_failure(request, problem)
    except Exception as fault:
        request.sensor.faults.contain("reporting an error", fault)


def slow(request: Request, sink: str, statement: str, seconds: float) -> None:
    """Tell that a call of the app's, whose frame is two above this one, took long.

    Never raises into the host, except under `DIVERTOR_SENSOR_STRICT=1`.
    """
    try:
        frames = capture(sys._getframe(2))
        request.sensor.behaviour.note_slow(request, sink, statement, seconds, frames)
    except Exception as fault:
        request.sensor.faults.contain("reporting a slow call", fault)


def without_values(statement: str) -> str:
    """An SQL statement in lower case with `?` for its literals and numbers; empty when it is not plain which
    these are: a report must not carry what users typed.
    """
    left = skeleton(statement)
    return "" if left is None else _VALUE.sub("?", left)[:MAX_STATEMENT]


def ended(request: Request, raw: Raw) -> None:
    """The response is on its way, and nothing of the request is judged any more: tell what it was."""
    sensor = request.sensor
    try:
        if sensor.is_probed:
            sensor.probes.judge(request, raw)
        if sensor.settings.sample or request.status >= _SERVER_ERROR:
            sensor.behaviour.note_end(request)
    except Exception as fault:
        sensor.faults.contain("reporting the end of a request", fault)


def traceback_frames(traceback: TracebackType | None) -> tuple[Frame, ...]:
    """The frames of a traceback: the app's first, the place of the error before its callers."""
    app: list[Frame] = []
    others: list[Frame] = []
    for _ in range(_MAX_WALK):
        if traceback is None:
            break
        code = traceback.tb_frame.f_code
        found = Frame(code.co_filename, traceback.tb_lineno or 0, code.co_qualname)
        (app if is_app_file(code.co_filename) else others).append(found)
        traceback = traceback.tb_next
    return tuple((app[::-1] + others[::-1])[:MAX_FRAMES])


def fingerprint_of(name: str, frames: tuple[Frame, ...]) -> str:
    """What an error has in common with its like: its type and the app's functions on the way, whatever the
    lines, the message and the folder of the installation. 16 hexadecimal digits.
    """
    own = [frame for frame in frames if is_app_file(frame.file)] or list(frames[:1])
    places = [f"{_tail(frame.file)}:{frame.function}" for frame in own]
    return hashlib.blake2b("\n".join([name, *places]).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _tail(path: str) -> str:
    return "/".join(path.replace(os.sep, "/").split("/")[-2:])


def _type_name(problem: BaseException) -> str:
    kind = type(problem)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(request: Request, problem: BaseException) -> str:
    """The exception's own words, bounded, without the request's secrets; empty when it has none to give."""
    try:
        text = str(problem)
    except Exception:
        return ""
    return without_secrets(text[: 2 * _MAX_MESSAGE], secret_words(request.inputs().values))[:_MAX_MESSAGE]
