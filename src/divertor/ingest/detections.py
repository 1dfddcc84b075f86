"""A detection's event: the names BitSensor gave its fields, beside OpenTelemetry's. Pure.

Rules written for BitSensor's index (`endpoint.location`, `context.ip`, …) load unchanged because of this
module. It adds names; the originals stay.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from divertor.ingest.records import LogRecord
from divertor.model.events import JSON, format_time

#: The event name of a log record that is a detection.
DETECTION = "divertor.detection"

#: The event name of a record of an unhandled exception.
ERROR = "divertor.error"
#: What a detection is a signal of when it was only shaped like an attack and reached nothing.
_PROBE = "probe"

_TYPES = {
    "sql_injection": "SQL Injection",
    "shell_injection": "Command Injection",
    "path_traversal": "Path Traversal",
    "xss": "XSS",
    "nosql_injection": "NoSQL Injection",
    "ldap_injection": "LDAP Injection",
    "xml_external_entity": "XML External Entity",
    "jndi_lookup": "JNDI Lookup",
    "ssrf": "SSRF",
}
_TAG = 200


def human_type(kind: str) -> str:
    """`sql_injection` → `SQL Injection`."""
    return _TYPES.get(kind) or kind.replace("_", " ").title()


def signal_type(record: LogRecord) -> str:
    """The type of a detection's event: `probe` when it reached nothing, else `detection`. Rules about
    detections are about harm that was near; a probe must not set them off.
    """
    return "probe" if _text(record, "divertor.detection.signal") == _PROBE else "detection"


def detection_tags(record: LogRecord) -> tuple[str, ...]:
    """What a detection is found by: `detection:<type>` (or `probe:<type>`) and `service:<name>`."""
    return _tags(signal_type(record), _text(record, "divertor.detection.type"), record)


def error_tags(record: LogRecord) -> tuple[str, ...]:
    """What an error is found by: `error:<type of the exception>` and `service:<name>`."""
    return _tags("error", _text(record, "exception.type"), record)


def _tags(label: str, kind: str, record: LogRecord) -> tuple[str, ...]:
    service = _text(record, "service.name")
    tags = [f"{label}:{kind}" if kind else label, f"service:{service}" if service else ""]
    return tuple(tag[:_TAG] for tag in tags if tag)


def with_bitsensor_names(body: dict[str, JSON], record: LogRecord, timestamp: datetime) -> dict[str, JSON]:
    """`body` with BitSensor's names added; a name the record itself uses is left as it is."""
    kind = _text(record, "divertor.detection.type")
    additions: dict[str, JSON] = {
        "endpoint": {
            "location": _location(record),
            "localtime": format_time(timestamp),
            "name": _text(record, "service.name"),
        },
        "context": {
            "ip": _text(record, "client.address"),
            "http": {
                "userAgent": _text(record, "user_agent.original"),
                "type": _text(record, "http.request.method"),
            },
            "php": {"session": {"sessionId": _text(record, "session.id")}},
        },
        "detections": {
            "type": human_type(kind) if kind else "",
            "payload": _text(record, "divertor.detection.payload"),
            "reason": record.body if isinstance(record.body, str) else "",
        },
    }
    _merge(body, additions)
    return body


def _merge(into: dict[str, JSON], additions: dict[str, JSON]) -> None:
    """Add what is not there; an empty text says nothing and is not added."""
    for name, value in additions.items():
        if isinstance(value, dict):
            inner = into.setdefault(name, {})
            if isinstance(inner, dict):
                _merge(inner, value)
            if inner == {}:
                del into[name]
        elif value:
            into.setdefault(name, value)


def _location(record: LogRecord) -> str:
    """The whole address if the record tells it, else as much of it as it tells."""
    full = _text(record, "url.full")
    if full:
        return full
    path = _text(record, "url.path")
    host = _text(record, "server.address")
    if not host:
        return path
    port = record.attributes.get("server.port")
    authority = f"{host}:{port}" if isinstance(port, int) else host
    return f"{_text(record, 'url.scheme') or 'http'}://{authority}{path}"


def _text(record: LogRecord, attribute: str) -> str:
    value: Any = record.attributes.get(attribute, record.resource.attributes.get(attribute))
    return value if isinstance(value, str) else ""
