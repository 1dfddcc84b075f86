"""What is done about a finding: the verdict by the modes, the report, the end of the request.

`guard` calls it for what is about to run, the response side for what is about to go out. It is off the fast
path: only a request with a finding comes here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from divertor_sensor import context
from divertor_sensor.detectors import Finding
from divertor_sensor.modes import ATTACK, VULNERABILITY
from divertor_sensor.reports.detection import MAX_PAYLOAD, MAX_STATEMENT, MAX_TEXT, Detection
from divertor_sensor.reports.frames import Frame
from divertor_sensor.reports.redaction import is_secret, masked, secret_words, without_secrets
from divertor_sensor.request import Request


@dataclass(frozen=True, slots=True)
class Kind:
    """What was found: the type as it is reported, its weakness, and the place where input became more."""

    type: str
    cwe: str
    owasp: str
    sink: str


def conclude(
    request: Request,
    kind: Kind,
    statement: str,
    finding: Finding,
    frames: Callable[[], tuple[Frame, ...]],
) -> bool:
    """Report `finding` as its mode says; True when the request must not go on."""
    sensor = request.sensor
    signal = ATTACK if finding.hostile else VULNERABILITY
    verdict = sensor.decide(request, kind.type, signal)
    if verdict is None:
        return request.interrupted
    request.hostile = request.hostile or finding.hostile
    if verdict.stops:
        request.outcome = request.outcome or verdict.outcome
        request.interrupted = True
    if request.first_time(kind.type, finding.origin.name, statement):
        with context.suspended():
            found = Detection(
                id=uuid.uuid4().hex,
                time=time.time_ns(),
                type=kind.type,
                cwe=kind.cwe,
                owasp=kind.owasp,
                signal=signal,
                outcome=verdict.outcome,
                simulated=verdict.simulated,
                source=finding.origin.source,
                parameter=finding.origin.name[:MAX_TEXT],
                payload=finding.origin.value,
                sink=kind.sink,
                statement=statement,
                subject=request.subject(),
                frames=frames(),
            )
            sensor.reporter.submit(without_request_secrets(request, found))
    return request.interrupted


def without_request_secrets(request: Request, found: Detection) -> Detection:
    """The detection with the request's secrets hidden in its payload and statement, both bounded."""
    words = secret_words(request.inputs().values)
    payload = found.payload[: 2 * MAX_PAYLOAD]
    hidden = masked(payload) if is_secret(found.source, found.parameter) else without_secrets(payload, words)
    statement = without_secrets(found.statement[: 2 * MAX_STATEMENT], words)
    return replace(found, payload=hidden[:MAX_PAYLOAD], statement=statement[:MAX_STATEMENT])
