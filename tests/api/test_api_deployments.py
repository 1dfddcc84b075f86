"""Deployments and gateways through the API, over the real services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from divertor.api.routes.deployments import is_deployment
from divertor.model.documents import parse_documents

pytestmark = pytest.mark.anyio

SHOP = Path(__file__).with_name("shop.yaml").read_text()
ONLY_OLD = """\
name: shop
clusters:
  shop:
    services:
      - breed: {name: shop:1.1.0, deployable: {type: address, definition: 127.0.0.1:9}, ports: {web: 80}}
"""
YAML = {"content-type": "application/yaml"}


async def deployed(admin: httpx.AsyncClient) -> dict[str, Any]:
    answer = await admin.post("/api/v1/deployments", content=SHOP, headers=YAML)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def routes(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["clusters"]["shop"]["gateways"]["web"]["routes"]
    return found


async def test_a_posted_blueprint_is_deployed_under_its_name(admin: httpx.AsyncClient) -> None:
    assert (await deployed(admin))["name"] == "shop"
    listed = await admin.get("/api/v1/deployments")
    assert [each["name"] for each in listed.json()] == ["shop"]
    assert listed.headers["x-total-count"] == "1"


async def test_a_blueprint_without_a_name_gets_a_new_one(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/deployments", content=SHOP.partition("\n")[2], headers=YAML)
    assert answer.status_code == 202
    assert len(answer.json()["name"]) == 36


async def test_a_name_in_the_address_wins(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/deployments?name=other", content=SHOP, headers=YAML)
    assert answer.json()["name"] == "other"


async def test_a_second_deployment_of_that_name_is_a_conflict(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    answer = await admin.post("/api/v1/deployments", content=SHOP, headers=YAML)
    assert answer.status_code == 409
    assert "already" in answer.json()["message"]


async def test_validating_changes_nothing(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/deployments?validate_only=true", content=SHOP, headers=YAML)
    assert (answer.status_code, answer.json()["name"]) == (202, "shop")
    assert (await admin.get("/api/v1/deployments/shop")).status_code == 404


async def test_a_stored_blueprint_can_be_deployed_by_reference(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/api/v1/blueprints", content=SHOP, headers=YAML)).status_code == 201
    answer = await admin.put("/api/v1/deployments/shop", json={"ref": "shop"})
    assert (answer.status_code, answer.json()["kind"]) == (200, "deployments")


async def test_the_script_of_the_field_moves_a_session(admin: httpx.AsyncClient) -> None:
    """GET the deployment, set a route's condition, PUT it back."""
    await deployed(admin)
    deployment = (await admin.get("/api/v1/deployments/shop")).json()
    routes(deployment)["shop:1.0.0"]["condition"] = "cookie PHPSESSID has 4e1f0c"
    answer = await admin.put("/api/v1/deployments/shop", json=deployment)
    assert answer.status_code == 200, answer.text
    gateway = (await admin.get("/api/v1/gateways/shop/shop/web")).json()
    condition = gateway["routes"]["shop/shop/shop:1.0.0/web"]["condition"]["condition"]
    assert condition == "cookie PHPSESSID has 4e1f0c"


async def test_a_deployment_goes_through_yaml_and_back_unchanged(admin: httpx.AsyncClient) -> None:
    before = await deployed(admin)
    text = (await admin.get("/api/v1/deployments/shop", headers={"accept": "application/yaml"})).text
    answer = await admin.put("/api/v1/deployments/shop", content=text, headers=YAML)
    assert answer.json() == before


async def test_a_put_blueprint_is_merged(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    answer = await admin.put(
        "/api/v1/deployments/shop", content=ONLY_OLD.replace("1.1.0", "1.2.0"), headers=YAML
    )
    assert answer.status_code == 200
    assert set(routes(answer.json())) == {"shop:1.0.0", "shop:1.1.0", "shop:1.2.0"}
    assert routes(answer.json())["shop:1.2.0"]["weight"] == "0%"


async def test_a_refused_change_names_line_and_column_and_changes_nothing(admin: httpx.AsyncClient) -> None:
    before = await deployed(admin)
    text = (await admin.get("/api/v1/deployments/shop", headers={"accept": "text/yaml"})).text
    bad = text.replace("weight: 100%", "weight: 90%", 1)
    answer = await admin.put("/api/v1/deployments/shop", content=bad, headers=YAML)
    assert answer.status_code == 400, answer.text
    assert answer.json()["source"] == "request body"
    assert answer.json()["line"] > 1
    assert (await admin.get("/api/v1/deployments/shop")).json() == before


async def test_a_bad_blueprint_names_line_column_and_what_was_expected(admin: httpx.AsyncClient) -> None:
    bad = SHOP.replace("weight: 100%", "wieght: 100%")
    problem = (await admin.post("/api/v1/deployments", content=bad, headers=YAML)).json()
    assert (problem["line"], problem["column"]) == (12, 22)
    assert problem["expected"] == "'weight'"


async def test_services_are_removed_by_a_blueprint(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    text = ONLY_OLD.replace("1.1.0", "1.2.0")
    await admin.put("/api/v1/deployments/shop", content=text, headers=YAML)
    answer = await admin.request("DELETE", "/api/v1/deployments/shop", content=text, headers=YAML)
    assert answer.status_code == 202
    assert set(routes(answer.json())) == {"shop:1.0.0", "shop:1.1.0"}


async def test_a_service_that_carries_traffic_is_not_removed(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    answer = await admin.request("DELETE", "/api/v1/deployments/shop", content=ONLY_OLD, headers=YAML)
    assert answer.status_code == 409


async def test_removing_every_service_ends_the_deployment(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    answer = await admin.request("DELETE", "/api/v1/deployments/shop", content=SHOP, headers=YAML)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await admin.get("/api/v1/deployments/shop")).status_code == 404


async def test_an_empty_delete_deletes_nothing(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    assert (await admin.delete("/api/v1/deployments/shop")).status_code == 400
    assert (await admin.get("/api/v1/deployments/shop")).status_code == 200


async def test_everything_is_undeployed_when_asked_for(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    assert (await admin.delete("/api/v1/deployments/shop?all=true&validate_only=true")).status_code == 204
    assert (await admin.delete("/api/v1/deployments/shop?all=true")).status_code == 204
    assert (await admin.get("/api/v1/deployments")).json() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{kind: deployments, clusters: {}}", True),
        ("{kind: deployment}", True),
        ("{kind: blueprints, ports: {}}", False),
        ("{name: x, ports: {}}", True),
        ("{name: x, hosts: {}}", True),
        ("{clusters: {a: {services: [{breed: b, status: {}}]}}}", True),
        ("{clusters: {a: {services: {breed: b, status: {}}}}}", True),
        ("{clusters: {a: {services: [{breed: b}]}}}", False),
        ("{clusters: a}", False),
        ("[]", False),
        ("x", False),
    ],
)
def test_a_deployment_is_told_from_a_blueprint(text: str, expected: bool) -> None:
    assert is_deployment(parse_documents(text, "t")[0]) is expected


# --- gateways ---------------------------------------------------------------------------------------------


async def test_gateways_are_listed_with_their_paths(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    names = [each["name"] for each in (await admin.get("/api/v1/gateways")).json()]
    assert set(names) == {"shop/shop/web", "shop/9051"}


@pytest.mark.parametrize("path", ["shop/shop/web", "shop%2Fshop%2Fweb"])
async def test_a_gateway_is_found_by_its_path_encoded_or_not(path: str, admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    assert (await admin.get(f"/api/v1/gateways/{path}")).json()["name"] == "shop/shop/web"


async def test_weights_are_changed_by_a_put(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    body = {"routes": {"shop:1.0.0": {"weight": "40%"}, "shop:1.1.0": {"weight": "60%"}}}
    answer = await admin.put("/api/v1/gateways/shop/shop/web", json=body)
    assert answer.status_code == 200, answer.text
    deployment = (await admin.get("/api/v1/deployments/shop")).json()
    assert [route["weight"] for route in routes(deployment).values()] == ["40%", "60%"]


async def test_a_bad_condition_in_a_put_is_located(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    body = "routes:\n  shop:1.0.0:\n    condition: user-agent ~ x\n  shop:1.1.0: {weight: 100%}\n"
    answer = await admin.put("/api/v1/gateways/shop/shop/web", content=body, headers=YAML)
    assert answer.status_code == 400
    assert answer.json()["line"] == 3


async def test_a_gateway_of_its_own_lives_and_dies(admin: httpx.AsyncClient) -> None:
    body = {"name": "side", "port": "9060", "routes": {"[127.0.0.1:9]": {"weight": "100%"}}}
    created = await admin.post("/api/v1/gateways", json=body)
    assert created.status_code == 202, created.text
    assert (await admin.get("/api/v1/gateways/side")).json()["port"] == "9060/http"
    assert (await admin.delete("/api/v1/gateways/side")).status_code == 204
    assert (await admin.get("/api/v1/gateways/side")).status_code == 404


async def test_a_deployments_gateway_cannot_be_closed_alone(admin: httpx.AsyncClient) -> None:
    await deployed(admin)
    assert (await admin.delete("/api/v1/gateways/shop/shop/web")).status_code == 409
