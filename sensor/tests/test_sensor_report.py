"""The reports: the wire contract, and what happens when the collector is slow, broken or gone."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from divertor_sensor.reports.detection import Detection, Subject, export_request
from divertor_sensor.reports.frames import Frame
from divertor_sensor.reports.log import LogReporter
from divertor_sensor.reports.reporter import MAX_QUEUED, OtlpReporter, make_reporter
from divertor_sensor.settings import Settings

SUBJECT = Subject("POST", "/login", "10.0.0.9", "curl/8", "s-1", "session", "r-1")
FRAMES = (Frame("/srv/shop/db.py", 12, "find"), Frame(__file__, 1, "outer"))


def detection(number: int = 0, **changes: Any) -> Detection:
    values: dict[str, Any] = {
        "id": f"id-{number}",
        "time": 1_700_000_000_000_000_001,
        "type": "sql_injection",
        "cwe": "CWE-89",
        "signal": "attack",
        "outcome": "diverted",
        "source": "form",
        "parameter": "user",
        "payload": "' or 1=1 --",
        "sink": "sqlite3.Cursor.execute",
        "statement": "select ''",
        "subject": SUBJECT,
        "frames": FRAMES,
    }
    return Detection(**{**values, **changes})


def settings(url: str) -> Settings:
    return Settings(endpoint=url, ingest_token="in", service="shop", version="shop:1.1.0", instance="shop-1")


def test_a_record_carries_exactly_the_attributes_of_the_contract() -> None:
    body = export_request({"service.name": "shop", "process.pid": 7}, [detection()], "0.0")
    (record,) = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    attributes = {item["key"]: item["value"] for item in record["attributes"]}
    assert attributes.pop("code.line.number") == {"intValue": "12"}
    frames = attributes.pop("divertor.detection.frames")["arrayValue"]["values"]
    assert [item["key"] for item in frames[0]["kvlistValue"]["values"]] == [
        "file",
        "line",
        "function",
        "source",
    ]
    assert {key: value["stringValue"] for key, value in attributes.items()} == {
        "http.request.method": "POST",
        "url.path": "/login",
        "client.address": "10.0.0.9",
        "user_agent.original": "curl/8",
        "session.id": "s-1",
        "divertor.session.cookie": "session",
        "http.request.id": "r-1",
        "divertor.detection.id": "id-0",
        "divertor.detection.type": "sql_injection",
        "divertor.detection.cwe": "CWE-89",
        "divertor.detection.signal": "attack",
        "divertor.detection.outcome": "diverted",
        "divertor.detection.source": "form",
        "divertor.detection.parameter": "user",
        "divertor.detection.payload": "' or 1=1 --",
        "divertor.detection.sink": "sqlite3.Cursor.execute",
        "divertor.detection.statement": "select ''",
        "code.file.path": "/srv/shop/db.py",
        "code.function.name": "find",
    }
    assert (record["eventName"], record["severityNumber"]) == ("divertor.detection", 17)
    assert record["timeUnixNano"] == "1700000000000000001"


@pytest.mark.parametrize(
    ("signal", "severity"), [("attack", "ERROR"), ("vulnerability", "WARN"), ("probe", "INFO")]
)
def test_the_severity_of_a_record_is_that_of_its_signal(signal: str, severity: str) -> None:
    body = export_request({}, [detection(signal=signal)], "0.0")
    assert body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["severityText"] == severity


def test_what_a_simulation_would_have_done_is_an_attribute_of_its_own() -> None:
    body = export_request({}, [detection(outcome="reported", simulated="blocked", owasp="A03:2021")], "0.0")
    record = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    attributes = {item["key"]: item["value"].get("stringValue") for item in record["attributes"]}
    assert attributes["divertor.detection.simulated"] == "blocked"
    assert attributes["divertor.detection.owasp"] == "A03:2021"


def test_texts_are_bounded_and_undecodable_bytes_do_not_stop_a_report() -> None:
    body = export_request({}, [detection(payload="p" * 5000, statement="s\udcff" * 5000)], "0.0")
    record = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    attributes = {item["key"]: item["value"].get("stringValue", "") for item in record["attributes"]}
    assert len(attributes["divertor.detection.payload"]) == 1024
    assert len(attributes["divertor.detection.statement"]) == 2048
    assert "\udcff" not in attributes["divertor.detection.statement"]


def test_a_detection_is_posted_with_its_token_resource_and_source_lines(collector: Any) -> None:
    OtlpReporter(settings(collector.url)).submit(detection())
    path, headers, body = collector.requests.get(timeout=10)
    resource = {item["key"]: item["value"] for item in body["resourceLogs"][0]["resource"]["attributes"]}
    assert (path, headers["authorization"], headers["content-type"]) == (
        "/v1/logs",
        "Bearer in",
        "application/json",
    )
    assert resource["service.name"] == {"stringValue": "shop"}
    assert resource["service.version"] == {"stringValue": "shop:1.1.0"}
    assert resource["service.instance.id"] == {"stringValue": "shop-1"}
    assert resource["process.pid"] == {"intValue": str(os.getpid())}
    assert resource["telemetry.sdk.name"] == {"stringValue": "divertor-sensor"}
    assert "The reports: the wire contract" in str(body)


def test_one_connection_serves_many_reports(collector: Any) -> None:
    reporter = OtlpReporter(settings(collector.url))
    for number in range(5):
        reporter.submit(detection(number))
        assert reporter.flush(10)
    assert reporter.sent == 5 and collector.connections == 1


def test_what_waits_is_sent_in_one_batch(collector: Any) -> None:
    collector.statuses = [503]
    reporter = OtlpReporter(settings(collector.url))
    for number in range(40):
        reporter.submit(detection(number))
    assert reporter.flush(10) and reporter.sent == 40
    assert collector.requests.qsize() <= 4


def test_a_busy_collector_gets_the_batch_again(collector: Any) -> None:
    collector.statuses = [503, 429]
    reporter = OtlpReporter(settings(collector.url), first_pause=0.01)
    reporter.submit(detection())
    assert reporter.flush(10) and (reporter.sent, reporter.failed, reporter.dropped) == (1, 2, 0)


def test_a_refused_batch_is_dropped_and_counted(collector: Any) -> None:
    collector.statuses = [400]
    reporter = OtlpReporter(settings(collector.url))
    reporter.submit(detection())
    assert reporter.flush(10) and (reporter.sent, reporter.dropped) == (0, 1)


def test_without_a_collector_the_app_never_waits_and_the_queue_stays_bounded(port: int) -> None:
    reporter = OtlpReporter(settings(f"http://127.0.0.1:{port}"), first_pause=30)
    started = time.monotonic()
    for number in range(MAX_QUEUED + 200):
        reporter.submit(detection(number))
    assert time.monotonic() - started < 2 and reporter.dropped >= 100
    assert reporter.flush(0.01) is False


def test_no_thread_is_started_before_the_first_detection(collector: Any) -> None:
    reporter = OtlpReporter(settings(collector.url))
    assert reporter._thread is None and reporter.flush(0.01)


def test_a_forked_child_reports_by_itself(collector: Any) -> None:
    reporter = OtlpReporter(settings(collector.url))
    reporter.submit(detection(1))
    reporter.flush(10)
    child = os.fork()
    if child == 0:
        reporter.submit(detection(2))
        os._exit(0 if reporter.flush(10) and reporter.sent == 2 else 1)
    _, status = os.waitpid(child, 0)
    pids = [
        body["resourceLogs"][0]["resource"]
        for _, _, body in (collector.requests.get(timeout=5) for _ in "12")
    ]
    assert status == 0 and str(os.getpid()) in str(pids[0]) and str(child) in str(pids[1])


def test_without_an_endpoint_detections_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reporter = make_reporter(Settings())
    reporter.submit(detection(parameter="a\nb"))
    assert isinstance(reporter, LogReporter)
    assert "sql_injection attack diverted: form 'a\\nb' reached" in caplog.text
