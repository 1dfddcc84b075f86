"""What waits to be delivered, through the API, over a real broker; nothing is delivered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.api.conftest import NOW, Stack

from divertor.alerts import Outbox
from divertor.alerts.lanes import Lane
from divertor.alerts.outbox import Parcel
from divertor.bus import State
from divertor.model.events import Event
from divertor.rules import Notification, backtest, load_rule

pytestmark = pytest.mark.anyio

API = "/api/v1"
RULE = "name: many\ntype: any\nindex: logs\nalert: post\nhttp_post_url: http://hooks.example/s3cret\n"


@pytest.fixture
async def waiting(stack: Stack) -> AsyncIterator[list[str]]:
    """Three deliveries: two of the rule `many` (one of them failed twice), one of a rule that is gone. Their
    ids.
    """
    rules: Any = stack.services.rules
    await rules.put("many", RULE, "tests")
    outbox = Outbox(State(stack.feed.bus), "worker-1", lambda: NOW.timestamp())
    parcels = [
        _parcel("a" * 32, "many", 1, attempts=2),
        _parcel("b" * 32, "many", 2),
        _parcel("c" * 32, "old", 3),
    ]
    await outbox.put(parcels)
    running = asyncio.create_task(rules.dispatcher.run())
    await rules.dispatcher.synced()
    yield [parcel.key for parcel in parcels]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _parcel(key: str, rule: str, seq: int, attempts: int = 0) -> Parcel:
    made = load_rule(RULE.replace("many", rule), "r.yaml")
    (match,) = backtest(made, [Event(f"e{seq}", "log", NOW, NOW, ("logs",))])
    due = NOW.timestamp() + 60 * seq
    error = "the service is \x1b down" if attempts else ""
    lane = Lane(rule, 0, "post", 0)
    return Parcel(key, lane, (seq, 0), Notification.of(match), due, attempts, error, holder="worker-1")


async def test_what_waits_is_listed_with_why(admin: httpx.AsyncClient, waiting: list[str]) -> None:
    answer = await admin.get(f"{API}/alerts")
    assert answer.headers["x-total-count"] == "3"
    first = answer.json()[0]
    assert [each["id"] for each in answer.json()] == waiting
    assert (first["rule"], first["alerter"], first["attempts"]) == ("many", "post", 2)
    assert (first["state"], first["error"]) == ("failing", "the service is \x1b down")
    assert (
        first["created"] == "2026-01-31T12:00:00.000000Z" and first["until"] == "2026-02-02T12:00:00.000000Z"
    )
    assert first["next_try"] == "2026-01-31T12:01:00.000000Z"


async def test_messages_of_a_removed_rule_say_so(admin: httpx.AsyncClient, waiting: list[str]) -> None:
    assert (await admin.delete(f"{API}/rules/many")).status_code == 204
    found = (await admin.get(f"{API}/alerts")).json()
    assert [(each["rule_gone"], each["until"]) for each in found] == [(True, None)] * 3


@pytest.mark.parametrize(
    "query, count",
    [
        ("?rule=many", 2),
        ("?alerter=post", 3),
        ("?alerter=slack", 0),
        ("?state=failing", 1),
        ("?state=waiting&rule=many", 1),
        ("?per_page=1&page=2", 1),
        ("?alarm=nothing", 0),
    ],
)
async def test_what_waits_is_narrowed_down(
    admin: httpx.AsyncClient, waiting: list[str], query: str, count: int
) -> None:
    assert len((await admin.get(f"{API}/alerts{query}")).json()) == count


async def test_one_is_dropped_and_it_is_told_who_did_it(
    stack: Stack, admin: httpx.AsyncClient, waiting: list[str]
) -> None:
    assert (await admin.delete(f"{API}/alerts/{waiting[0]}")).status_code == 204
    assert (await admin.get(f"{API}/alerts/{waiting[0]}")).status_code == 404
    assert (await admin.delete(f"{API}/alerts/{waiting[0]}")).status_code == 404
    (event,) = (await admin.get(f"{API}/events?tags=archiving:drop")).json()
    assert event["body"]["message"] == f"admin dropped the alert {waiting[0]}"
    assert event["body"]["revision"]["first"][0]["rule"] == "many"


async def test_all_of_a_rule_are_dropped_at_once(admin: httpx.AsyncClient, waiting: list[str]) -> None:
    answer = await admin.delete(f"{API}/alerts?rule=many")
    assert answer.json() == {"dropped": 2, "left": 0}
    assert [each["rule"] for each in (await admin.get(f"{API}/alerts")).json()] == ["old"]
    (event,) = (await admin.get(f"{API}/events?tags=archiving:drop")).json()
    assert (
        event["body"]["message"] == "admin dropped 2 alerts: rule many"
        and event["body"]["revision"]["count"] == 2
    )


async def test_nothing_is_dropped_when_it_is_not_said_what(
    admin: httpx.AsyncClient, waiting: list[str]
) -> None:
    refused = await admin.delete(f"{API}/alerts")
    assert refused.status_code == 400 and "all=true" in refused.json()["expected"]
    assert (await admin.post(f"{API}/alerts/retry")).status_code == 400
    assert (await admin.delete(f"{API}/alerts?all=true")).json() == {"dropped": 3, "left": 0}


async def test_one_is_tried_now(admin: httpx.AsyncClient, waiting: list[str]) -> None:
    answer = await admin.post(f"{API}/alerts/{waiting[1]}/retry")
    assert answer.json()["next_try"] == "2026-01-31T12:00:00.000000Z"
    (event,) = (await admin.get(f"{API}/events?tags=archiving:retry")).json()
    assert event["body"]["message"] == f"admin retried the alert {waiting[1]}"


async def test_all_of_an_alerter_are_tried_now(admin: httpx.AsyncClient, waiting: list[str]) -> None:
    assert (await admin.post(f"{API}/alerts/retry?alerter=post")).json() == {"retried": 3, "left": 0}
    found = (await admin.get(f"{API}/alerts")).json()
    assert {each["next_try"] for each in found} == {"2026-01-31T12:00:00.000000Z"}


async def test_what_waits_is_not_known_before_it_was_read(admin: httpx.AsyncClient) -> None:
    assert (await admin.get(f"{API}/alerts")).status_code == 503


async def test_nobody_sees_what_waits_without_a_token(stack: Stack) -> None:
    async with stack.client("") as nobody, stack.client(stack.ingest) as sensor:
        assert (await nobody.get(f"{API}/alerts")).status_code == 401
        assert (await sensor.get(f"{API}/alerts")).status_code == 403
        assert (await sensor.delete(f"{API}/alerts?all=true")).status_code == 403
