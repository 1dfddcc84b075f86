"""Keeps the sensor's own faults out of the host: swallowed, counted, logged once per place.

Failure policy: open. A detector that fails finds nothing; the app goes on. Under `DIVERTOR_SENSOR_STRICT=1`
a fault is raised instead, so that tests see it. A stack that the app has filled is no fault: its own call
would fail a few levels further down, and must not run unjudged for that.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress

from divertor_sensor import context

LOG = logging.getLogger("divertor_sensor")
#: Levels of the stack that judging takes, and some more.
_ROOM = 100
#: Characters of an exception's own words in the log, and levels of its stack.
_MAX_MESSAGE, _MAX_LEVELS = 1024, 20


class Faults:
    """A counter of the sensor's own failures. `strict` raises them."""

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.count = 0
        self._told: set[str] = set()

    def contain(self, place: str, problem: Exception) -> None:
        """Take note of `problem`, which happened in `place`; call it from an `except` block.

        :raises Exception: `problem` itself, when strict, or when the app has left no room on the stack.
        """
        if self.strict or (isinstance(problem, RecursionError) and _is_stack_full()):
            raise problem
        self.note(place, problem)

    def note(self, place: str, problem: Exception) -> None:
        """Count and log once, also when strict: for failures that are not the sensor's own."""
        self.count += 1
        if place not in self._told:
            self._told.add(place)
            # Printing a traceback reads files: not the request's doing. And a handler may raise.
            with context.suspended(), suppress(Exception):
                LOG.error(
                    "fault in %s, ignored (further ones are only counted): %s", place, _account(problem)
                )


def printable(text: str) -> str:
    """`text` as one line that a log can hold: what could end the line or steer a terminal is escaped."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])


def _account(problem: Exception) -> str:
    """What happened and where. The words of an exception may be a request's: not as they are, as in the
    traceback that `logging` would make.
    """
    words = printable(str(problem)[:_MAX_MESSAGE])
    stack = "".join(traceback.format_tb(problem.__traceback__, -_MAX_LEVELS))
    return f"{type(problem).__qualname__}: {words}\n{stack}".rstrip()


def _is_stack_full() -> bool:
    """Whether there is less room than judging takes; what recurses by itself comes back from far below."""
    depth, frame = 0, sys._getframe()
    while (outer := frame.f_back) is not None:
        depth, frame = depth + 1, outer
    return depth > sys.getrecursionlimit() - _ROOM
