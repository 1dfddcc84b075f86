"""Finding and recording events, and the detections among them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from divertor.api.asking import fits
from divertor.api.detections import detection_to_json
from divertor.ingest import decode_logs
from divertor.model.events import Event, parse_time

pytestmark = pytest.mark.anyio

NOW = parse_time("2026-01-31T12:00:00Z")
FRAME = {"file": "shop/login.py", "line": 12, "function": "login", "source": "db.execute(sql)"}


def event(id: str, minutes: int = 0, type: str = "build", *tags: str, **body: Any) -> Event:
    moment = NOW - timedelta(minutes=minutes)
    return Event(id, type, moment, moment, ("divertor-test",), tags, len(id), body)


def kv(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": otlp(value)} for key, value in values.items()]


def otlp(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": kv(value)}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def detection(
    id: str, service: str = "shop", type: str = "sql_injection", signal: str = "attack", **more: str
) -> Event:
    """As a sensor's report arrives."""
    attributes = {
        **{f"divertor.detection.{name}": value for name, value in {"signal": signal, **more}.items()},
        "divertor.detection.id": id,
        "divertor.detection.type": type,
        "divertor.detection.payload": "' or 1=1 --",
        "divertor.detection.frames": [FRAME],
        "client.address": "10.0.0.9",
        "url.path": "/login",
    }
    resource = {"attributes": kv({"service.name": service, "service.version": "1.1.0"})}
    record = {"eventName": "divertor.detection", "attributes": kv(attributes)}
    logs = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
    return decode_logs(json.dumps(logs).encode(), "application/json", NOW)[0]


@pytest.fixture
async def filled(stack: Any) -> Any:
    """Three events, ten minutes apart."""
    await stack.feed.publish(
        [
            event("c", 20, "build", "branch:main", status="failed", count=3),
            event("bb", 10, "build", "branch:main", "nightly", status="passed"),
            event("aaa", 0, "cycle", "nightly", context={"ip": "10.0.0.1"}),
        ]
    )
    return stack


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


CASES = [
    ("", ["aaa", "bb", "c"]),
    ("type=build", ["bb", "c"]),
    ("type=build&type=cycle", ["aaa", "bb", "c"]),
    ("tags=branch", ["bb", "c"]),
    ("tags=branch:main&tags=nightly", ["bb"]),
    ("since=15m", ["aaa", "bb"]),
    ("since=2026-01-31T11:50:00Z", ["aaa", "bb"]),
    ("until=2026-01-31T11:50:00Z", ["c"]),
    ("gt=2026-01-31T11:50:00Z", ["aaa"]),
    ("gte=2026-01-31T11:50:00Z&lte=2026-01-31T11:50:00Z", ["bb"]),
    ("lt=2026-01-31T11:50:00Z", ["c"]),
    ("index=divertor-*", ["aaa", "bb", "c"]),
    ("index=other", []),
    ("field=context.ip:10.0.0.1", ["aaa"]),
    ("field=count:3", ["c"]),
    ("field=status:passed&field=count:null", ["bb"]),
    ("text=PASSED", ["bb"]),
    ("per_page=1&page=2", ["bb"]),
    ("text=%00&field=a%00b:%00&tags=%00&index=%00&type=%00", []),
]


def test_every_filter_is_tried() -> None:
    assert len(CASES) == 19


@pytest.mark.parametrize(("query", "expected"), CASES)
async def test_a_filter_finds_what_fits_newest_first(query: str, expected: list[str], filled: Any) -> None:
    async with filled.client() as admin:
        assert ids(await admin.get(f"/api/v1/events?{query}")) == expected


async def test_a_page_says_how_many_there_are(filled: Any) -> None:
    async with filled.client() as admin:
        answer = await admin.get("/api/v1/events?type=build&per_page=1")
    assert answer.headers["x-total-count"] == "2"
    assert answer.links["next"]["url"] == "/api/v1/events?type=build&page=2&per_page=1"


@pytest.mark.parametrize(
    ("query", "expected"),
    [("aggregator=count", 3), ("aggregator=max", 3), ("aggregator=sum&type=build", 3),
     ("aggregator=average&aggregator_field=count", 3), ("aggregator=min&type=none", None)],
)  # fmt: skip
async def test_an_aggregator_answers_one_number(query: str, expected: Any, filled: Any) -> None:
    async with filled.client() as admin:
        assert (await admin.get(f"/api/v1/events?{query}")).json() == {"value": expected}


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "since=9999d", "lte=9999-12-31T23:59:59.999999Z", "field=x", "field=:x", "page=x",
     "per_page=1001", "page=9999999999", "aggregator=median", "since=1e9d"]
    + ["&".join(["tags=x"] * 33)],
)  # fmt: skip
async def test_a_filter_that_is_not_understood_is_refused(query: str, bare: Any) -> None:
    async with bare.client() as admin:
        answer = await admin.get(f"/api/v1/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["source"]


async def test_a_recorded_event_is_found(stack: Any) -> None:
    body = {"tags": ["build:passed"], "value": {"tests": 3}, "type": "build"}
    async with stack.client(stack.ingest) as pipeline:
        created = await pipeline.post("/api/v1/events", json=body)
    assert (created.status_code, created.json()["value"]) == (201, {"tests": 3})
    async with stack.client() as admin:
        assert ids(await admin.get("/api/v1/events?tags=build")) == [created.json()["id"]]


@pytest.mark.parametrize(
    "body", ["{}", "[]", "tags: []", "tags: [a]\nvlaue: 1", "tags: [a]\ntimestamp: soon"]
)
async def test_an_event_that_is_not_understood_is_not_stored(body: str, bare: Any) -> None:
    async with bare.client(**{"content-type": "text/yaml"}) as admin:
        answer = await admin.post("/api/v1/events", content=body)
    assert answer.status_code == 400
    assert bare.feed.events == []


async def test_a_detection_names_the_vulnerable_line(stack: Any) -> None:
    await stack.feed.publish([detection("00f1e2d3c4b5a697")])
    async with stack.client() as admin:
        found = (await admin.get("/api/v1/detections/00f1e2d3c4b5a697")).json()
    assert found["frames"] == [FRAME]
    assert (found["service"], found["version"], found["type"]) == ("shop", "1.1.0", "sql_injection")
    assert (found["request"]["address"], found["request"]["path"]) == ("10.0.0.9", "/login")
    assert found["payload"] == "' or 1=1 --"


async def test_detections_are_filtered_by_type_and_service(stack: Any) -> None:
    await stack.feed.publish(
        [
            detection("a" * 16),
            detection("b" * 16, service="blog"),
            detection("c" * 16, type="xss"),
            event("x"),
        ]
    )
    async with stack.client() as admin:
        assert len(ids(await admin.get("/api/v1/detections"))) == 3
        assert ids(await admin.get("/api/v1/detections?service=blog")) == ["b" * 16]
        assert ids(await admin.get("/api/v1/detections?type=xss")) == ["c" * 16]


async def test_probes_are_listed_only_when_asked_for(stack: Any) -> None:
    signals = {"a": "attack", "b": "vulnerability", "c": "probe"}
    await stack.feed.publish([detection(name * 16, signal=signal) for name, signal in signals.items()])
    async with stack.client() as admin:
        assert len(ids(await admin.get("/api/v1/detections"))) == 2
        for name, signal in signals.items():
            assert ids(await admin.get(f"/api/v1/detections?signal={signal}")) == [name * 16]
        assert ids(await admin.get("/api/v1/detections?signal=probe&type=sql_injection")) == ["c" * 16]
        assert (await admin.get(f"/api/v1/detections/{'c' * 16}")).json()["signal"] == "probe"
        assert (await admin.get("/api/v1/detections?signal=noise")).status_code == 400


async def test_a_simulated_detection_tells_what_would_have_been(stack: Any) -> None:
    await stack.feed.publish([detection("a" * 16, simulated="diverted", owasp="A03:2021")])
    async with stack.client() as admin:
        (found,) = (await admin.get("/api/v1/detections")).json()
    assert (found["simulated"], found["owasp"]) == ("diverted", "A03:2021")


async def test_another_event_is_no_detection(filled: Any) -> None:
    async with filled.client() as admin:
        assert (await admin.get("/api/v1/detections/aaa")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"divertor": 1}, {"divertor": {"detection": {"frames": [1, {"line": "x", "file": 2}], "type": []}}}],
)
def test_a_detection_of_any_shape_can_be_told(body: dict[str, Any]) -> None:
    told = detection_to_json(event("x", 0, "detection", **body))
    assert told["type"] == ""
    assert all(frame == {"file": "", "line": 0, "function": "", "source": ""} for frame in told["frames"])


async def test_what_an_attacker_wrote_cannot_break_the_answer(stack: Any) -> None:
    await stack.feed.publish([event("x", message="\ud800 \x00 </script> \u2028", number=1e308)])
    async with stack.client() as admin:
        assert ids(await admin.get("/api/v1/events")) == ["x"]
        answer = await admin.get("/api/v1/events", headers={"accept": "application/yaml"})
    assert answer.headers["content-type"].startswith("application/yaml")


def test_a_live_event_fits_as_the_store_would_say() -> None:
    seen = event("x", 0, "build", "branch:main")
    assert fits(seen, (), ()) and fits(seen, ("cycle", "build"), ("branch",))
    assert not fits(seen, ("cycle",), ()) and not fits(seen, (), ("branch:main", "nightly"))
