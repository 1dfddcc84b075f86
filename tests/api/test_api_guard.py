"""The gate: who may ask what, from where, and what is said when answering fails."""

from __future__ import annotations

import logging
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

YAML = {"content-type": "application/yaml"}


def operations(bare: Any) -> list[tuple[str, str]]:
    """Every operation that the API describes, with its parameters filled in."""
    paths = bare.app.openapi()["paths"]
    return [
        (method.upper(), path.replace("{name}", "x").replace("{id}", "x"))
        for path, found in paths.items()
        for method in found
    ]


async def test_nothing_but_health_answers_without_a_token(bare: Any) -> None:
    async with bare.client(token="") as nobody:
        statuses = {
            (method, path): (await nobody.request(method, path)).status_code
            for method, path in operations(bare)
        }
    assert len(statuses) == 86
    assert {key for key, status in statuses.items() if status != 401} == {("GET", "/api/v1/health")}


async def test_an_ingest_token_only_writes_events(bare: Any) -> None:
    async with bare.client(bare.ingest) as sensor:
        open_to_it = {
            (method, path)
            for method, path in operations(bare)
            if (await sensor.request(method, path)).status_code != 403
        }
    assert open_to_it == {("POST", "/v1/logs"), ("POST", "/api/v1/events"), ("GET", "/api/v1/health")}


async def test_a_refused_token_is_challenged_and_not_repeated(
    bare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with bare.client("wrong-token") as stranger:
        answer = await stranger.get("/api/v1/status")
    assert answer.headers["www-authenticate"] == 'Bearer realm="divertor", error="invalid_token"'
    assert "wrong-token" not in answer.text + caplog.text


async def test_a_token_in_the_address_is_no_token(bare: Any) -> None:
    async with bare.client(token="") as nobody:
        for name in ("token", "access_token", "authorization"):
            assert (await nobody.get(f"/api/v1/status?{name}={bare.admin}")).status_code == 401


async def test_an_unknown_path_says_nothing_to_strangers(bare: Any) -> None:
    async with bare.client(token="") as nobody:
        assert (await nobody.get("/api/v1/nothing")).status_code == 401


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example", "", "localhost:x", "[::2]"]
)
async def test_a_name_that_is_not_ours_is_refused(host: str, bare: Any) -> None:
    async with bare.client(host=host) as rebound:
        assert (await rebound.get("/api/v1/health")).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9090", "127.0.0.1:1", "[::1]:9090"])
async def test_loopback_names_are_ours(host: str, bare: Any) -> None:
    async with bare.client(host=host) as client:
        assert (await client.get("/api/v1/health")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "https://127.0.0.1:9090"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_change_asked_for_by_another_sites_page_is_refused(headers: Any, bare: Any) -> None:
    async with bare.client(**headers) as browser:
        answer = await browser.put("/api/v1/scales/x", content="name: x\ncpu: 1", headers=YAML)
    assert answer.status_code == 403


async def test_a_change_asked_for_by_our_own_page_is_made(stack: Any) -> None:
    async with stack.client(origin="http://127.0.0.1:9090", **{"sec-fetch-site": "same-origin"}) as browser:
        answer = await browser.put("/api/v1/scales/x", content="name: x\ncpu: 1", headers=YAML)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/status", "/api/v1/nothing", "/docs"])
async def test_every_answer_carries_the_security_headers(path: str, bare: Any) -> None:
    async with bare.client() as admin:
        headers = (await admin.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_a_fault_of_ours_is_an_id_and_nothing_else(
    bare: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> dict[str, Any]:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(bare.services.status, "status", broken)
    with caplog.at_level(logging.ERROR):
        async with bare.client() as admin:
            answer = await admin.get("/api/v1/status")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert answer.json()["id"] in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("PATCH", "/api/v1/events", 405),
        ("GET", "/api/v1/events?page=0", 400),
    ],
)
async def test_what_http_refuses_has_the_same_shape(method: str, path: str, status: int, bare: Any) -> None:
    async with bare.client() as admin:
        answer = await admin.request(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"message", "source", "line", "column", "expected"}
