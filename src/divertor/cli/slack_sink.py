"""A stand-in for Slack, for the demo: takes incoming-webhook messages on loopback and writes them down.

Run as `python -m divertor.cli.slack_sink PORT MESSAGES LOG`: each message becomes a line of the JSON-lines
file MESSAGES and a readable one of LOG. It answers what Slack answers. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

#: Bytes of the largest message taken, and characters of it shown in the log.
MAX_MESSAGE = 256 * 1024
MAX_SHOWN = 300


def append(path: str, line: str) -> None:
    """Adds a line in one write, so that several processes may share the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, line.encode("utf-8", "replace") + b"\n")
    finally:
        os.close(descriptor)


def shown(message: Any) -> str:
    """A message on one line: its text, and the titles and texts of its attachments."""
    if not isinstance(message, dict):
        return ""
    attachments = message.get("attachments")
    parts = [message, *(attachments if isinstance(attachments, list) else [])]
    texts = [
        str(part.get(key) or "") for part in parts if isinstance(part, dict) for key in ("title", "text")
    ]
    line = " · ".join(" ".join(text.split()) for text in texts if text)
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


def handler(messages: str, log: str) -> type[BaseHTTPRequestHandler]:
    """The server's handler; it writes to these two files."""

    class Webhook(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self._answer(200, b"ok")

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MAX_MESSAGE:
                self._answer(413, b"too_large")
                return
            try:
                message = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                self._answer(400, b"invalid_payload")
                return
            now = datetime.now(UTC)
            append(messages, json.dumps({"time": now.isoformat(), "path": self.path, "message": message}))
            append(log, f"{now.astimezone():%H:%M:%S} slack     {shown(message)}")
            self._answer(200, b"ok")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """What comes in is written down already."""

    return Webhook


def main(arguments: Sequence[str]) -> int:
    """`PORT MESSAGES LOG`; serves until it is ended."""
    if len(arguments) != 3 or not arguments[0].isdecimal():
        print("usage: python -m divertor.cli.slack_sink PORT MESSAGES LOG", file=sys.stderr)
        return 2
    HTTPServer(("127.0.0.1", int(arguments[0])), handler(*arguments[1:])).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
