"""Shared by the sensor's tests: a sensor whose reports are kept in a list, and the patched sinks.

The patches are process-wide: they are put in place for these tests, and taken back after the last of them.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from divertor_sensor import frameworks, patching, sinks, threads
from divertor_sensor.patching import restore_all
from divertor_sensor.reports.detection import Detection, Report
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings

DIVERT = Settings(mode=Mode.DIVERT, divert_token="secret-token", strict=True)


class Kept:
    """A reporter that keeps what it is given: attacks and vulnerabilities apart, if wanted."""

    def __init__(self, detections: list[Detection], reports: list[Report] | None = None) -> None:
        self._detections = detections
        self._reports = [] if reports is None else reports

    def submit(self, report: Report) -> None:
        self._reports.append(report)
        if isinstance(report, Detection) and report.signal != "probe":
            self._detections.append(report)


@pytest.fixture(scope="package", autouse=True)
def _patched_sinks() -> Iterator[None]:
    sinks.instrument()
    threads.instrument()
    yield
    restore_all()


@pytest.fixture
def kept() -> list[Detection]:
    """The attacks and vulnerabilities that the sensors of `make_sensor` have reported."""
    return []


@pytest.fixture
def reported() -> list[Report]:
    """The same, and probes, errors and outcomes."""
    return []


@pytest.fixture
def make_sensor(kept: list[Detection], reported: list[Report]) -> Callable[..., Sensor]:
    """A sensor in divert mode, or with the settings given."""

    def make(**settings: Any) -> Sensor:
        return Sensor(replace(DIVERT, **settings), Kept(kept, reported))

    return make


@pytest.fixture
def hooked(make_sensor: Callable[..., Sensor]) -> Iterator[Sensor]:
    """Frameworks and servers, hooked up to a sensor that also reports every outcome; unhooked afterwards."""
    made = make_sensor(sample=1)
    before, asked = set(patching.patched), set(patching.integrations)
    frameworks.instrument(lambda: made)
    yield made
    restore_all(but=before, asked=asked)


def free_port() -> int:
    """A free port below the range that outgoing connections are given."""
    while True:
        port = random.randrange(15_000, 30_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


@pytest.fixture
def port() -> int:
    return free_port()


class Collector:
    """An OTLP receiver on loopback; `requests` gets (path, headers, body) in order of arrival."""

    def __init__(self) -> None:
        self.requests: Queue[tuple[str, dict[str, str], dict[str, Any]]] = Queue()
        self.statuses: list[int] = []
        self.connections = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                collector.connections += 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = collector.statuses.pop(0) if collector.statuses else 200
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                collector.requests.put((self.path, headers, body))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def record(self, timeout: float = 10) -> dict[str, Any]:
        """The next detection's attributes, by name, decoded."""
        _, _, body = self.requests.get(timeout=timeout)
        record = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        return {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()
