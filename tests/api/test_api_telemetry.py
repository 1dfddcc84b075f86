"""The way in for sensors: every batch whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from divertor.ingest.limits import MAX_BODY

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
ID = "00f1e2d3c4b5a697"


def batch(*attributes: tuple[str, str], name: str = "divertor.detection") -> bytes:
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes]
    record = {"timeUnixNano": "1769860800000000000", "eventName": name, "attributes": pairs}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


DETECTION = batch(("divertor.detection.id", ID), ("divertor.detection.type", "sql_injection"))


@pytest.fixture
async def sensor(stack: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with stack.client(stack.ingest) as client:
        yield client


async def test_a_detection_is_stored_and_acknowledged(sensor: httpx.AsyncClient, stack: Any) -> None:
    answer = await sensor.post("/v1/logs", content=DETECTION, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"partialSuccess": {}})
    event = await stack.feed.store.get(ID)
    assert (event.type, event.tags) == ("detection", ("detection:sql_injection",))


async def test_protocol_buffers_are_answered_in_kind(sensor: httpx.AsyncClient) -> None:
    answer = await sensor.post("/v1/logs", content=b"", headers={"content-type": "application/x-protobuf"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"


async def test_gzip_is_understood(sensor: httpx.AsyncClient, stack: Any) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    answer = await sensor.post("/v1/logs", content=gzip.compress(DETECTION), headers=headers)
    assert answer.status_code == 200
    assert await stack.feed.store.get(ID) is not None


async def test_a_batch_sent_twice_is_taken_once(bare: Any) -> None:
    async with bare.client(bare.ingest, **JSON) as sensor:
        for _ in range(2):
            assert (await sensor.post("/v1/logs", content=DETECTION)).status_code == 200
    assert [event.id for event in bare.feed.events] == [ID]


async def test_a_body_without_a_length_is_read_no_further_than_it_may_be_long(bare: Any) -> None:
    read: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            read.append(65536)
            yield b" " * 65536

    async with bare.client(bare.ingest, **JSON) as sensor:
        assert (await sensor.post("/v1/logs", content=chunks())).status_code == 413
    assert sum(read) <= MAX_BODY + 2 * 65536


async def test_an_empty_batch_is_fine(sensor: httpx.AsyncClient, stack: Any) -> None:
    assert (await sensor.post("/v1/logs", content=b"{}", headers=JSON)).status_code == 200
    assert await stack.stored() == 0


async def many() -> AsyncIterator[bytes]:
    """A body that says no length, and is longer than it may be."""
    for _ in range(MAX_BODY // 65536 + 1):
        yield b" " * 65536


REFUSED: list[tuple[str, int, dict[str, Any]]] = [
    ("not JSON", 400, {"content": b"{", "headers": JSON}),
    ("not an object", 400, {"content": b"[]", "headers": JSON}),
    ("of the wrong kind", 400, {"content": b'{"resourceLogs": 1}', "headers": JSON}),
    ("nested without end", 400, {"content": b'{"resourceLogs":' + b"[" * 100_000, "headers": JSON}),
    ("not UTF-8", 400, {"content": b'{"a": "\xff"}', "headers": JSON}),
    ("empty", 400, {"content": b"", "headers": JSON}),
    (
        "not Protocol Buffers",
        400,
        {"content": b"\xff", "headers": {"content-type": "application/x-protobuf"}},
    ),
    ("damaged gzip", 400, {"content": b"\x1f\x8b", "headers": {**JSON, "content-encoding": "gzip"}}),
    ("too long", 413, {"content": b" " * (MAX_BODY + 1), "headers": JSON}),
    ("said to be too long", 413, {"content": b"{}", "headers": {**JSON, "content-length": "9" * 30}}),
    ("too long without saying so", 413, {"content": many(), "headers": JSON}),
    (
        "a bomb",
        413,
        {"content": gzip.compress(b" " * MAX_BODY * 4), "headers": {**JSON, "content-encoding": "gzip"}},
    ),
    ("too many records", 413, {"content": None, "headers": JSON}),
    ("without a type", 415, {"content": DETECTION}),
    ("a form", 415, {"content": DETECTION, "headers": {"content-type": "multipart/form-data"}}),
    ("brotli", 415, {"content": DETECTION, "headers": {**JSON, "content-encoding": "br"}}),
]


def test_every_way_to_be_refused_is_tried() -> None:
    assert len(REFUSED) == 16


@pytest.mark.parametrize(("what", "status", "request_"), REFUSED, ids=[case[0] for case in REFUSED])
async def test_a_bad_batch_is_refused_and_nothing_is_stored(
    what: str, status: int, request_: dict[str, Any], bare: Any
) -> None:
    given = dict(request_)
    if given["content"] is None:
        records: list[dict[str, Any]] = [{}] * 5001
        given["content"] = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
    async with bare.client(bare.ingest) as sensor:
        answer = await sensor.post("/v1/logs", **given)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert bare.feed.events == []


async def test_without_a_token_nothing_is_stored(bare: Any) -> None:
    async with bare.client("") as nobody:
        assert (await nobody.post("/v1/logs", content=DETECTION, headers=JSON)).status_code == 401
    assert bare.feed.events == []


async def test_a_body_that_never_ends_is_given_up(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await forever.wait()

    import asyncio

    forever = asyncio.Event()
    monkeypatch.setattr("divertor.api.bodies.PATIENCE", 0.05)
    async with bare.client(bare.ingest) as sensor:
        assert (await sensor.post("/v1/logs", content=stalled(), headers=JSON)).status_code == 408


async def test_with_the_broker_down_the_sender_is_told_to_try_again(
    sensor: httpx.AsyncClient, stack: Any, broker: Any
) -> None:
    broker.kill()
    answer = await sensor.post("/v1/logs", content=DETECTION, headers=JSON)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    broker.start()
    await stack.feed.bus.ready()
    assert (await sensor.post("/v1/logs", content=DETECTION, headers=JSON)).status_code == 200
    assert await stack.feed.store.get(ID) is not None
