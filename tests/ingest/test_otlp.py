"""OTLP logs in both encodings, good and hostile."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.ingest import TooLargeError, decode_logs
from divertor.ingest.limits import (
    MAX_ATTRIBUTES,
    MAX_BODY,
    MAX_DEPTH,
    MAX_RECORD_TEXT,
    MAX_RECORDS,
    MAX_RESOURCE_TEXT,
    MAX_TEXT,
)
from divertor.model.events import Event

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
JSON_TYPE, PROTOBUF_TYPE = "application/json", "application/x-protobuf"

# A request with every kind of value, as the classes generated from opentelemetry-proto 1.45 write it.
GOLDEN = bytes.fromhex(
    "0aab020a180a160a0c736572766963652e6e616d6512060a0473686f70128e020a050a036c696212f00109154dfd3d9c998618"
    "10111a054552524f522a0d0a0b69742062726f6b6520c3a932140a05612e696e74120b18fbffffffffffffffff0132130a0561"
    "2e626967120a18ffffffffffffffff7f320c0a06612e626f6f6c1202100132150a08612e646f75626c65120921000000000000"
    "f83f320f0a07612e627974657312043a0200ff32150a06612e6c697374120b2a090a030a01780a02180732150a05612e6d6170"
    "120c320a0a080a016b12030a017632080a06612e6e6f6e65380245010000004a10000102030405060708090a0b0c0d0e0f5208"
    "000102030405060759004a3c729c99861862086d792e6576656e7412122a0732050a030a016b590014d7ad9c998618"
)


def value(plain: Any) -> dict[str, Any]:
    """A plain value as OTLP's JSON writes it."""
    match plain:
        case None:
            return {}
        case bool():
            return {"boolValue": plain}
        case int():
            return {"intValue": str(plain)}
        case float():
            return {"doubleValue": plain}
        case str():
            return {"stringValue": plain}
        case list():
            return {"arrayValue": {"values": [value(inner) for inner in plain]}}
        case _:
            return {"kvlistValue": {"values": pairs(plain)}}


def pairs(plain: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(inner)} for key, inner in plain.items()]


def request(*records: dict[str, Any], resource: dict[str, Any] | None = None) -> bytes:
    scopes = [{"scope": {"name": "lib"}, "logRecords": list(records)}]
    return json.dumps(
        {"resourceLogs": [{"resource": {"attributes": pairs(resource or {})}, "scopeLogs": scopes}]}
    ).encode()


def decoded(*records: dict[str, Any], resource: dict[str, Any] | None = None) -> list[Event]:
    return decode_logs(request(*records, resource=resource), JSON_TYPE, NOON)


def nanoseconds(moment: datetime) -> str:
    return str(int(moment.timestamp()) * 10**9)


def field(number: int, content: bytes | int) -> bytes:
    """One protobuf field."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def packed(plain: Any) -> bytes:
    """A plain value as a protobuf AnyValue."""
    match plain:
        case bool():
            return field(2, int(plain))
        case int():
            return field(3, plain % 2**64)
        case str():
            return field(1, plain.encode())
        case list():
            return field(5, b"".join(field(1, packed(inner)) for inner in plain))
        case dict():
            return field(6, b"".join(field(1, packed_pair(key, inner)) for key, inner in plain.items()))
        case _:
            return b""


def packed_pair(key: str, plain: Any) -> bytes:
    return field(1, key.encode()) + field(2, packed(plain))


def packed_request(*records: bytes, resource: bytes = b"") -> bytes:
    return field(1, field(1, resource) + field(2, b"".join(field(2, record) for record in records)))


def test_the_golden_protobuf_request_is_read_whole() -> None:
    first, second = decode_logs(GOLDEN, PROTOBUF_TYPE, NOON)
    assert first.timestamp == NOON + timedelta(microseconds=123456)
    assert first.body == {
        "a": {
            "int": -5,
            "big": 2**63 - 1,
            "bool": True,
            "double": 1.5,
            "bytes": base64.b64encode(b"\x00\xff").decode(),
            "list": ["x", 7],
            "map": {"k": "v"},
            "none": None,
        },
        "service": {"name": "shop"},
        "message": "it broke é",
        "severity": {"number": 17, "text": "ERROR"},
        "scope": {"name": "lib"},
        "trace": {"id": "000102030405060708090a0b0c0d0e0f"},
        "span": {"id": "0001020304050607"},
        "event": {"name": "my.event"},
        "divertor": {"ingest": {"dropped_values": 2}},
    }
    assert (second.timestamp, second.body["content"]) == (NOON + timedelta(seconds=2), {"k": None})


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text("ab é\n", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=3), inner),
    max_leaves=10,
)
attributes = st.dictionaries(st.text("ab.", min_size=1, max_size=5), plain_values, max_size=5)


@settings(max_examples=100)
@given(attributes, attributes)
def test_both_encodings_give_the_same_events(record: dict[str, Any], resource: dict[str, Any]) -> None:
    in_json = {"attributes": pairs(record), "body": value("text"), "eventName": "e"}
    in_protobuf = b"".join(field(6, packed_pair(*pair)) for pair in record.items())
    in_protobuf += field(5, packed("text")) + field(12, b"e")
    packed_resource = b"".join(field(1, packed_pair(*pair)) for pair in resource.items())
    body = packed_request(in_protobuf, resource=packed_resource)
    (read,) = decode_logs(body, PROTOBUF_TYPE, NOON)
    (expected,) = decoded(in_json, resource=resource)
    assert {**read.body, "scope": {"name": "lib"}} == expected.body


def test_a_log_record_is_a_log_event() -> None:
    (event,) = decoded({"timeUnixNano": nanoseconds(NOON), "body": value("hello"), "severityNumber": 9})
    assert (event.type, event.indices, event.received) == ("log", ("divertor-log",), NOON)
    assert event.body["message"] == "hello"


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"elasticsearch.index": "logstash-2026.01.02"}, "logstash-2026.01.02"),
        ({"data_stream.dataset": "nginx.access"}, "logs-nginx.access-default"),
        ({"data_stream.dataset": "nginx", "data_stream.namespace": "prod"}, "logs-nginx-prod"),
        ({"elasticsearch.index": "divertor-detection"}, None),
        ({"elasticsearch.index": "bitsensor"}, None),
        ({"elasticsearch.index": "Has Space"}, None),
        ({"elasticsearch.index": 5}, None),
        ({"elasticsearch.index": "a" * 129}, None),
        ({"data_stream.dataset": ["a"]}, None),
    ],
)
def test_a_log_has_the_index_that_its_sender_names_but_none_of_ours(
    attributes: dict[str, Any], name: str | None
) -> None:
    record = {"timeUnixNano": nanoseconds(NOON), "attributes": pairs(attributes)}
    (event,) = decoded(record)
    assert event.indices == ((name, "divertor-log") if name else ("divertor-log",))
    (event,) = decoded({"timeUnixNano": nanoseconds(NOON)}, resource=attributes)
    assert event.indices[0] == (name or "divertor-log")


def test_content_type_parameters_and_case_do_not_matter() -> None:
    assert decode_logs(b"{}", "Application/JSON; charset=utf-8", NOON) == []


def test_an_empty_protobuf_request_has_no_events() -> None:
    assert decode_logs(b"", PROTOBUF_TYPE, NOON) == []


def test_gzip_is_unpacked() -> None:
    body = gzip.compress(request({"body": value("x")}))
    assert decode_logs(body, JSON_TYPE, NOON, "gzip")[0].body["message"] == "x"


def test_resource_attributes_do_not_hide_the_records_own() -> None:
    (event,) = decoded({"attributes": pairs({"host.name": "own"})}, resource={"host.name": "r", "a": 1})
    assert event.body["host"] == {"name": "own"}
    assert event.body["resource"] == {"host": {"name": "r"}}
    assert event.body["a"] == 1


@pytest.mark.parametrize(
    ("ahead", "believed"),
    [(timedelta(minutes=4), True), (timedelta(minutes=6), False), (-timedelta(days=9), True)],
)
def test_a_clock_far_ahead_is_not_believed_but_kept(ahead: timedelta, believed: bool) -> None:
    (event,) = decoded({"timeUnixNano": nanoseconds(NOON + ahead)})
    assert event.timestamp == (NOON + ahead if believed else NOON)
    kept = event.body.get("divertor", {}).get("ingest", {}).get("original_time")
    assert kept == (None if believed else "2026-01-01T12:06:00.000000Z")


def test_the_largest_time_there_is_does_no_harm() -> None:
    (event,) = decoded({"timeUnixNano": str(2**64 - 1)})
    assert event.timestamp == NOON


def test_a_record_without_time_happened_when_it_came() -> None:
    assert decoded({"body": value("x")})[0].timestamp == NOON


def test_equal_requests_give_equal_ids_and_equal_records_different_ones() -> None:
    record = {"timeUnixNano": nanoseconds(NOON), "body": value("x")}
    first, second = decoded(record, record)
    again = decode_logs(request(record, record), JSON_TYPE, NOON + timedelta(hours=1))
    assert first.id != second.id
    assert [first.id, second.id] == [event.id for event in again]


def test_records_without_time_are_new_each_time() -> None:
    later = decode_logs(request({"body": value("x")}), JSON_TYPE, NOON + timedelta(seconds=1))
    assert decoded({"body": value("x")})[0].id != later[0].id


def test_long_texts_are_cut_and_said_to_be() -> None:
    (event,) = decoded({"body": value("x" * (MAX_TEXT + 1))})
    assert len(event.body["message"]) == MAX_TEXT
    assert event.body["divertor"]["ingest"]["cut"] is True


def test_the_texts_of_a_record_together_are_bounded() -> None:
    (event,) = decoded({"attributes": pairs({f"k{n}": "x" * MAX_TEXT for n in range(20)})})
    assert sum(len(text) for text in event.body.values() if isinstance(text, str)) == MAX_RECORD_TEXT


def test_the_texts_of_a_resource_are_bounded_tighter_since_each_record_copies_them() -> None:
    (event,) = decoded({}, resource={f"k{n}": "x" * MAX_TEXT for n in range(4)})
    assert sum(len(text) for text in event.body.values() if isinstance(text, str)) == MAX_RESOURCE_TEXT


def test_attributes_beyond_the_limit_are_dropped_and_counted() -> None:
    (event,) = decoded({"attributes": pairs({f"k{n}": n for n in range(MAX_ATTRIBUTES + 7)})})
    assert event.body["divertor"]["ingest"]["dropped_values"] == 7


def nested_value(levels: int) -> Any:
    plain: Any = 1
    for _ in range(levels):
        plain = [plain]
    return plain


def test_values_may_be_nested_to_the_limit_and_no_deeper() -> None:
    assert decoded({"body": value(nested_value(MAX_DEPTH))})
    with pytest.raises(InputError, match="nested too deep"):
        decoded({"body": value(nested_value(MAX_DEPTH + 1))})
    with pytest.raises(InputError, match="nested too deep"):
        body = packed_request(field(5, packed(nested_value(MAX_DEPTH + 1))))
        decode_logs(body, PROTOBUF_TYPE, NOON)


@pytest.mark.parametrize("content_type", [JSON_TYPE, PROTOBUF_TYPE])
def test_records_beyond_the_limit_are_refused(content_type: str) -> None:
    def body(count: int) -> bytes:
        return request(*[{}] * count) if content_type == JSON_TYPE else packed_request(*[b""] * count)

    assert len(decode_logs(body(MAX_RECORDS), content_type, NOON)) == MAX_RECORDS
    with pytest.raises(TooLargeError):
        decode_logs(body(MAX_RECORDS + 1), content_type, NOON)


def test_a_million_empty_attributes_are_refused() -> None:
    with pytest.raises(TooLargeError, match="values"):
        decode_logs(packed_request(b"\x32\x00" * 1_000_000), PROTOBUF_TYPE, NOON)


def test_a_body_too_large_is_refused() -> None:
    with pytest.raises(TooLargeError):
        decode_logs(b" " * (MAX_BODY + 1), JSON_TYPE, NOON)


def test_a_gzip_bomb_is_refused() -> None:
    bomb = gzip.compress(b" " * (100 * MAX_BODY))
    assert len(bomb) < MAX_BODY
    with pytest.raises(TooLargeError, match="unpacks"):
        decode_logs(bomb, JSON_TYPE, NOON, "gzip")


BAD_REQUESTS: list[tuple[bytes, str, str]] = [
    (b"", JSON_TYPE, ""),
    (b"{", JSON_TYPE, ""),
    (b"[]", JSON_TYPE, ""),
    (b"[" * 100_000, JSON_TYPE, ""),
    (b'{"resourceLogs": 1}', JSON_TYPE, ""),
    (b'{"resourceLogs": [1]}', JSON_TYPE, ""),
    (b'{"resourceLogs": [{"resource": []}]}', JSON_TYPE, ""),
    (request({"timeUnixNano": "-1"}), JSON_TYPE, ""),
    (request({"timeUnixNano": "1" * 30}), JSON_TYPE, ""),
    (request({"timeUnixNano": "1--2"}), JSON_TYPE, ""),
    (request({"timeUnixNano": 1.5}), JSON_TYPE, ""),
    (request({"timeUnixNano": True}), JSON_TYPE, ""),
    (request({"traceId": "xyz"}), JSON_TYPE, ""),
    (request({"body": {"boolValue": 1}}), JSON_TYPE, ""),
    (request({"body": {"doubleValue": "one"}}), JSON_TYPE, ""),
    (request({"body": {"stringValue": 5}}), JSON_TYPE, ""),
    (request({"attributes": {"a": 1}}), JSON_TYPE, ""),
    (b'{"resourceLogs": NaN}', JSON_TYPE, ""),
    (b'{"a": ' + b"9" * 5000 + b"}", JSON_TYPE, ""),
    (b"\xff\xfe{}", JSON_TYPE, ""),
    (b"\x0a", PROTOBUF_TYPE, ""),
    (b"\x0a\x05a", PROTOBUF_TYPE, ""),
    (b"\x08\x01", PROTOBUF_TYPE, ""),
    (b"\x00\x01", PROTOBUF_TYPE, ""),
    (b"\x0b", PROTOBUF_TYPE, ""),
    (b"\xff" * 20, PROTOBUF_TYPE, ""),
    (b"{}", "text/plain", ""),
    (b"{}", "", ""),
    (b"{}", JSON_TYPE, "gzip"),
    (b"{}", JSON_TYPE, "br"),
    (gzip.compress(b"{}", mtime=0)[:-4], JSON_TYPE, "gzip"),
    (gzip.compress(b"{}", mtime=0) + b"more", JSON_TYPE, "gzip"),
    (zlib.compress(b"{}"), JSON_TYPE, "gzip"),
]


def test_every_bad_request_is_in_the_list() -> None:
    assert len(BAD_REQUESTS) == 33


@pytest.mark.parametrize(("body", "content_type", "encoding"), BAD_REQUESTS)
def test_a_request_that_is_no_otlp_is_refused(body: bytes, content_type: str, encoding: str) -> None:
    with pytest.raises(InputError):
        decode_logs(body, content_type, NOON, encoding)


def test_a_syntax_error_has_a_place() -> None:
    with pytest.raises(InputError) as caught:
        decode_logs(b'{\n "resourceLogs": ?}', JSON_TYPE, NOON)
    assert (caught.value.position.line, caught.value.position.column) == (2, 18)


@settings(max_examples=300)
@given(
    st.binary(max_size=300), st.sampled_from([JSON_TYPE, PROTOBUF_TYPE, "x"]), st.sampled_from(["", "gzip"])
)
def test_arbitrary_bytes_give_events_or_a_refusal(body: bytes, content_type: str, encoding: str) -> None:
    survives(body, content_type, encoding)


@settings(max_examples=300)
@given(st.integers(0, len(GOLDEN) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_request_gives_events_or_a_refusal(at: int, damage: bytes) -> None:
    survives(GOLDEN[:at] + damage + GOLDEN[at + len(damage) :], PROTOBUF_TYPE, "")


names = st.sampled_from(
    "resourceLogs resource scopeLogs scope logRecords attributes key value body name timeUnixNano eventName "
    "stringValue intValue doubleValue boolValue bytesValue arrayValue kvlistValue values traceId".split()
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=300)
@given(st.dictionaries(names, any_json, max_size=4))
def test_otlp_names_with_wrong_contents_give_events_or_a_refusal(data: dict[str, Any]) -> None:
    survives(json.dumps(data).encode(), JSON_TYPE, "")
    nested = {"resourceLogs": [{"scopeLogs": [{"logRecords": [data, {"attributes": [data], "body": data}]}]}]}
    survives(json.dumps(nested).encode(), JSON_TYPE, "")


def survives(body: bytes, content_type: str, encoding: str) -> None:
    try:
        events = decode_logs(body, content_type, NOON, encoding)
    except (InputError, TooLargeError):
        return
    for event in events:
        text = json.dumps(event.to_json(), allow_nan=False)
        assert Event.from_json(json.loads(text)) == event
        text.encode()
