"""What isolated clients asked and got, through the API."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from divertor.isolation.identity import isolation_id
from divertor.model.events import Event
from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.exchange import Body, Exchange, Key, Kind

from .conftest import NOW, Stack

pytestmark = pytest.mark.anyio

SCOPE = "shop/shop"
SESSION = KeySelector(KeyKind.COOKIE, "session")
ID = isolation_id(SCOPE, SESSION, "4e1f0c9a")
URL = f"/api/v1/isolations/{ID}"


def recorded(number: int, kind: Kind = Kind.ISOLATED) -> Exchange:
    return Exchange(
        id=f"{number:032x}",
        kind=kind,
        time=NOW + timedelta(seconds=number),
        microseconds=2500,
        scope=SCOPE,
        method="GET",
        authority="shop.example",
        path="/\udcff" if number == 2 else f"/{number}",
        by=Key(SESSION, "4e1f0c9a"),
        request_headers=(("cookie", "session=4e1f0c9a"),),
        status=200,
        response_body=Body(b"\x1b[31m<b>", 8),
        request_id=f"r-{number}",
        address="192.0.2.7",
    )


@pytest.fixture
async def shop(stack: Stack, admin: httpx.AsyncClient) -> httpx.AsyncClient:
    """Somebody was isolated, has attacked once and asked twice more, and was let go."""
    text = Path(__file__).with_name("shop.yaml").read_text()
    await admin.post("/api/v1/deployments", content=text, headers={"content-type": "application/yaml"})
    archive: Any = stack.services.recordings
    archive._archive.append(ID, [recorded(1, Kind.DIVERTED), recorded(2), recorded(3)], 1 << 20)
    return admin


async def test_the_session_is_listed_in_pages(shop: httpx.AsyncClient) -> None:
    answer = await shop.get(f"{URL}/exchanges?per_page=2")
    assert (answer.status_code, answer.headers["x-total-count"]) == (200, "3")
    first, second = answer.json()
    assert (first["number"], first["kind"], second["path"]) == (1, "diverted", "/\udcff")
    assert (first["milliseconds"], first["path"]) == (2.5, "/1")
    assert [each["number"] for each in (await shop.get(f"{URL}/exchanges?per_page=2&page=2")).json()] == [3]


async def test_sessions_are_masked_unless_asked_for(shop: httpx.AsyncClient) -> None:
    paths = ("exchanges", "exchanges/1", "har", "curl", "ndjson", "recording")
    for path in paths:
        hidden = await shop.get(f"{URL}/{path}")
        assert hidden.status_code == 200 and "4e1f0c9a" not in hidden.text
    for path in paths[:-1]:
        assert "4e1f0c9a" in (await shop.get(f"{URL}/{path}?reveal=true")).text


async def test_one_exchange_is_shown_in_full(shop: httpx.AsyncClient) -> None:
    found = (await shop.get(f"{URL}/exchanges/2")).json()
    assert found["request_headers"] == [{"name": "cookie", "value": "session=4e1f…"}]
    assert found["response_body"] == {"size": 8, "kept": 8, "whole": True, "text": "\x1b[31m<b>"}


@pytest.mark.parametrize(
    "path", ["exchanges/4", "exchanges/0", "exchanges/x", "exchanges/99999999999999999999"]
)
async def test_what_is_not_there_is_not_found(path: str, shop: httpx.AsyncClient) -> None:
    assert (await shop.get(f"{URL}/{path}")).status_code in (400, 404)


@pytest.mark.parametrize("path", ["recording", "exchanges", "exchanges/1", "har", "curl", "ndjson"])
async def test_nobody_is_not_found(path: str, shop: httpx.AsyncClient) -> None:
    answer = await shop.get(f"/api/v1/isolations/{'0' * 16}/{path}")
    assert answer.status_code == 404 and "0000" in answer.json()["message"]


async def test_a_recording_is_there_before_and_after_the_isolation(shop: httpx.AsyncClient) -> None:
    assert (await shop.get(f"{URL}/recording")).json()["holds"] is False
    who = {"scope": SCOPE, "kind": "cookie", "name": "session", "value": "4e1f0c9a", "reason": "again"}
    assert (await shop.post("/api/v1/isolations", json=who)).json()["id"] == ID
    found = (await shop.get(f"{URL}/recording")).json()
    assert (found["holds"], found["exchanges"], found["keys"]) == (True, 3, [ID])
    assert found["isolation"]["reason"] == "again"
    assert [each["id"] for each in (await shop.get("/api/v1/recordings")).json()] == [ID]


async def test_what_a_sensor_found_is_linked(stack: Stack, shop: httpx.AsyncClient) -> None:
    def detection(id: str, request: str, path: str) -> Event:
        body = {"http": {"request": {"id": request, "method": "GET"}}, "url": {"path": path}}
        return Event(id, "detection", NOW + timedelta(seconds=3), NOW, body=body)

    found = [("by-id", "r-3", "/x"), ("by-place", "other", "/1"), ("of-another", "other", "/x")]
    await stack.feed.publish([detection(*each) for each in found])
    lines = (await shop.get(f"{URL}/exchanges")).json()
    assert [each["detections"] for each in lines] == [["by-place"], [], ["by-id"]]


async def test_exports_are_files(shop: httpx.AsyncClient) -> None:
    har = await shop.get(f"{URL}/har")
    assert har.headers["content-disposition"] == f'attachment; filename="{ID}.har"'
    assert len(har.json()["log"]["entries"]) == 3
    script = await shop.get(f"{URL}/curl")
    assert script.headers["content-type"].startswith("text/x-shellscript")
    assert script.content.startswith(b"#!/bin/sh\n") and b"/\xff" in script.content
    lines = (await shop.get(f"{URL}/ndjson")).text.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]


async def test_an_ingest_token_sees_nothing(stack: Stack, shop: httpx.AsyncClient) -> None:
    async with stack.client(stack.ingest) as sensor:
        for path in ("/api/v1/recordings", f"{URL}/exchanges", f"{URL}/curl?reveal=true"):
            assert (await sensor.get(path)).status_code == 403
