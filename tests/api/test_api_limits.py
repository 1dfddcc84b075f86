"""Rules that were stopped because they isolated too many: listed, and resumed."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_no_rule_is_stopped_at_first(stack: Any) -> None:
    async with stack.client() as client:
        answer = await client.get("/api/v1/stopped-rules")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_a_stopped_rule_is_listed_and_resumed(stack: Any) -> None:
    stack.services.limits._limiter.stopped["many, many"] = "more than 2 new isolations within a minute"
    async with stack.client() as client:
        (found,) = (await client.get("/api/v1/stopped-rules")).json()
        assert found == {"rule": "many, many", "why": "more than 2 new isolations within a minute"}
        assert (await client.delete("/api/v1/stopped-rules/many,%20many")).status_code == 204
        assert (await client.get("/api/v1/stopped-rules")).json() == []


async def test_a_rule_that_is_not_stopped_cannot_be_resumed(stack: Any) -> None:
    async with stack.client() as client:
        assert (await client.delete("/api/v1/stopped-rules/r")).status_code == 404
