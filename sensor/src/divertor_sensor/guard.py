"""The decision at a sink, taken before the call runs: go on, report, or interrupt the request.

`check` is what every sink calls. It costs one lookup for a statement that is the program's own. Where a
statement has a skeleton and no input of the request has a place in that, it costs a search; only what is left
is judged. Failure policy: open; a fault of a detector lets the call run.
"""

from __future__ import annotations

import sys
from types import FrameType

from divertor_sensor import context
from divertor_sensor.detectors import Detector, Finding
from divertor_sensor.detectors.skeleton import literals
from divertor_sensor.detectors.sql_grammar import is_undoing
from divertor_sensor.findings import Kind, conclude
from divertor_sensor.memory import Path
from divertor_sensor.reports.frames import app_frame, caller_of, capture, is_constant, site_of
from divertor_sensor.request import AttackInterrupted, Request
from divertor_sensor.work import Spent


def check(request: Request, detector: Detector, sink: str, statement: str, depth: int = 2) -> None:
    """Judge `statement`, about to run at `sink`, by the inputs of `request`.

    `depth` is the number of the sensor's own frames above the caller, this one included.

    :raises AttackInterrupted: the statement must not run.
    """
    if type(statement) is not str:
        statement = "".join((statement,))  # an exact str, whatever a subclass of the app answers
    if request.interrupted:
        if _may_clean_up(request, detector, statement):
            return
        raise AttackInterrupted
    sensor = request.sensor
    try:
        caller = sys._getframe(depth)
        at = app_frame(caller)
        site = site_of(at)
        if sensor.memory.knows(site, statement) or request.lapsed:
            return
        # Judging may import a codec, say, and that opens files: its own calls are not the app's.
        token = context.current.set(None)
        try:
            interrupt = _examine(request, detector, sink, statement, (site, caller_of(at)), caller)
        finally:
            context.current.reset(token)
    except Exception as problem:
        sensor.faults.contain(f"detector {detector.type}", problem)
        interrupt = request.interrupted
    if interrupt:
        raise AttackInterrupted


def _may_clean_up(request: Request, detector: Detector, statement: str) -> bool:
    """Whether a call runs although its request was interrupted: it ends a transaction, which others would
    wait for; or it is that of a thread or task the request once started, and which serves everybody since.
    """
    return request.lapsed or (detector.type == "sql_injection" and is_undoing(statement))


def _examine(
    request: Request, detector: Detector, sink: str, statement: str, path: Path, caller: FrameType
) -> bool:
    request.begin_call(statement)
    memory, site = request.sensor.memory, path[0]
    skeleton = None if detector.skeleton is None else detector.skeleton(statement)
    if skeleton is not None and memory.knows_skeleton(path, skeleton) and request.is_plain():
        return False
    key = (detector, statement)
    if key in request.cleared and request.is_current():
        return False
    is_due = memory.is_due(site, statement)
    if skeleton is not None and _is_clear(request, detector, statement, skeleton, path) and not is_due:
        return False
    if is_due and is_constant(statement, caller):
        memory.learn(site, statement)
        return False
    finding, clean = _judged(request, detector, statement)
    if finding is not None and not is_due and is_constant(statement, caller):
        memory.learn(site, statement)
        return False
    if finding is not None and _found(request, detector, sink, statement, finding, caller):
        return True
    if is_due and clean and request.is_apart(detector.marks(statement)):
        # An unseen attack would be its own excuse later; one that binds every value has no room for any.
        room = not detector.is_innocent(statement)
        memory.propose(site, statement, request.fingerprints() if room else frozenset())
    if finding is None:
        request.cleared.add(key)
    return False


def _is_clear(request: Request, detector: Detector, statement: str, skeleton: str, path: Path) -> bool:
    """Whether it is plain that no input leaves its literal; `_judged` finds nothing then."""
    try:
        if not request.is_complete(detector) or not request.is_clear_of(detector, skeleton):
            return False
    except Spent:
        return False
    if request.is_plain() and request.brings_any(literals(statement)):
        request.sensor.memory.learn_skeleton(path, skeleton)
    return True


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
