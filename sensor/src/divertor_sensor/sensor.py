"""One configured sensor, and what it decides to do about a finding: report it, block the request, or have the
gateway send it to the version that is trusted.
"""

from __future__ import annotations

import os

from divertor_sensor import context
from divertor_sensor.faults import Faults
from divertor_sensor.memory import StatementMemory
from divertor_sensor.report import Reporter, make_reporter
from divertor_sensor.request import Head, Request
from divertor_sensor.settings import Mode, Settings
from divertor_sensor.users import Sessions

#: Tells the gateway where the request came from; only a gateway that knows the divert token acts on the
#: answer.
ORIGIN_HEADER = "x-divertor-origin"
TOKEN_HEADER = "x-divertor-token"
#: Bytes of a body that the gateway keeps for sending the request again.
REPLAY_LIMIT = 1 << 20


class Sensor:
    """One configured sensor: settings, reporter, memory of statements, count of its own faults."""

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        self.settings = settings
        self.reporter = make_reporter(settings) if reporter is None else reporter
        self.memory = StatementMemory()
        self.faults = Faults(settings.strict)
        self.sessions = Sessions()

    @property
    def mode(self) -> Mode:
        """As configured, unless the file that was configured says otherwise now."""
        if not self.settings.mode_file or self.settings.mode is not Mode.DIVERT:
            return self.settings.mode
        with context.suspended():
            return Mode.REPORT if _word_in(self.settings.mode_file) == b"report" else Mode.DIVERT

    def outcome(self, request: Request, hostile: bool) -> str:
        """What an attack or a vulnerability leads to for this request."""
        if not hostile or self.mode is Mode.REPORT:
            return "reported"
        return "diverted" if request.replaceable and self.divert_target(request) else "blocked"

    def divert_target(self, request: Request) -> str:
        """The absolute URL the gateway shall replay; empty when diverting is off, there is no gateway, or it
        could not replay the request and would pass the token on to the client."""
        if self.settings.mode is not Mode.DIVERT or not self.settings.divert_token:
            return ""
        if _is_odd(request.head):
            return ""
        origin = request.head.headers.get(ORIGIN_HEADER, "")
        return origin if origin.startswith(("http://", "https://")) and origin.isprintable() else ""


def _word_in(path: str) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 16).strip()
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_odd(head: Head) -> bool:
    """A GET with a body of unknown length, or a long one: no client of good will sends it, and only for other
    methods the gateway looks whether a body is too long to be sent again."""
    if head.method not in ("GET", "HEAD"):
        return False
    length = head.headers.get("content-length", "0").strip()
    return "transfer-encoding" in head.headers or not length.isdecimal() or int(length[:20]) > REPLAY_LIMIT
