"""Isolating by hand, and releasing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

YAML = {"content-type": "application/yaml"}
WHO = {
    "scope": "shop/shop",
    "kind": "cookie",
    "name": "session",
    "value": "4e1f0c",
    "reason": "seen attacking",
}


@pytest.fixture
async def shop(admin: httpx.AsyncClient) -> httpx.AsyncClient:
    """With the deployment that has an isolation policy."""
    text = Path(__file__).with_name("shop.yaml").read_text()
    answer = await admin.post("/api/v1/deployments", content=text, headers=YAML)
    assert answer.status_code == 202, answer.text
    return admin


async def test_an_isolation_lives_and_dies(shop: httpx.AsyncClient) -> None:
    created = await shop.post("/api/v1/isolations", json=WHO)
    assert created.status_code == 201, created.text
    found = created.json()
    assert (found["target"], found["by"], found["reason"]) == ("shop:1.0.0", "admin", "seen attacking")
    assert found["expires"] == "2026-02-01T12:00:00.000000Z"
    assert (await shop.get(f"/api/v1/isolations/{found['id']}")).json() == found
    assert (await shop.get("/api/v1/isolations?scope=shop/shop")).json() == [found]
    assert (await shop.get("/api/v1/isolations?scope=shop/other")).json() == []
    assert (await shop.delete(f"/api/v1/isolations/{found['id']}?reason=mistake")).status_code == 204
    assert (await shop.get(f"/api/v1/isolations/{found['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("span", "expires"),
    [("1h", "2026-01-31T13:00:00.000000Z"), ("forever", None), (None, "2026-02-01T12:00:00.000000Z")],
)
async def test_its_length_may_be_said(span: Any, expires: Any, shop: httpx.AsyncClient) -> None:
    created = await shop.post("/api/v1/isolations", json={**WHO, "for": span})
    assert created.json()["expires"] == expires


async def test_the_key_may_be_said_in_words(shop: httpx.AsyncClient) -> None:
    body = {"scope": "shop/shop", "key": "client address", "value": "10.0.0.9", "reason": "scanner"}
    created = (await shop.post("/api/v1/isolations", json=body)).json()
    assert (created["kind"], created["name"], created["value"]) == ("address", "", "10.0.0.9")


BAD: list[tuple[str, dict[str, Any]]] = [
    ("no scope", {"scope": None}),
    ("an unknown scope", {"scope": "shop/other"}),
    ("no value", {"value": None}),
    ("an empty value", {"value": ""}),
    ("a long value", {"value": "x" * 5000}),
    ("no reason", {"reason": None}),
    ("an empty reason", {"reason": "  "}),
    ("an unknown kind", {"kind": "planet"}),
    ("no kind", {"kind": None}),
    ("a cookie without a name", {"name": None}),
    ("another key than the policy's", {"name": "other"}),
    ("the key twice", {"key": "cookie session"}),
    ("an unknown field", {"who": "me"}),
    ("no span", {"for": "soon"}),
    ("another target than the policy's", {"target": "shop:1.1.0"}),
    ("no address", {"kind": "address", "name": None, "value": "nowhere"}),
    ("a value of another shape", {"value": ["x"]}),
]


def test_every_bad_isolation_is_tried() -> None:
    assert len(BAD) == 17


@pytest.mark.parametrize(("what", "changed"), BAD, ids=[case[0] for case in BAD])
async def test_a_bad_isolation_is_refused_and_nobody_is_isolated(
    what: str, changed: dict[str, Any], shop: httpx.AsyncClient
) -> None:
    body = {key: value for key, value in {**WHO, **changed}.items() if value is not None}
    answer = await shop.post("/api/v1/isolations", json=body)
    assert answer.status_code == 400, answer.text
    assert (await shop.get("/api/v1/isolations")).json() == []


async def test_releasing_nobody_is_not_found(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete("/api/v1/isolations/x")).status_code == 404
