"""Stand-ins on loopback for the services that sensors report to: they take everything and answer at once.

Aikido's service, Datadog's agent, and a receiver of OpenTelemetry logs; with them each sensor works as in
production. They share one port, because their paths differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_AIKIDO = {
    "success": True,
    "status": 200,
    "configUpdatedAt": 0,
    "heartbeatIntervalInMS": 600_000,
    "endpoints": [],
    "blockedUserIds": [],
    "allowedIPAddresses": [],
    "receivedAnyStats": True,
    "block": False,
    "blockedIPAddresses": [],
    "blockedUserAgents": "",
}
_AGENT = {"endpoints": ["/v0.4/traces", "/v0.5/traces"], "client_drop_p0s": False, "version": "7.60.0"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(_AGENT if self.path == "/info" else _AIKIDO)

    def do_POST(self) -> None:
        self._take()
        self._answer({"rate_by_service": {}} if "traces" in self.path else _AIKIDO)

    do_PUT = do_POST

    def _take(self) -> None:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("content-length", "0")))

    def _answer(self, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What a sensor reports is of no interest."""


@contextmanager
def standing_in(port: int) -> Iterator[str]:
    """The URL under which all of them answer while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
