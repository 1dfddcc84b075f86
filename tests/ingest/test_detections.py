"""A sensor's log record as a detection."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.ingest import decode_logs
from divertor.ingest.detections import human_type
from divertor.model.events import Event

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
ID = "0123456789abcdef0123456789abcdef"
ATTRIBUTES: dict[str, Any] = {
    "http.request.method": "POST",
    "url.path": "/login",
    "client.address": "203.0.113.9",
    "user_agent.original": "sqlmap/1.8",
    "session.id": "s-1",
    "divertor.detection.id": ID,
    "divertor.detection.type": "sql_injection",
    "divertor.detection.payload": "' union all select 1",
    "code.file.path": "/app/shop.py",
}


def detection(event_name: str = "divertor.detection", **changes: Any) -> Event:
    """The event of a record with `ATTRIBUTES`, changed (`_` stands for `.`; None leaves one out)."""
    attributes = ATTRIBUTES | {name.replace("__", "."): value for name, value in changes.items()}
    record = {
        "timeUnixNano": str(int(NOON.timestamp()) * 10**9),
        "eventName": event_name,
        "body": {"stringValue": "SQL injection in /login"},
        "attributes": [_pair(name, value) for name, value in attributes.items() if value is not None],
    }
    resource = {"attributes": [_pair("service.name", "hackable")]}
    body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
    return decode_logs(json.dumps(body).encode(), "application/json", NOON)[0]


def _pair(name: str, value: Any) -> dict[str, Any]:
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": name, "value": {kind: value}}


def test_it_is_found_under_both_index_names() -> None:
    event = detection()
    assert (event.type, event.indices) == ("detection", ("divertor-detection", "bitsensor"))


def test_a_probe_is_found_apart_and_sets_off_no_rule_about_detections() -> None:
    event = detection(divertor__detection__signal="probe")
    assert (event.type, event.indices) == ("probe", ("divertor-probe",))
    assert event.tags == ("probe:sql_injection", "service:hackable")
    assert event.get("context.ip") == "203.0.113.9"


def test_an_unhandled_exception_is_an_error_with_its_names() -> None:
    given = {"exception__type": "shop.PaymentError", "error__fingerprint": "0011223344556677"}
    event = detection("divertor.error", **given)
    assert (event.type, event.indices) == ("error", ("divertor-error", "divertor-log"))
    assert event.tags == ("error:shop.PaymentError", "service:hackable")
    assert event.get("error.fingerprint") == "0011223344556677"


def test_the_end_of_a_request_is_a_log_event_with_its_status() -> None:
    event = detection("divertor.request", http__response__status_code=503)
    assert (event.type, event.get("http.response.status_code")) == ("log", 503)


def test_it_carries_bitsensors_names() -> None:
    body = detection().body
    assert body["endpoint"] == {
        "location": "/login",
        "localtime": "2026-01-01T12:00:00.000000Z",
        "name": "hackable",
    }
    assert body["context"] == {
        "ip": "203.0.113.9",
        "http": {"userAgent": "sqlmap/1.8", "type": "POST"},
        "php": {"session": {"sessionId": "s-1"}},
    }
    assert body["detections"] == {
        "type": "SQL Injection",
        "payload": "' union all select 1",
        "reason": "SQL injection in /login",
    }


def test_the_original_names_stay() -> None:
    body = detection().body
    assert body["client"] == {"address": "203.0.113.9"}
    assert body["divertor"]["detection"]["type"] == "sql_injection"
    assert body["code"] == {"file": {"path": "/app/shop.py"}}


def test_a_log_record_has_none_of_these_names() -> None:
    assert not {"endpoint", "context", "detections"} & set(detection("other").body)


@pytest.mark.parametrize(
    ("changes", "location"),
    [
        ({"server__address": "shop.example"}, "http://shop.example/login"),
        ({"server__address": "shop.example", "server__port": 8080}, "http://shop.example:8080/login"),
        ({"server__address": "s", "url__scheme": "https"}, "https://s/login"),
        ({"url__full": "https://x/y?z"}, "https://x/y?z"),
    ],
)
def test_the_location_is_as_full_as_the_record_tells(changes: dict[str, Any], location: str) -> None:
    assert detection(**changes).body["endpoint"]["location"] == location


def test_the_id_is_the_sensors_own() -> None:
    assert detection().id == ID


@pytest.mark.parametrize("given", [None, "", "short", "x" * 32, ID.upper(), "a" * 65, ID + "\n"])
def test_an_id_that_is_no_id_is_replaced(given: str | None) -> None:
    event = detection(divertor__detection__id=given)
    assert event.id != given
    assert len(event.id) == 32


def test_it_is_tagged_by_type_and_service() -> None:
    assert detection().tags == ("detection:sql_injection", "service:hackable")


def test_what_is_not_known_is_left_out() -> None:
    event = detection(session__id=None, user_agent__original=None)
    assert event.body["context"] == {"ip": "203.0.113.9", "http": {"type": "POST"}}


def test_a_name_the_record_uses_itself_is_left_as_it_is() -> None:
    event = detection(context__ip="own", endpoint="scalar")
    assert event.body["context"]["ip"] == "own"
    assert event.body["endpoint"] == "scalar"


@pytest.mark.parametrize(
    ("kind", "text"),
    [("sql_injection", "SQL Injection"), ("path_traversal", "Path Traversal"), ("new_kind", "New Kind")],
)
def test_types_have_names_for_people(kind: str, text: str) -> None:
    assert human_type(kind) == text
