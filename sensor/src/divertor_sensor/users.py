"""Which user a request is served for, as the app says, so that isolating a user isolates all his sessions.

A pair of user and session is reported when it is first seen, and again once a minute while it is used: who
collects the reports need not keep them for ever. A process remembers so many pairs and no more. It never
raises into the app.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from divertor_sensor import context
from divertor_sensor.reports.detection import Session, Subject
from divertor_sensor.request import Request

#: Longest user id that is reported.
MAX_USER = 256
#: Pairs remembered, and seconds after which one is reported again.
MAX_SESSIONS = 4096
AGAIN = 60.0


class Sessions:
    """The pairs that were reported, and when (in steady seconds).

    Without a lock, as it would have to survive forks: each step below is one operation of the interpreter's,
    and two threads at once report a pair twice at worst.
    """

    def __init__(self) -> None:
        self._reported: OrderedDict[int, float] = OrderedDict()

    def is_due(self, subject: Subject, now: float) -> bool:
        """Whether to report this pair now; if so it counts as reported."""
        pair = hash((subject.user, subject.session, subject.headers))
        reported = self._reported.pop(pair, None)
        is_due = reported is None or now - reported >= AGAIN
        self._reported[pair] = now if reported is None or is_due else reported
        if len(self._reported) > MAX_SESSIONS:
            self._reported.popitem(last=False)
        return is_due


def set_user(id: object) -> None:
    """Says that the current request is served for the user `id` (its text, up to 256 characters). Call it as
    soon as the app knows, on every request. Outside a request nothing happens.
    """
    request = context.current.get()
    if request is None:
        return
    try:
        _set_user(request, str(id)[:MAX_USER])
    except Exception as problem:
        request.sensor.faults.contain("set_user", problem)


def _set_user(request: Request, user: str) -> None:
    request.user = user
    if not user:
        return
    with context.suspended():
        subject, sensor = request.subject(), request.sensor
        known = subject.session or subject.headers
        if known and sensor.sessions.is_due(subject, time.monotonic()):
            sensor.reporter.submit(Session(time.time_ns(), subject))
