"""Blueprints, breeds, scales and conditions; and several documents at once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

YAML = {"content-type": "application/yaml"}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "blueprints": {"name": "shop", "clusters": {"shop": {"services": [{"breed": "shop:1.1.0"}]}}},
    "breeds": {"name": "shop:1.1.0", "deployable": {"type": "command", "definition": "./serve"}},
    "scales": {"name": "small", "cpu": 0.5, "memory": "256MB", "instances": 2},
    "conditions": {"name": "firefox", "condition": "user-agent == Firefox"},
}
STREAM = """\
kind: condition
name: firefox
condition: user-agent == Firefox
---
kind: gateway
name: side
port: 9060
routes:
  "[127.0.0.1:9]": {weight: 100%, condition: {ref: firefox}}
"""


def test_there_are_four_kinds() -> None:
    assert len(DOCUMENTS) == 4


@pytest.mark.parametrize("kind", DOCUMENTS)
async def test_a_document_lives_and_dies(kind: str, admin: httpx.AsyncClient) -> None:
    name = DOCUMENTS[kind]["name"]
    created = await admin.post(f"/api/v1/{kind}", json=DOCUMENTS[kind])
    assert (created.status_code, created.json()["name"]) == (201, name), created.text
    got = await admin.get(f"/api/v1/{kind}/{name}")
    assert got.json() == created.json()
    assert (await admin.get(f"/api/v1/{kind}")).json() == [got.json()]
    assert (await admin.put(f"/api/v1/{kind}/{name}", json=got.json())).json() == got.json()
    assert (await admin.delete(f"/api/v1/{kind}/{name}")).status_code == 204
    assert (await admin.get(f"/api/v1/{kind}/{name}")).status_code == 404


@pytest.mark.parametrize("kind", DOCUMENTS)
async def test_validating_stores_nothing(kind: str, admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"/api/v1/{kind}?validate_only=true", json=DOCUMENTS[kind])
    assert answer.status_code == 201
    assert (await admin.get(f"/api/v1/{kind}")).json() == []


async def test_removing_what_is_not_there_is_no_error(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete("/api/v1/breeds/x")).status_code == 204


async def test_another_name_than_the_addresss_is_refused_where_it_stands(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/api/v1/scales/large", content="cpu: 1\nname: small\n", headers=YAML)
    assert answer.status_code == 400
    assert (answer.json()["line"], answer.json()["column"]) == (2, 7)


async def test_a_condition_that_is_not_understood_is_refused_with_its_place(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(
        "/api/v1/conditions", content="name: x\ncondition: user-agent ~ y\n", headers=YAML
    )
    assert answer.status_code == 400
    assert answer.json()["source"] == "request body"
    assert answer.json()["line"] == 2
    assert answer.json()["expected"]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"name: \xff", YAML, 400),
        (b"", YAML, 400),
        (b"a: 1\n---\nb: 2\n", YAML, 400),
        (b"[" * 10_000, YAML, 400),
        (b"x" * (1024 * 1024 + 1), YAML, 413),
        (b"name: x", {"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_a_bad_body_is_refused(
    content: bytes, headers: dict[str, str], status: int, admin: httpx.AsyncClient
) -> None:
    assert (await admin.post("/api/v1/scales", content=content, headers=headers)).status_code == status


async def test_lists_come_in_pages(admin: httpx.AsyncClient) -> None:
    for number in range(5):
        await admin.put(f"/api/v1/scales/s{number}", json={"name": f"s{number}", "cpu": 1})
    answer = await admin.get("/api/v1/scales?page=2&per_page=2")
    assert [each["name"] for each in answer.json()] == ["s2", "s3"]
    assert answer.headers["x-total-count"] == "5"
    assert answer.links["next"]["url"] == "/api/v1/scales?page=3&per_page=2"
    assert answer.links["prev"]["url"] == "/api/v1/scales?page=1&per_page=2"


async def test_several_documents_are_stored_at_once_and_may_mean_each_other(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/", content=STREAM, headers=YAML)
    assert answer.status_code == 201, answer.text
    assert [each["kind"] for each in answer.json()] == ["conditions", "gateways"]
    gateway = (await admin.get("/api/v1/gateways/side")).json()
    assert gateway["routes"]["[127.0.0.1:9]"]["condition"] == {"condition": "user-agent == Firefox"}


async def test_several_documents_are_replaced_and_removed_at_once(admin: httpx.AsyncClient) -> None:
    await admin.post("/api/v1/", content=STREAM, headers=YAML)
    changed = STREAM.replace("Firefox", "Chrome")
    assert (await admin.put("/api/v1/", content=changed, headers=YAML)).status_code == 200
    assert "Chrome" in (await admin.get("/api/v1/gateways/side")).text
    gone = "{kind: gateways, name: side}\n---\n{kind: condition, name: firefox}\n"
    assert (await admin.request("DELETE", "/api/v1/", content=gone, headers=YAML)).status_code == 204
    assert (await admin.get("/api/v1/gateways")).json() == []


async def test_one_bad_document_and_none_is_stored(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/", content=STREAM.replace("9060", "99999"), headers=YAML)
    assert answer.status_code == 400
    assert answer.json()["line"] == 7
    assert (await admin.get("/api/v1/conditions")).json() == []


async def test_a_document_that_does_not_fit_keeps_the_others_out(admin: httpx.AsyncClient) -> None:
    """The second gateway wants the first one's port; that shows only against what runs."""
    await admin.post("/api/v1/", content=STREAM, headers=YAML)
    other = STREAM.replace("firefox", "chrome").replace("name: side", "name: other")
    answer = await admin.post("/api/v1/", content=other, headers=YAML)
    assert answer.status_code == 409, answer.text
    assert [each["name"] for each in (await admin.get("/api/v1/conditions")).json()] == ["firefox"]


@pytest.mark.parametrize("body", ["x", "{name: x}", "{kind: scale}", "{kind: planet, name: x}"])
async def test_what_is_to_go_must_be_named(body: str, admin: httpx.AsyncClient) -> None:
    answer = await admin.request("DELETE", "/api/v1/", content=body, headers=YAML)
    assert answer.status_code == 400


async def test_every_change_is_an_event_with_who(admin: httpx.AsyncClient) -> None:
    await admin.put("/api/v1/scales/small", json=DOCUMENTS["scales"])
    events: list[dict[str, Any]] = (await admin.get("/api/v1/events?tags=scales:small")).json()
    assert [event["body"]["by"] for event in events] == ["admin"]
