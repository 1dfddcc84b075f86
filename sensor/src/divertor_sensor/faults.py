"""Keeps the sensor's own faults out of the host: swallowed, counted, logged once per place.

Failure policy: open. A detector that fails finds nothing; the app goes on. Under `DIVERTOR_SENSOR_STRICT=1`
a fault is raised instead, so that tests see it. A stack that the app has filled is no fault: its own call
would fail a few levels further down, and must not run unjudged for that.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from divertor_sensor import context

LOG = logging.getLogger("divertor_sensor")
#: Levels of the stack that judging takes, and some more.
_ROOM = 100


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
                LOG.error("fault in %s, ignored (further ones are only counted)", place, exc_info=problem)


def _is_stack_full() -> bool:
    """Whether there is less room than judging takes; what recurses by itself comes back from far below."""
    depth, frame = 0, sys._getframe()
    while (outer := frame.f_back) is not None:
        depth, frame = depth + 1, outer
    return depth > sys.getrecursionlimit() - _ROOM
