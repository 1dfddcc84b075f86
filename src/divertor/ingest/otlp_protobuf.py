"""OTLP logs in Protocol Buffers → log records. Pure.

Field numbers are those of opentelemetry-proto 1.x (collector/logs, logs, resource, common: all v1).
Unknown fields are skipped, as the format asks; a known field of the wrong shape is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from divertor.errors import InputError, Position
from divertor.ingest.limits import MAX_ATTRIBUTES, MAX_DEPTH, Allowance, name
from divertor.ingest.records import LogRecord, Resource, resource_of
from divertor.ingest.values import finite
from divertor.ingest.wire import Value, double, fields, signed
from divertor.model.events import JSON

_WHERE = Position("OTLP logs (protobuf)")


def read_protobuf(body: bytes) -> Iterator[LogRecord]:
    """The records of an `ExportLogsServiceRequest`.

    :raises InputError: it is none.
    :raises TooLargeError: it brings too many records or values.
    """
    allowance = Allowance()
    for number, value in fields(body):
        if number == 1:
            yield from _resource_logs(_message(value), allowance)


def _resource_logs(data: bytes, allowance: Allowance) -> Iterator[LogRecord]:
    resource = Resource()
    scopes: list[bytes] = []
    for number, value in fields(data):  # the resource may stand behind the records it belongs to
        if number == 1:
            resource = _resource(_message(value), allowance)
        elif number == 2:
            scopes.append(_message(value))
    for scope in scopes:
        yield from _scope_logs(scope, resource, allowance)


def _resource(data: bytes, allowance: Allowance) -> Resource:
    allowance.next_resource()
    attributes: dict[str, JSON] = {}
    for number, value in fields(data):
        if number == 1:
            _attribute(_message(value), attributes, allowance)
    return resource_of(attributes, allowance.dropped)


def _scope_logs(data: bytes, resource: Resource, allowance: Allowance) -> Iterator[LogRecord]:
    scope = ""
    records: list[bytes] = []
    for number, value in fields(data):
        if number == 1:
            scope = _scope_name(_message(value))
        elif number == 2:
            records.append(_message(value))
    for record in records:
        allowance.next_record()
        yield _record(record, LogRecord(resource, scope), allowance)


def _scope_name(data: bytes) -> str:
    for number, value in fields(data):
        if number == 1:
            return name(_text(value))
    return ""


def _record(data: bytes, record: LogRecord, allowance: Allowance) -> LogRecord:
    for number, value in fields(data):
        if number == 6:
            _attribute(_message(value), record.attributes, allowance)
        else:
            _record_field(number, value, record, allowance)
    record.dropped += allowance.dropped
    record.cut = allowance.cut
    return record


def _record_field(number: int, value: Value, record: LogRecord, allowance: Allowance) -> None:
    match number:
        case 1:
            record.time = _number(value)
        case 2:
            record.severity = _number(value)
        case 3:
            record.severity_text = name(_text(value))
        case 5:
            record.body = _any_value(_message(value), allowance, 0)
        case 7:
            record.dropped += _number(value)
        case 9:
            record.trace_id = _message(value)[:16].hex()
        case 10:
            record.span_id = _message(value)[:8].hex()
        case 11:
            record.observed = _number(value)
        case 12:
            record.event_name = name(_text(value))


def _attribute(data: bytes, into: dict[str, JSON], allowance: Allowance) -> None:
    if len(into) >= MAX_ATTRIBUTES:
        allowance.drop()
        return
    key, value = _key_value(data, allowance, 0)
    into[key] = value


def _key_value(data: bytes, allowance: Allowance, depth: int) -> tuple[str, JSON]:
    key, content = "", b""
    for number, value in fields(data):
        if number == 1:
            key = name(_text(value))
        elif number == 2:
            content = _message(value)
    return key, _any_value(content, allowance, depth)


def _any_value(data: bytes, allowance: Allowance, depth: int) -> JSON:
    if depth > MAX_DEPTH:
        raise InputError("a value is nested too deep", _WHERE, f"at most {MAX_DEPTH} levels")
    if not allowance.value():
        return None
    result: JSON = None
    for number, value in fields(data):  # one of these; should there be several, the last one counts
        match number:
            case 1:
                result = allowance.text(_text(value))
            case 2:
                result = bool(_number(value))
            case 3:
                result = signed(_number(value))
            case 4:
                result = finite(double(_number(value)))
            case 5:
                result = _list(_message(value), allowance, depth + 1)
            case 6:
                result = _map(_message(value), allowance, depth + 1)
            case 7:
                result = allowance.text(base64.b64encode(_message(value)).decode())
    return result


def _list(data: bytes, allowance: Allowance, depth: int) -> list[JSON]:
    return [_any_value(_message(value), allowance, depth) for number, value in fields(data) if number == 1]


def _map(data: bytes, allowance: Allowance, depth: int) -> dict[str, JSON]:
    pairs = (_key_value(_message(value), allowance, depth) for number, value in fields(data) if number == 1)
    return dict(pairs)


def _message(value: Value) -> bytes:
    if isinstance(value, int):
        raise InputError("a number where a message or text belongs", _WHERE)
    return value


def _number(value: Value) -> int:
    if isinstance(value, bytes):
        raise InputError("a text where a number belongs", _WHERE)
    return value


def _text(value: Value) -> str:
    return _message(value).decode("utf-8", "replace")
