"""The decision at a sink, taken before the call runs: go on, report, or interrupt the request.

`check` is what every sink calls. It costs one lookup for a statement that is the program's own, and works
on values otherwise. Failure policy: open; a fault of a detector lets the call run.
"""

from __future__ import annotations

import sys
from types import FrameType

from divertor_sensor.detectors import Detector, Finding
from divertor_sensor.findings import Kind, conclude
from divertor_sensor.frames import app_frame, capture, is_constant
from divertor_sensor.memory import Site, site_of
from divertor_sensor.request import AttackInterrupted, Request
from divertor_sensor.work import Spent


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
    kind = Kind(detector.type, detector.cwe, detector.owasp, sink)
    return conclude(request, kind, statement, finding, lambda: capture(caller))
