"""Sends reports to the collector, off the request path: OTLP over HTTP, JSON, batched, bounded, fail-open.

The request path only appends to a queue. That is bounded in number and in memory, because attackers fill it:
its oldest make room, and are counted. The one thread starts with the first report (never before a fork) and
keeps one connection alive. It sends at once what comes after a silence, and what comes in quick succession
together, `LINGER` seconds' worth of it: a post costs more than the reports in it. A failed send is tried
again with a growing pause; the app never notices. What was lost is told in the log, now and then.
"""

from __future__ import annotations

import atexit
import http.client
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from divertor_sensor import context
from divertor_sensor.faults import LOG
from divertor_sensor.reports.detection import Report, weight_of
from divertor_sensor.reports.encoding import body_of, encoded
from divertor_sensor.reports.log import LogReporter
from divertor_sensor.settings import Settings
from divertor_sensor.version import VERSION

#: Reports that wait at most, and bytes of memory that they may take.
MAX_QUEUED, MAX_HELD = 1024, 2 << 20
#: Reports in one post, and about the bytes of its body; a larger one would leave its mark on the memory.
MAX_BATCH, MAX_BODY = 64, 96 * 1024
#: Seconds between two posts, for what comes in between.
LINGER = 0.025
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_TIMEOUT = 5.0
#: Seconds between two lines in the log about reports that are lost.
_LOG_PAUSE = 60.0
#: Seconds that leaving the process may wait for what is still queued.
EXIT_WAIT = 2.0
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})

_reporters: weakref.WeakSet[OtlpReporter] = weakref.WeakSet()


class Reporter(Protocol):
    """Where detections go. `submit` must return at once and never raise."""

    def submit(self, report: Report) -> None: ...


class OtlpReporter:
    """Posts to `endpoint`/v1/logs. `sent`, `dropped` and `failed` count reports, reports, and posts.

    No lock: single steps of the interpreter are whole, and a count that is lost where two threads meet makes
    a bound a little wider until the queue is empty.
    """

    def __init__(
        self,
        settings: Settings,
        first_pause: float = _FIRST_PAUSE,
        linger: float = LINGER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = urlsplit(settings.endpoint + "/v1/logs")
        self._token = settings.ingest_token
        self._resource = _resource(settings)
        self._first_pause = first_pause
        self._linger = linger
        self._clock = clock
        self.sent = self.dropped = self.failed = 0
        self._told_at = float("-inf")
        self._told = 0
        self._start_lock = threading.Lock()
        self._reset()
        _reporters.add(self)

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[Report | threading.Event] = queue.SimpleQueue()
        self._held = 0
        self._given = self.sent + self.dropped
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None

    def after_fork(self) -> None:
        """In a child: the parent's thread, queue and connection are the parent's."""
        self._start_lock = threading.Lock()
        self._reset()
        self._resource["process.pid"] = os.getpid()

    def submit(self, report: Report) -> None:
        self._given += 1
        weight = weight_of(report)
        while self._queue.qsize() >= MAX_QUEUED or self._held + weight > MAX_HELD:
            if not self._drop_oldest():
                break
        self._held += weight
        self._queue.put(report)
        if self._thread is None:
            self._start()

    def _drop_oldest(self) -> bool:
        """Make room; False when there is nothing left to drop."""
        try:
            item = self._queue.get_nowait()
        except queue.Empty:
            self._held = 0
            return False
        if isinstance(item, threading.Event):
            item.set()
        else:
            self._held -= weight_of(item)
            self.dropped += 1
        return True

    def _start(self) -> None:
        with self._start_lock, context.suspended():
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="divertor-sensor", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is shutting down
                    return
                self._thread = thread

    def flush(self, timeout: float = EXIT_WAIT) -> bool:
        """Wait until all that is queued now is sent or given up; False after `timeout` seconds."""
        if self._thread is None or not self._thread.is_alive():
            return self._queue.empty()
        done = threading.Event()
        self._queue.put(done)
        self._hurry.set()
        return done.wait(timeout)

    def unsent(self) -> int:
        """How many reports are neither sent nor given up."""
        return self._given - self.sent - self.dropped

    def _run(self) -> None:
        while True:
            batch, marks = self._next_batch()
            try:
                if batch:
                    self._deliver(batch)
            except Exception as problem:
                self.dropped += len(batch)
                self._tell(f"sending failed ({type(problem).__name__})")
            for mark in marks:
                mark.set()
            if batch and self._queue.empty():
                self._held = 0
                self._hurry.wait(self._linger)
            self._hurry.clear()

    def _next_batch(self) -> tuple[list[str], list[threading.Event]]:
        """The records that wait, as far as they go into one post, and the marks between them."""
        batch: list[str] = []
        marks: list[threading.Event] = []
        size = 0
        item = self._queue.get()
        while True:
            if isinstance(item, threading.Event):
                marks.append(item)
            elif text := self._encoded(item):
                batch.append(text)
                size += len(text)
            if len(batch) >= MAX_BATCH or size >= MAX_BODY:
                return batch, marks
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, marks

    def _encoded(self, report: Report) -> str:
        """The report's record; empty for one that cannot be encoded, which must not take others with it."""
        self._held -= weight_of(report)
        try:
            return encoded(report)
        except Exception as problem:
            self.dropped += 1
            self._tell(f"a report cannot be encoded ({type(problem).__name__})")
            return ""

    def _deliver(self, batch: list[str]) -> None:
        body = body_of(self._resource, batch, VERSION)
        pause = self._first_pause
        while True:
            status = self._post(body)
            if 200 <= status < 300:
                self.sent += len(batch)
                self._tell("there were too many to be sent in time")
                return
            self.failed += 1
            if status and status not in _RETRYABLE:
                self.dropped += len(batch)
                self._tell(f"the collector refuses them with status {status}")
                return
            self._tell(f"the collector answers with status {status}" if status else "the collector is away")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell(self, reason: str) -> None:
        """Log that reports are lost, if any were; now and then, as an attacker can make many."""
        lost, now = self.dropped - self._told, self._clock()
        if lost and now - self._told_at >= _LOG_PAUSE:
            self._told_at, self._told = now, self.dropped
            with suppress(Exception):
                LOG.error("%d reports are lost, %d so far: %s", lost, self.dropped, reason)

    def _post(self, body: bytes) -> int:
        """The status of one POST, 0 when it did not get through. A kept connection that went stale is
        renewed once.
        """
        reused = self._connection is not None
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException):
            self._close()
        if not reused:
            return 0
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException):
            self._close()
            return 0

    def _exchange(self, body: bytes) -> int:
        if self._connection is None:
            self._connection = self._connect()
        headers = {"content-type": "application/json", "user-agent": f"divertor-sensor/{VERSION}"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        self._connection.request("POST", self._endpoint.path, body, headers)
        response = self._connection.getresponse()
        response.read(65536)
        if response.will_close or not response.isclosed():
            self._close()
        return response.status

    def _connect(self) -> http.client.HTTPConnection:
        kind: Callable[..., http.client.HTTPConnection] = (
            http.client.HTTPSConnection if self._endpoint.scheme == "https" else http.client.HTTPConnection
        )
        return kind(self._endpoint.hostname or "", self._endpoint.port, timeout=_TIMEOUT)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def make_reporter(settings: Settings) -> Reporter:
    """The reporter that `settings` asks for."""
    return OtlpReporter(settings) if settings.endpoint else LogReporter()


def _resource(settings: Settings) -> dict[str, str | int]:
    resource: dict[str, str | int] = {
        "service.name": settings.service,
        "service.version": settings.version,
        "service.instance.id": settings.instance,
        "process.pid": os.getpid(),
        "host.name": socket.gethostname(),
        "telemetry.sdk.name": "divertor-sensor",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": VERSION,
    }
    return {key: value for key, value in resource.items() if value != ""}


def _all() -> Sequence[OtlpReporter]:
    return list(_reporters)


def _after_fork() -> None:
    for reporter in _all():
        reporter.after_fork()


def _at_exit() -> None:
    deadline = time.monotonic() + EXIT_WAIT
    for reporter in _all():
        if not reporter.flush(max(0.0, deadline - time.monotonic())) and reporter.unsent():
            LOG.error("%d reports are lost: the process ends before they are sent", reporter.unsent())


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
