"""OTLP logs in JSON → log records. Pure.

The encoding is Protocol Buffers' JSON with OTLP's differences: lower camel case names, ids in hex, 64-bit
numbers as text or number. Unknown names are skipped; a known one of the wrong type is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from divertor.errors import InputError, Position
from divertor.ingest.limits import MAX_ATTRIBUTES, MAX_DEPTH, Allowance, name
from divertor.ingest.records import LogRecord, Resource, resource_of
from divertor.ingest.values import finite
from divertor.model.events import JSON

_SOURCE = "OTLP logs (JSON)"
_WHERE = Position(_SOURCE)
_DIGITS = 20
_HEX = frozenset("0123456789abcdefABCDEF")


def read_json(body: bytes) -> Iterator[LogRecord]:
    """The records of an `ExportLogsServiceRequest`.

    :raises InputError: it is none; with line and column where it is no JSON at all.
    :raises TooLargeError: it brings too many records or values.
    """
    request = _parsed(body)
    allowance = Allowance()
    for resource_logs in _objects(request, "resourceLogs"):
        resource = _resource(_object(resource_logs, "resource"), allowance)
        for scope_logs in _objects(resource_logs, "scopeLogs"):
            scope = name(_text(_object(scope_logs, "scope"), "name"))
            for record in _objects(scope_logs, "logRecords"):
                allowance.next_record()
                yield _record(record, LogRecord(resource, scope), allowance)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body, parse_constant=_no_constant)
    except json.JSONDecodeError as problem:
        where = Position(_SOURCE, problem.lineno, problem.colno)
        raise InputError(f"not JSON: {problem.msg}", where) from problem
    except (ValueError, RecursionError) as problem:
        raise InputError(f"not JSON: {problem}", _WHERE) from problem
    if not isinstance(request, dict):
        raise InputError("not an object", _WHERE, "an object with resourceLogs")
    return request


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _resource(data: Mapping[str, Any], allowance: Allowance) -> Resource:
    allowance.next_resource()
    attributes = _attributes(data, allowance)
    return resource_of(attributes, allowance.dropped)


def _record(data: Mapping[str, Any], record: LogRecord, allowance: Allowance) -> LogRecord:
    record.time = _unsigned(data, "timeUnixNano")
    record.observed = _unsigned(data, "observedTimeUnixNano")
    record.severity = _unsigned(data, "severityNumber")
    record.severity_text = name(_text(data, "severityText"))
    record.event_name = name(_text(data, "eventName"))
    record.trace_id = _id(data, "traceId", 32)
    record.span_id = _id(data, "spanId", 16)
    record.attributes = _attributes(data, allowance)
    if data.get("body") is not None:
        record.body = _any_value(_object(data, "body"), allowance, 0)
    record.dropped = _unsigned(data, "droppedAttributesCount") + allowance.dropped
    record.cut = allowance.cut
    return record


def _attributes(data: Mapping[str, Any], allowance: Allowance) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for pair in _objects(data, "attributes"):
        if len(found) >= MAX_ATTRIBUTES:
            allowance.drop()
            continue
        found[name(_text(pair, "key"))] = _any_value(_object(pair, "value"), allowance, 0)
    return found


def _any_value(data: Mapping[str, Any], allowance: Allowance, depth: int) -> JSON:
    if depth > MAX_DEPTH:
        raise InputError("a value is nested too deep", _WHERE, f"at most {MAX_DEPTH} levels")
    if not allowance.value() or not data:
        return None
    if "stringValue" in data:
        return allowance.text(_text(data, "stringValue"))
    if "intValue" in data:
        return _integer(data, "intValue")
    if "arrayValue" in data:
        values = _objects(_object(data, "arrayValue"), "values")
        return [_any_value(value, allowance, depth + 1) for value in values]
    if "kvlistValue" in data:
        pairs = _objects(_object(data, "kvlistValue"), "values")
        return {
            name(_text(pair, "key")): _any_value(_object(pair, "value"), allowance, depth + 1)
            for pair in pairs
        }
    return _rarer_value(data, allowance)


def _rarer_value(data: Mapping[str, Any], allowance: Allowance) -> JSON:
    if "boolValue" in data:
        if not isinstance(data["boolValue"], bool):
            raise _wrong("boolValue", "true or false")
        return data["boolValue"]
    if "doubleValue" in data:
        return _double(data["doubleValue"])
    if "bytesValue" in data:
        return allowance.text(_text(data, "bytesValue"))
    return None


def _double(value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong("doubleValue", "a number")
    try:
        return finite(float(value))
    except (ValueError, OverflowError):
        raise _wrong("doubleValue", "a number") from None


def _integer(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if value is None:
        return 0
    if isinstance(value, str) and len(value) <= _DIGITS and value.lstrip("-").isdecimal() and value.isascii():
        try:
            value = int(value)
        except ValueError:
            raise _wrong(key, "a whole number") from None
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise _wrong(key, "a whole number of 64 bits")
    return value


def _unsigned(data: Mapping[str, Any], key: str) -> int:
    value = _integer(data, key)
    if value < 0:
        raise _wrong(key, "a number that is not negative")
    return value


def _id(data: Mapping[str, Any], key: str, length: int) -> str:
    value = _text(data, key)
    if len(value) > length or not _HEX.issuperset(value):
        raise _wrong(key, f"{length} hexadecimal digits")
    return value.lower()


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(key, "text")
    return value


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, "an object")
    return value


def _objects(data: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    value = data.get(key)
    if value is None:
        return
    if not isinstance(value, list):
        raise _wrong(key, "a list")
    for element in value:
        if not isinstance(element, dict):
            raise _wrong(key, "a list of objects")
        yield element


def _wrong(key: str, expected: str) -> InputError:
    return InputError(f"{key} has the wrong type", _WHERE, expected)
