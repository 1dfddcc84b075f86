"""The API's description, and the page that shows it without the internet."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_the_page_loads_nothing_from_elsewhere(bare: Any) -> None:
    async with bare.client(token="") as browser:
        page = await browser.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        files = [await browser.get(link) for link in links if not link.startswith("data:")]
    assert [each.status_code for each in files] == [200, 200, 200]
    assert all(link.startswith(("/docs/", "data:")) for link in links)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text


async def test_the_pages_files_have_their_types(bare: Any) -> None:
    async with bare.client(token="") as browser:
        types = {
            name: (await browser.get(f"/docs/{name}")).headers["content-type"].partition(";")[0]
            for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js")
        }
    assert list(types.values()) == ["text/css", "text/javascript", "text/javascript"]


@pytest.mark.parametrize("name", ["core.py", "..%2Fcore.py", "%2e%2e/core.py", "favicon.png"])
async def test_no_other_file_is_served(name: str, bare: Any) -> None:
    async with bare.client(token="") as browser:
        assert (await browser.get(f"/docs/{name}")).status_code in (401, 404)


async def test_every_operation_is_described(bare: Any) -> None:
    async with bare.client(token="") as browser:
        description = (await browser.get("/openapi.json")).json()
    operations = [each for path in description["paths"].values() for each in path.values()]
    assert len(operations) == 86
    tags = {tag["name"] for tag in description["tags"]}
    for operation in operations:
        assert operation["summary"]
        assert len(operation["tags"]) == 1 and set(operation["tags"]) <= tags
        assert not {"422"} & operation["responses"].keys()
    assert len({operation["operationId"] for operation in operations}) == 86


async def test_every_error_has_the_one_shape(bare: Any) -> None:
    paths = bare.app.openapi()["paths"]
    shapes = {
        response["content"]["application/json"]["schema"]["$ref"]
        for path in paths.values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if not status.startswith("2")
    }
    assert shapes == {"#/components/schemas/Error"}


async def test_the_token_is_described_and_health_needs_none(bare: Any) -> None:
    description = bare.app.openapi()
    assert description["security"] == [{"token": []}]
    assert description["paths"]["/api/v1/health"]["get"]["security"] == []
