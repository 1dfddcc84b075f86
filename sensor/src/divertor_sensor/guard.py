"""The decision at a sink, taken before the call runs: go on, report, or interrupt the request.

`check` is what every sink calls. It costs one lookup for a statement that is the program's own, and works
on values otherwise. Failure policy: open; a fault of a detector lets the call run.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from types import FrameType

from divertor_sensor import context
from divertor_sensor.detection import MAX_PAYLOAD, MAX_STATEMENT, Detection
from divertor_sensor.detectors import Detector, Finding
from divertor_sensor.faults import Faults
from divertor_sensor.frames import app_frame, capture, is_constant
from divertor_sensor.memory import Site, StatementMemory, site_of
from divertor_sensor.report import Reporter, make_reporter
from divertor_sensor.request import AttackInterrupted, Head, Request
from divertor_sensor.settings import Mode, Settings
from divertor_sensor.users import Sessions
from divertor_sensor.work import Spent

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


def check(request: Request, detector: Detector, sink: str, statement: str, depth: int = 2) -> None:
    """Judge `statement`, about to run at `sink`, by the inputs of `request`.

    `depth` is the number of the sensor's own frames above the caller, this one included.

    :raises AttackInterrupted: the statement must not run.
    """
    if request.interrupted:
        raise AttackInterrupted
    sensor = request.sensor
    caller = sys._getframe(depth)
    site = site_of(app_frame(caller))
    if sensor.memory.knows(site, statement) or request.lapsed:
        return
    try:
        interrupt = _examine(request, detector, sink, statement, site, caller)
    except Exception as problem:
        sensor.faults.contain(f"detector {detector.type}", problem)
        interrupt = request.interrupted
    if interrupt:
        raise AttackInterrupted


def _examine(
    request: Request, detector: Detector, sink: str, statement: str, site: Site, caller: FrameType
) -> bool:
    memory = request.sensor.memory
    if is_constant(statement, caller):
        memory.learn(site, statement)
        return False
    key = (detector.type, statement)
    if key in request.cleared and request.is_current():
        return False
    finding, clean = _judged(request, detector, statement)
    if finding is not None and _found(request, detector, sink, statement, finding, caller):
        return True
    if clean:
        memory.propose(site, statement, request.fingerprints, lambda: request.is_apart(statement))
    if finding is None:
        request.cleared.add(key)
    return False


def _judged(request: Request, detector: Detector, statement: str) -> tuple[Finding | None, bool]:
    """The finding, and whether the statement is clean beyond doubt: no input occurs in it, and all were
    seen.

    What could not be judged is an attack, unless the statement has no room for one, or nothing of it is in
    the request. Else a bound of the sensor would be a way around it.
    """
    try:
        judgement = detector.judge(statement, request.candidates(detector), request.work)
        finding, complete = judgement.finding, request.is_complete(detector)
    except Spent:
        finding, complete, judgement = None, False, None
    if complete or (finding is not None and finding.hostile):
        return finding, judgement is not None and not judgement.touched
    if detector.is_innocent(statement) or _is_unrelated(request, detector, statement):
        return finding, False
    return Finding(request.excess(), True), False


def _is_unrelated(request: Request, detector: Detector, statement: str) -> bool:
    try:
        return request.is_unrelated(detector.marks(statement))
    except Spent:
        return False


def _found(
    request: Request, detector: Detector, sink: str, statement: str, finding: Finding, caller: FrameType
) -> bool:
    sensor = request.sensor
    outcome = sensor.outcome(request, finding.hostile)
    if outcome != "reported":
        request.interrupted = True
    if request.first_time(detector.type, finding.origin.name, statement):
        with context.suspended():
            sensor.reporter.submit(_record(request, detector, sink, statement, finding, outcome, caller))
    return request.interrupted


def _record(
    request: Request,
    detector: Detector,
    sink: str,
    statement: str,
    finding: Finding,
    outcome: str,
    caller: FrameType,
) -> Detection:
    return Detection(
        id=uuid.uuid4().hex,
        time=time.time_ns(),
        type=detector.type,
        cwe=detector.cwe,
        signal="attack" if finding.hostile else "vulnerability",
        outcome=outcome,
        source=finding.origin.source,
        parameter=finding.origin.name,
        payload=finding.origin.value[:MAX_PAYLOAD],
        sink=sink,
        statement=statement[:MAX_STATEMENT],
        subject=request.subject(),
        frames=capture(caller),
    )
