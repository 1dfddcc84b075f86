"""The records a sensor reports, and their form on the wire: an OTLP log record in JSON.

Pure: times and identities are arguments. The attribute names are a contract with Divertor's ingest; any
OpenTelemetry Collector takes the same bytes (OTLP 1.x, JSON encoding: camelCase keys, 64-bit integers as
strings). `eventName` tells the kind of record:

- `divertor.detection`: `divertor.detection.*` with `id`, `type`, `cwe`, `owasp`, `signal` (`attack`,
  `vulnerability`, `probe`), `outcome` (`diverted`, `blocked`, `reported`), `simulated` (only where nothing
  was stopped for that reason), `source`, `parameter`, `payload`, `sink`, `statement`, `frames`; and `code.*`
  of the first frame. Severity 17, 13, 9 by signal.
- `divertor.error`: `exception.type`, `exception.message`, `exception.stacktrace`, `error.type`,
  `error.fingerprint` (16 hexadecimal digits), `error.count` (how many it stands for), `code.*`.
- `divertor.request`: `http.response.status_code`, `divertor.request.duration_ms`.
- `divertor.session`: a session and its user, and nothing else.

The first three name the request: `http.request.method`, `url.path`, `client.address`, `user_agent.original`,
`http.request.id`; all name the client: `session.id` with `divertor.session.cookie`, `http.request.header.*`,
`user.id`. What was empty is left out where it is optional.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, TypeAlias

from divertor_sensor.faults import printable
from divertor_sensor.modes import ATTACK, PROBE, VULNERABILITY
from divertor_sensor.reports.frames import Frame

#: Characters of any text of a report; of the payload, and of the statement.
MAX_TEXT = 2048
MAX_PAYLOAD = 1024
MAX_STATEMENT = MAX_TEXT
_MAX_FRAME_TEXT = 1024
#: Bytes of a report but for its longer texts.
_WEIGHT = 1024
#: OpenTelemetry's severities: ERROR, WARN, INFO.
_SEVERITIES = {ATTACK: (17, "ERROR"), VULNERABILITY: (13, "WARN"), PROBE: (9, "INFO")}


@dataclass(frozen=True, slots=True)
class Subject:
    """Who sent the request and which one it was, as far as the sensor can tell; texts are bounded when
    sent.
    """

    method: str
    path: str
    address: str
    user_agent: str
    session: str
    session_cookie: str
    request_id: str
    headers: tuple[tuple[str, str], ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Which user a session belongs to; `time` as in `Detection`."""

    time: int
    subject: Subject


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that no handler of the app's took. `count` is how many of its group it stands for; `time`
    as in `Detection`.
    """

    time: int
    type: str
    message: str
    fingerprint: str
    count: int
    subject: Subject
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: status, and duration in milliseconds; `time` as in `Detection`."""

    time: int
    status: int
    duration: float
    subject: Subject


@dataclass(frozen=True, slots=True)
class Slow:
    """A guarded call that took long: `duration` in milliseconds, `statement` without the values in it.

    `count` is how many of its place it stands for; `time` as in `Detection`.
    """

    time: int
    sink: str
    statement: str
    duration: float
    count: int
    subject: Subject
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Detection:
    """One finding: `signal` is `attack`, `vulnerability` or `probe` (shaped like an attack, reached nothing);
    `outcome` is `diverted`, `blocked` or `reported`, and `simulated` what it would have been otherwise.

    `time` is in nanoseconds since 1970 (UTC). `statement` is what would have run at `sink`; a probe has
    neither. `owasp` is the place in OWASP's Top Ten (2021), if it has one.
    """

    id: str
    time: int
    type: str
    cwe: str
    signal: str
    outcome: str
    source: str
    parameter: str
    payload: str
    sink: str
    statement: str
    subject: Subject
    frames: tuple[Frame, ...]
    owasp: str = ""
    simulated: str = ""

    def summary(self) -> str:
        """One line; what an attacker chose is escaped."""
        return printable(self._summary())

    def _summary(self) -> str:
        place = f"{self.frames[0].file}:{self.frames[0].line}" if self.frames else "unknown place"
        if self.signal == PROBE:
            return (
                f"{self.type} probe: {self.source} {self.parameter[:64]!r}"
                f" of {self.subject.method[:16]!r} {self.subject.path[:200]!r}"
            )
        outcome = f"{self.outcome} (would be {self.simulated})" if self.simulated else self.outcome
        return (
            f"{self.type} {self.signal} {outcome}: {self.source} {self.parameter[:64]!r} reached"
            f" {self.sink} at {place}, {self.subject.method[:16]!r} {self.subject.path[:200]!r}"
        )


#: What a reporter is given.
Report: TypeAlias = Detection | Session | Failure | Outcome | Slow


def weight_of(report: Report) -> int:
    """About how many bytes of memory `report` takes while it waits; what it has in common with others (its
    frames) is left out.
    """
    subject = report.subject
    texts = [subject.path, subject.user_agent, subject.session, subject.request_id, subject.user]
    texts += [value for _, value in subject.headers]
    if isinstance(report, Detection):
        texts += (report.parameter, report.payload, report.statement)
    elif isinstance(report, Failure):
        texts.append(report.message)
    elif isinstance(report, Slow):
        texts.append(report.statement)
    return _WEIGHT + sum(map(getsizeof, texts))


def export_request(resource: dict[str, str | int], reports: Iterable[Report], version: str) -> dict[str, Any]:
    """The body of `POST /v1/logs` for a batch."""
    scope = {"name": "divertor_sensor", "version": version}
    records = [record_of(each) for each in reports]
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes(resource.items())},
                "scopeLogs": [{"scope": scope, "logRecords": records}],
            }
        ]
    }


def record_of(report: Report) -> dict[str, Any]:
    """One report as an OTLP log record."""
    match report:
        case Detection():
            return log_record(report)
        case Failure():
            return failure_record(report)
        case Outcome():
            return outcome_record(report)
        case Slow():
            return slow_record(report)
        case Session():
            return session_record(report)


def log_record(detection: Detection) -> dict[str, Any]:
    """One detection as an OTLP log record."""
    record = record_without_frames(detection)
    record["attributes"].append(frames_attribute(detection.frames))
    return record


def frames_attribute(frames: Sequence[Frame]) -> dict[str, Any]:
    """The stack of a detection, the last of its attributes."""
    values = [_frame_value(frame) for frame in frames]
    return {"key": "divertor.detection.frames", "value": {"arrayValue": {"values": values}}}


def record_without_frames(detection: Detection) -> dict[str, Any]:
    """A detection's log record but for its stack; its attributes are its last member."""
    attributes = _attributes(_pairs(detection))
    attributes += _who(detection.subject)
    number, text = _SEVERITIES.get(detection.signal, _SEVERITIES[ATTACK])
    return {
        "timeUnixNano": str(detection.time),
        "observedTimeUnixNano": str(detection.time),
        "severityNumber": number,
        "severityText": text,
        "eventName": "divertor.detection",
        "body": {"stringValue": _clean(detection.summary())},
        "attributes": attributes,
    }


def session_record(session: Session) -> dict[str, Any]:
    """One session as an OTLP log record."""
    return {
        "timeUnixNano": str(session.time),
        "observedTimeUnixNano": str(session.time),
        "eventName": "divertor.session",
        "attributes": _who(session.subject),
    }


def failure_record(failure: Failure) -> dict[str, Any]:
    """One unhandled exception as an OTLP log record, with OpenTelemetry's names for an exception's parts."""
    attributes = _attributes(
        [
            *_request_pairs(failure.subject),
            ("exception.type", failure.type),
            ("exception.message", failure.message),
            ("exception.stacktrace", _stack_trace(failure)),
            ("error.type", failure.type),
            ("error.fingerprint", failure.fingerprint),
            ("error.count", failure.count),
            *_code_pairs(failure.frames),
        ]
    )
    return {
        "timeUnixNano": str(failure.time),
        "observedTimeUnixNano": str(failure.time),
        "severityNumber": 17,
        "severityText": "ERROR",
        "eventName": "divertor.error",
        "body": {"stringValue": _clean(f"{failure.type}: {failure.message}"[:MAX_STATEMENT])},
        "attributes": attributes + _who(failure.subject),
    }


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """The end of a request as an OTLP log record."""
    attributes = _attributes(
        [
            *_request_pairs(outcome.subject),
            ("http.response.status_code", outcome.status),
            ("divertor.request.duration_ms", outcome.duration),
        ]
    )
    return {
        "timeUnixNano": str(outcome.time),
        "observedTimeUnixNano": str(outcome.time),
        "severityNumber": 17 if outcome.status >= 500 else 9,
        "eventName": "divertor.request",
        "attributes": attributes + _who(outcome.subject),
    }


def slow_record(slow: Slow) -> dict[str, Any]:
    """A call that took long as an OTLP log record."""
    attributes = _attributes(
        [
            *_request_pairs(slow.subject),
            ("divertor.slow.sink", slow.sink),
            ("divertor.slow.statement", slow.statement),
            ("divertor.slow.duration_ms", slow.duration),
            ("divertor.slow.count", slow.count),
            *_code_pairs(slow.frames),
        ]
    )
    said = f"{slow.sink} took {slow.duration:.0f} ms: {slow.statement}"
    return {
        "timeUnixNano": str(slow.time),
        "observedTimeUnixNano": str(slow.time),
        "severityNumber": 13,
        "severityText": "WARN",
        "eventName": "divertor.slow",
        "body": {"stringValue": _clean(said[:MAX_STATEMENT])},
        "attributes": attributes + _who(slow.subject),
    }


def _stack_trace(failure: Failure) -> str:
    lines = [f'  File "{each.file}", line {each.line}, in {each.function}' for each in failure.frames]
    return "\n".join([f"{failure.type}: {failure.message}", *lines])


def _who(subject: Subject) -> list[dict[str, Any]]:
    """The keys of the client, and the user. What the gateway fingerprints is a key's bytes: those survive."""
    keys = [("session.id", subject.session)] if subject.session else []
    keys += [(f"http.request.header.{name}", value) for name, value in subject.headers]
    found = [{"key": name, "value": _wire(value)} for name, value in keys]
    if subject.session_cookie:
        found += _attributes([("divertor.session.cookie", subject.session_cookie)])
    return found + (_attributes([("user.id", subject.user)]) if subject.user else [])


def _pairs(detection: Detection) -> list[tuple[str, str | float]]:
    subject = detection.subject
    pairs: list[tuple[str, str | float]] = [
        *_request_pairs(subject),
        ("divertor.detection.id", detection.id),
        ("divertor.detection.type", detection.type),
        ("divertor.detection.cwe", detection.cwe),
        ("divertor.detection.signal", detection.signal),
        ("divertor.detection.outcome", detection.outcome),
        ("divertor.detection.source", detection.source),
        ("divertor.detection.parameter", detection.parameter),
        ("divertor.detection.payload", detection.payload[:MAX_PAYLOAD]),
        ("divertor.detection.sink", detection.sink),
        ("divertor.detection.statement", detection.statement[:MAX_STATEMENT]),
    ]
    optional = [
        ("divertor.detection.owasp", detection.owasp),
        ("divertor.detection.simulated", detection.simulated),
    ]
    pairs += [(name, value) for name, value in optional if value]
    return pairs + _code_pairs(detection.frames)


def _request_pairs(subject: Subject) -> list[tuple[str, str | float]]:
    return [
        ("http.request.method", subject.method),
        ("url.path", subject.path),
        ("client.address", subject.address),
        ("user_agent.original", subject.user_agent),
        ("http.request.id", subject.request_id),
    ]


def _code_pairs(frames: Sequence[Frame]) -> list[tuple[str, str | float]]:
    if not frames:
        return []
    first = frames[0]
    return [
        ("code.file.path", first.file),
        ("code.line.number", first.line),
        ("code.function.name", first.function),
    ]


def _attributes(pairs: Iterable[tuple[str, str | float]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in pairs]


def _wire(text: str) -> dict[str, Any]:
    """Text as it is: lone surrogates stand for bytes that are no UTF-8, and JSON can carry them."""
    return {"stringValue": text[:MAX_TEXT]}


def _value(value: str | float) -> dict[str, Any]:
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": _clean(value[:MAX_TEXT])}


def _clean(text: str) -> str:
    """Lone surrogates (undecodable bytes of a request) cannot be encoded as UTF-8: they become `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _frame_value(frame: Frame) -> dict[str, Any]:
    pairs: list[tuple[str, str | int]] = [
        ("file", frame.file[:_MAX_FRAME_TEXT]),
        ("line", frame.line),
        ("function", frame.function[:_MAX_FRAME_TEXT]),
        ("source", frame.source),
    ]
    return {"kvlistValue": {"values": _attributes(pairs)}}
