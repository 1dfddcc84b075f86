"""OpenTelemetry's logs (OTLP/HTTP) → events. Pure: the time is an argument.

A record named `divertor.detection` becomes a detection, or a probe when that is what it says it is, whoever
sent it; one named `divertor.error` an error; every other one a log event. The HTTP side (tokens, status
codes) is the API's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

from divertor.errors import InputError, Position
from divertor.ingest.detections import (
    DETECTION,
    ERROR,
    detection_tags,
    error_tags,
    signal_type,
    with_bitsensor_names,
)
from divertor.ingest.limits import plain_body
from divertor.ingest.otlp_json import read_json
from divertor.ingest.otlp_protobuf import read_protobuf
from divertor.ingest.records import LogRecord
from divertor.ingest.values import nest
from divertor.model.events import JSON, Event, format_time

#: How far a sender's clock may be ahead before its time is not believed.
FUTURE = timedelta(minutes=5)

_DETECTION_INDICES = {"detection": ("divertor-detection", "bitsensor"), "probe": ("divertor-probe",)}
_ERROR_INDICES = ("divertor-error", "divertor-log")
_LOG_INDICES = ("divertor-log",)
#: How a sender names the index of a log, as OpenTelemetry's exporter to Elasticsearch takes it: by name, or
#: by the parts of a data stream with their defaults.
_INDEX = "elasticsearch.index"
_STREAM = (("data_stream.type", "logs"), ("data_stream.dataset", ""), ("data_stream.namespace", "default"))
#: What may be such a name. Divertor's own are not given away: rules trust them.
_OTHERS_INDEX = re.compile(r"(?!divertor-|bitsensor\Z)[a-z0-9][a-z0-9._+@-]{0,127}")
_ID = re.compile(r"[0-9a-f]{16,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_logs(body: bytes, content_type: str, now: datetime, content_encoding: str = "") -> list[Event]:
    """The events of an `ExportLogsServiceRequest`, in order; `now` is when it arrived.

    An event's id is the detection's own (`divertor.detection.id`), so that a batch sent twice is known by
    it; any other record's is derived from its content, its time, and its place among equal ones of the
    request, so that a repeated request gives the same ids (unless its records carry no time: then the time
    of arrival stands in, and they are new).

    :raises InputError: not OTLP, or an unknown content type or encoding.
    :raises TooLargeError: more than one request may bring; see `divertor.ingest.limits`.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    plain = plain_body(body, content_encoding)
    if media_type == "application/json":
        records = read_json(plain)
    elif media_type == "application/x-protobuf":
        records = read_protobuf(plain)
    else:
        where = Position("content type")
        raise InputError("unknown content type", where, "application/json or application/x-protobuf")
    equal: Counter[bytes] = Counter()
    return [_event(record, now, equal) for record in records]


def _event(record: LogRecord, now: datetime, equal: Counter[bytes]) -> Event:
    name = record.event_name or record.attributes.get("event.name")
    sent = record.time or record.observed
    happened = _EPOCH + timedelta(microseconds=sent // 1000) if sent else now
    timestamp = now if happened > now + FUTURE else happened
    body = _body(record)
    if timestamp != happened:
        _put(body, "original_time", format_time(happened))
    if name == DETECTION:
        kind = signal_type(record)
        return Event(
            id=_detection_id(record) or _derived_id(record, now, equal),
            type=kind,
            timestamp=timestamp,
            received=now,
            indices=_DETECTION_INDICES[kind],
            tags=detection_tags(record),
            body=with_bitsensor_names(body, record, timestamp),
        )
    if name == ERROR:
        id, tags = _derived_id(record, now, equal), error_tags(record)
        return Event(id, "error", timestamp, now, _ERROR_INDICES, tags, body=body)
    return Event(_derived_id(record, now, equal), "log", timestamp, now, _log_indices(record), body=body)


def _log_indices(record: LogRecord) -> tuple[str, ...]:
    """The index that the sender names, if it does, and that of all logs."""
    named = _attribute(record, _INDEX)
    if named is None and _attribute(record, "data_stream.dataset"):
        named = "-".join(str(_attribute(record, part) or default) for part, default in _STREAM)
    if isinstance(named, str) and _OTHERS_INDEX.fullmatch(named):
        return (named, *_LOG_INDICES)
    return _LOG_INDICES


def _attribute(record: LogRecord, name: str) -> JSON:
    own = record.attributes.get(name)
    return record.resource.attributes.get(name) if own is None else own


def _body(record: LogRecord) -> dict[str, JSON]:
    """The record as a nested map: its attributes, then its resource's that do not collide, then the rest.

    A resource attribute whose name the record uses as well stays under `resource`.
    """
    own, resource = record.attributes, record.resource.attributes
    shadowed = [(f"resource.{name}", value) for name, value in resource.items() if name in own]
    others = [(name, value) for name, value in resource.items() if name not in own]
    body = nest([*own.items(), *others, *shadowed])
    for name, value in _record_fields(record):
        body.setdefault(name, value)
    if record.event_name:
        _add(body, "event", "name", record.event_name)
    if record.dropped or record.resource.dropped:
        _put(body, "dropped_values", record.dropped + record.resource.dropped)
    if record.cut:
        _put(body, "cut", True)
    return body


def _record_fields(record: LogRecord) -> list[tuple[str, JSON]]:
    severity = {"number": record.severity, "text": record.severity_text}
    candidates: list[tuple[str, JSON]] = [
        ("message", record.body if isinstance(record.body, str) else None),
        ("content", None if isinstance(record.body, str) else record.body),
        ("severity", severity if record.severity or record.severity_text else None),
        ("scope", {"name": record.scope} if record.scope else None),
        ("trace", {"id": record.trace_id} if record.trace_id else None),
        ("span", {"id": record.span_id} if record.span_id else None),
    ]
    return [(name, value) for name, value in candidates if value is not None]


def _put(body: dict[str, JSON], name: str, value: JSON) -> None:
    """What Divertor itself has to say about a record stands under `divertor.ingest`."""
    inner = body.setdefault("divertor", {})
    if isinstance(inner, dict):
        _add(inner, "ingest", name, value)


def _add(body: dict[str, JSON], outer: str, name: str, value: JSON) -> None:
    inner = body.setdefault(outer, {})
    if isinstance(inner, dict):
        inner.setdefault(name, value)


def _detection_id(record: LogRecord) -> str:
    given = record.attributes.get("divertor.detection.id")
    return given if isinstance(given, str) and _ID.fullmatch(given) else ""


def _derived_id(record: LogRecord, now: datetime, equal: Counter[bytes]) -> str:
    content = [
        record.resource.fingerprint,
        record.scope,
        record.time or record.observed or format_time(now),
        record.severity,
        record.body,
        record.attributes,
        record.event_name,
        record.trace_id,
        record.span_id,
    ]
    digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16)
    key = digest.digest()
    equal[key] += 1
    digest.update(str(equal[key]).encode())
    return digest.hexdigest()
