"""Isolating by hand, and releasing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

NDJSON = {"content-type": "application/x-ndjson"}
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


async def test_the_keys_of_one_client_are_isolated_and_released_together(shop: httpx.AsyncClient) -> None:
    keys = [
        {"kind": "cookie", "name": "session", "value": "s1"},
        {"key": "client address", "value": "10.0.0.9"},
    ]
    body = {"scope": "shop/shop", "keys": keys, "reason": "one client"}
    first = (await shop.post("/api/v1/isolations", json=body)).json()
    found = (await shop.get("/api/v1/isolations")).json()
    assert {each["value"]: each["parent"] for each in found} == {"s1": "", "10.0.0.9": first["id"]}
    await shop.delete(f"/api/v1/isolations/{found[0]['id']}")
    assert (await shop.get("/api/v1/isolations")).json() == []


@pytest.mark.parametrize(
    "keys", [[], "x", [{"kind": "cookie"}], [{"kind": "moon", "value": "x"}], [{"who": "x"}]], ids=str
)
async def test_bad_keys_isolate_nobody(keys: Any, shop: httpx.AsyncClient) -> None:
    body = {"scope": "shop/shop", "keys": keys, "reason": "r"}
    assert (await shop.post("/api/v1/isolations", json=body)).status_code == 400
    assert (await shop.get("/api/v1/isolations")).json() == []


async def test_keys_are_not_given_twice(shop: httpx.AsyncClient) -> None:
    body = {**WHO, "keys": [{"key": "client address", "value": "10.0.0.9"}]}
    answer = await shop.post("/api/v1/isolations", json=body)
    assert answer.status_code == 400 and "'keys' beside" in answer.json()["message"]


def lines(*rows: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


ROW = {"scope": "shop/shop", "key": "cookie session", "value": "a"}


async def test_many_are_imported_listed_and_exported(shop: httpx.AsyncClient) -> None:
    rows = [{**ROW, "value": f"v{number}"} for number in range(1200)]
    done = await shop.post("/api/v1/isolations/import", content=lines(*rows), headers=NDJSON)
    assert done.json() == {"added": 1200, "prolonged": 0, "unchanged": 0, "expired": 0}
    page = await shop.get("/api/v1/isolations?kind=cookie&by=admin&per_page=2&page=3")
    assert page.headers["x-total-count"] == "1200" and len(page.json()) == 2
    exported = (await shop.get("/api/v1/isolations/export")).content
    assert {json.loads(line)["value"] for line in exported.splitlines()} == {f"v{n}" for n in range(1200)}
    again = await shop.post("/api/v1/isolations/import", content=exported, headers=NDJSON)
    assert again.json()["unchanged"] == 1200


async def test_a_wrong_line_is_named_and_nobody_is_isolated(shop: httpx.AsyncClient) -> None:
    content = lines(ROW, {**ROW, "key": "cookie other"})
    answer = await shop.post("/api/v1/isolations/import", content=content, headers=NDJSON)
    found = answer.json()
    assert answer.status_code == 400 and (found["source"], found["line"]) == ("import", 2)
    assert (await shop.get("/api/v1/isolations")).json() == []


async def test_an_import_may_be_tried_first(shop: httpx.AsyncClient) -> None:
    url = "/api/v1/isolations/import?validate_only=true"
    assert (await shop.post(url, content=lines(ROW), headers=NDJSON)).json()["added"] == 1
    assert (await shop.get("/api/v1/isolations")).json() == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [(b"x" * 40000, "application/x-ndjson", 413), (b"{}", "image/png", 415), (b"[]", "", 400)],
)
async def test_what_is_no_import_is_refused(
    content: bytes, kind: str, status: int, shop: httpx.AsyncClient
) -> None:
    headers = {"content-type": kind}
    assert (
        await shop.post("/api/v1/isolations/import", content=content, headers=headers)
    ).status_code == status


async def test_releasing_nobody_is_not_found(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete("/api/v1/isolations/x")).status_code == 404


@pytest.mark.parametrize("path", ["", "/export"])
async def test_a_kind_of_key_that_does_not_exist_is_refused(path: str, shop: httpx.AsyncClient) -> None:
    answer = await shop.get(f"/api/v1/isolations{path}?kind=planet")
    assert answer.status_code == 400
    assert answer.json()["message"] == "'planet' is no kind of key"
    assert "cookie" in answer.json()["expected"]
