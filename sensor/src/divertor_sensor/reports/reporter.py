"""Sends detections to the collector, off the request path: OTLP over HTTP, JSON, batched, bounded, fail-open.

The request path only appends to a queue; a full queue drops its oldest, and counts. The one thread starts
with the first detection (never before a fork), keeps one connection alive, and sends what is queued at
once. A failed send is tried again with a growing pause; the app never notices. Without an endpoint a
detection goes to the log.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

from divertor_sensor import context
from divertor_sensor.faults import LOG
from divertor_sensor.reports.detection import Detection, Failure, Report, export_request
from divertor_sensor.reports.frames import with_source
from divertor_sensor.settings import Settings
from divertor_sensor.version import VERSION

MAX_QUEUED = 1024
MAX_BATCH = 64
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_TIMEOUT = 5.0
#: Seconds between two lines in the log about a collector that refuses.
_LOG_PAUSE = 60.0
#: Seconds that leaving the process may wait for what is still queued.
EXIT_WAIT = 2.0
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})

_reporters: weakref.WeakSet[OtlpReporter] = weakref.WeakSet()


class Reporter(Protocol):
    """Where detections go. `submit` must return at once and never raise."""

    def submit(self, report: Report) -> None: ...


class LogReporter:
    """Writes one warning per detection; used when no endpoint is configured."""

    def submit(self, report: Report) -> None:
        if isinstance(report, Detection):
            LOG.warning("%s", report.summary())


class OtlpReporter:
    """Posts to `endpoint`/v1/logs. `sent`, `dropped` and `failed` count detections, detections, and posts."""

    def __init__(self, settings: Settings, first_pause: float = _FIRST_PAUSE) -> None:
        self._endpoint = urlsplit(settings.endpoint + "/v1/logs")
        self._token = settings.ingest_token
        self._resource = _resource(settings)
        self._first_pause = first_pause
        self.sent = self.dropped = self.failed = 0
        self._told_at = float("-inf")
        self._start_lock = threading.Lock()
        self._reset()
        _reporters.add(self)

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[Report | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None

    def after_fork(self) -> None:
        """In a child: the parent's thread, queue and connection are the parent's."""
        self._start_lock = threading.Lock()
        self._reset()
        self._resource["process.pid"] = os.getpid()

    def submit(self, report: Report) -> None:
        if self._queue.qsize() >= MAX_QUEUED:
            self._drop_oldest()
        self._queue.put(report)
        if self._thread is None:
            self._start()

    def _drop_oldest(self) -> None:
        with suppress(queue.Empty):
            item = self._queue.get_nowait()
            if isinstance(item, threading.Event):
                item.set()
            else:
                self.dropped += 1

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
        return done.wait(timeout)

    def _run(self) -> None:
        while True:
            batch, marks = self._next_batch()
            try:
                if batch:
                    self._deliver(batch)
            except Exception:
                self.dropped += len(batch)
                LOG.exception("reporting failed, %d detections dropped", len(batch))
            for mark in marks:
                mark.set()

    def _next_batch(self) -> tuple[list[Report], list[threading.Event]]:
        batch: list[Report] = []
        marks: list[threading.Event] = []
        item = self._queue.get()
        while True:
            if isinstance(item, threading.Event):
                marks.append(item)
            else:
                batch.append(item)
            if len(batch) >= MAX_BATCH:
                return batch, marks
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, marks

    def _deliver(self, batch: list[Report]) -> None:
        full = [
            replace(each, frames=with_source(each.frames)) if isinstance(each, (Detection, Failure)) else each
            for each in batch
        ]
        body = json.dumps(export_request(self._resource, full, VERSION), separators=(",", ":")).encode()
        pause = self._first_pause
        while True:
            status = self._post(body)
            if 200 <= status < 300:
                self.sent += len(batch)
                return
            self.failed += 1
            if status and status not in _RETRYABLE:
                self.dropped += len(batch)
                self._tell_refusal(status)
                return
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell_refusal(self, status: int) -> None:
        """Log that the collector wants none of it; now and then, as an attacker can make many detections."""
        now = time.monotonic()
        if now - self._told_at >= _LOG_PAUSE:
            self._told_at = now
            LOG.error("the collector refuses detections with status %d; %d are lost", status, self.dropped)

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
        reporter.flush(max(0.0, deadline - time.monotonic()))


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
