"""One configured sensor, and what it decides to do about a finding: report it, block the request, or have the
gateway send it to the version that is trusted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from divertor_sensor import context
from divertor_sensor.behaviour import Behaviour
from divertor_sensor.faults import Faults
from divertor_sensor.memory import StatementMemory
from divertor_sensor.modes import PROBE
from divertor_sensor.probes import Probes
from divertor_sensor.reports.reporter import Reporter, make_reporter
from divertor_sensor.request import Head, Request
from divertor_sensor.settings import Mode, Settings
from divertor_sensor.users import Sessions

#: Tells the gateway where the request came from; only a gateway that knows the divert token acts on the
#: answer.
ORIGIN_HEADER = "x-divertor-origin"
TOKEN_HEADER = "x-divertor-token"
#: Bytes of a body that the gateway keeps for sending the request again.
REPLAY_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a finding leads to: `diverted`, `blocked` or `reported`; `simulated` says what it would have led
    to, when that was not done.
    """

    outcome: str
    simulated: str = ""

    @property
    def stops(self) -> bool:
        return self.outcome != "reported"


class Sensor:
    """One configured sensor: settings, reporter, memory of statements, count of its own faults."""

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        self.settings = settings
        self.modes = settings.modes()
        self.reporter = make_reporter(settings) if reporter is None else reporter
        self.memory = StatementMemory()
        self.faults = Faults(settings.strict)
        self.sessions = Sessions()
        self.probes = Probes()
        self.behaviour = Behaviour(settings.sample)
        #: Seconds from which on a guarded call counts as slow.
        self.slow = settings.slow / 1000 if settings.slow else float("inf")
        #: Whether anybody wants to hear of probes at all.
        self.is_probed = self.modes.may_report(PROBE)

    @property
    def mode(self) -> Mode:
        """That of attacks, unless a route or a type has its own: as configured, unless the file that was
        configured says otherwise now.
        """
        mode = self.settings.mode
        return Mode.REPORT if mode is Mode.DIVERT and self._is_held_back() else mode

    def decide(self, request: Request, kind: str, signal: str) -> Verdict | None:
        """What a finding of type `kind` leads to for this request; None when it is not even reported."""
        head = request.head
        mode = self.modes.find(kind, signal, head.method, head.path)
        if mode is Mode.OFF:
            return None
        if mode is Mode.REPORT:
            return Verdict("reported")
        if mode is Mode.BLOCK:
            return Verdict("blocked")
        outcome = "diverted" if request.replaceable and self.divert_target(request) else "blocked"
        if mode is Mode.SIMULATE:
            return Verdict("reported", outcome)
        return Verdict("reported" if self._is_held_back() else outcome)

    def _is_held_back(self) -> bool:
        """Whether the file that was configured says at this moment that nothing is to be diverted."""
        if not self.settings.mode_file:
            return False
        with context.suspended():
            return _word_in(self.settings.mode_file) == b"report"

    def divert_target(self, request: Request) -> str:
        """The absolute URL the gateway shall replay; empty when the request is to be blocked, there is no
        gateway, or it could not replay the request and would pass the token on to the client."""
        if request.outcome == "blocked" or not self.settings.divert_token:
            return ""
        if _is_odd(request.head):
            return ""
        origin = request.head.headers.get(ORIGIN_HEADER, "")
        return origin if origin.startswith(("http://", "https://")) and origin.isprintable() else ""


def _word_in(path: str) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait
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
