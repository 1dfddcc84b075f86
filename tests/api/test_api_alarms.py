"""Alarms, acknowledgements, silences and mutes through the API, over a real broker."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.api.conftest import NOW, Stack

from divertor.rules import load_rule
from divertor.rules.types.contract import Hit

pytestmark = pytest.mark.anyio

API = "/api/v1"
YAML = {"content-type": "text/yaml"}
RULE = "name: every one\ntype: any\nindex: logs\nalert: debug\nquery_key: user\nseverity: high\n"
ZERO = round(NOW.timestamp()) * 1_000_000
SILENCE = {"rule": "login *", "fields": {"user": "backup"}, "for": "4h", "comment": "moving"}


def alarm(stack: Stack, key: str = "bob") -> str:
    """An alarm goes off; its id."""
    assert stack.alarms is not None
    hit = Hit(key, ZERO, f"cause of {key}")
    (verdict,) = stack.alarms.decide(load_rule(RULE, "r"), None, [hit], ZERO)
    return verdict.alarm


async def test_open_alarms_are_listed(stack: Stack, admin: httpx.AsyncClient) -> None:
    id = alarm(stack)
    (found,) = (await admin.get(f"{API}/alarms")).json()
    assert (found["id"], found["rule"], found["key"], found["severity"]) == (id, "every one", "bob", "high")
    assert (found["state"], found["matches"], found["acknowledged"]) == ("open", 1, None)
    assert (await admin.get(f"{API}/alarms/{id}")).json() == found


@pytest.mark.parametrize(
    "query, count",
    [
        ("", 2),
        ("?state=over", 0),
        ("?state=all&severity=high", 2),
        ("?severity=low", 0),
        ("?rule=other", 0),
        ("?per_page=1", 1),
    ],
)
async def test_alarms_are_narrowed_down(
    stack: Stack, admin: httpx.AsyncClient, query: str, count: int
) -> None:
    alarm(stack)
    alarm(stack, "eve")
    assert len((await admin.get(f"{API}/alarms{query}")).json()) == count


async def test_an_alarm_is_acknowledged_and_released(stack: Stack, admin: httpx.AsyncClient) -> None:
    path = f"{API}/alarms/{alarm(stack)}"
    answer = await admin.post(f"{path}/ack", json={"for": "4h", "comment": "mine"})
    assert answer.status_code == 200, answer.text
    ack = (await admin.get(path)).json()["acknowledged"]
    assert (ack["by"], ack["comment"], ack["until"]) == ("admin", "mine", "2026-01-31T16:00:00.000000Z")
    assert (await admin.delete(f"{path}/ack")).status_code == 204
    assert (await admin.get(path)).json()["acknowledged"] is None


async def test_an_acknowledgement_needs_no_body(stack: Stack, admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"{API}/alarms/{alarm(stack)}/ack")
    assert answer.json()["acknowledged"]["until"] is None


async def test_what_is_no_alarm_is_not_found(admin: httpx.AsyncClient) -> None:
    assert (await admin.get(f"{API}/alarms/nothing")).status_code == 404
    assert (await admin.post(f"{API}/alarms/nothing/ack")).status_code == 404
    assert (await admin.delete(f"{API}/alarms/nothing/ack")).status_code == 404


async def test_an_alarm_that_is_over_cannot_be_acknowledged(stack: Stack, admin: httpx.AsyncClient) -> None:
    id = alarm(stack)
    assert stack.alarms is not None
    list(stack.alarms.passed(load_rule(RULE, "r"), None, ZERO + 2 * 3_600_000_000))
    assert (await admin.post(f"{API}/alarms/{id}/ack")).status_code == 409
    assert (await admin.get(f"{API}/alarms?state=over")).json()[0]["state"] == "ended"


async def test_a_silence_lives_and_dies(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"{API}/silences", json=SILENCE)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["by"], made["state"], made["until"]) == ("admin", "active", "2026-01-31T16:00:00.000000Z")
    assert (await admin.get(f"{API}/silences")).json() == [made]
    assert (await admin.get(f"{API}/silences/{made['id']}")).json() == made
    assert (await admin.delete(f"{API}/silences/{made['id']}")).status_code == 204
    assert (await admin.delete(f"{API}/silences/{made['id']}")).status_code == 404
    assert (await admin.get(f"{API}/silences/{made['id']}")).status_code == 404


async def test_a_maintenance_window_waits_for_its_time(admin: httpx.AsyncClient) -> None:
    window = {"key": "10.*", "from": "2026-02-01T00:00:00Z", "until": "2026-02-01T04:00:00Z"}
    assert (await admin.post(f"{API}/silences", json=window)).json()["state"] == "waiting"


async def test_a_silence_may_come_back(admin: httpx.AsyncClient) -> None:
    again = {"rule": "*", "for": "forever", "cron": "0 12 * * sat", "zone": "UTC", "lasting": "4h"}
    made = (await admin.post(f"{API}/silences", json=again)).json()
    assert (made["until"], made["state"], made["lasting"]) == (None, "active", "4h")  # it is a Saturday


@pytest.mark.parametrize(
    "change, said",
    [
        ({"for": "0s"}, "more than 0s"),
        ({"for": None}, "without an end"),
        ({"until": "2027-01-01T00:00:00Z"}, "beside 'for'"),
        ({"for": None, "until": "2020-01-01T00:00:00Z"}, "over before it begins"),
        ({"for": None, "until": "soon"}, "no time"),
        ({"rule": None, "fields": None}, "a silence of everything"),
        ({"rul": "x"}, "unknown key 'rul'"),
        ({"cron": "* * * * *"}, "without 'lasting'"),
        ({"lasting": "4h"}, "without 'cron'"),
        ({"cron": "99 * * * *", "lasting": "4h"}, "no cron expression"),
        ({"cron": "* * * * *", "lasting": "4h", "zone": "Mars"}, "no time zone"),
        ({"fields": {}}, "no fields"),
        ({"comment": "x" * 1001}, "too long"),
    ],
)
async def test_a_silence_that_makes_no_sense_is_refused(
    admin: httpx.AsyncClient, change: dict[str, Any], said: str
) -> None:
    wanted = {name: value for name, value in (SILENCE | change).items() if value is not None}
    answer = await admin.post(f"{API}/silences", json=wanted)
    assert answer.status_code == 400
    told = answer.json()
    assert said in f"{told['message']} {told['expected']}" and told["line"] == 1


async def test_a_rule_is_muted_and_speaks_again(admin: httpx.AsyncClient) -> None:
    await admin.put(f"{API}/rules/every%20one", content=RULE, headers=YAML)
    path = f"{API}/rules/every%20one"
    muted = (await admin.post(f"{path}/mute", json={"for": "1h"})).json()
    assert (muted["rule"], muted["mute"]) == ("every one", True)
    longer = (await admin.post(f"{path}/mute")).json()
    assert (
        [each["until"] for each in (await admin.get(f"{API}/silences")).json()] == [longer["until"]] == [None]
    )
    assert (await admin.post(f"{path}/unmute")).status_code == 204
    assert (await admin.post(f"{path}/unmute")).status_code == 404


async def test_a_rule_that_is_not_there_cannot_be_muted(admin: httpx.AsyncClient) -> None:
    assert (await admin.post(f"{API}/rules/nothing/mute")).status_code == 404


async def test_who_silenced_what_is_an_event(stack: Stack, admin: httpx.AsyncClient) -> None:
    made = (await admin.post(f"{API}/silences", json=SILENCE)).json()
    (event,) = (await admin.get(f"{API}/events?type=archive&tags=silences:{made['id']}")).json()
    assert event["body"]["message"] == f"admin created silence {made['id']}"
    assert event["body"]["revision"]["comment"] == "moving"


async def test_an_ingest_token_may_not_silence(stack: Stack) -> None:
    async with stack.client(stack.ingest) as sensor:
        assert (await sensor.post(f"{API}/silences", json=SILENCE)).status_code == 403
        assert (await sensor.get(f"{API}/alarms")).status_code == 403


async def test_yaml_is_understood_as_well(admin: httpx.AsyncClient) -> None:
    text = f"rule: a\nfor: {timedelta(hours=1).total_seconds():g}s\nfields: {json.dumps({'n': '1'})}\n"
    answer = await admin.post(f"{API}/silences", content=text, headers=YAML)
    assert answer.status_code == 201 and answer.json()["fields"] == {"n": "1"}
