"""Rules through the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

YAML = {"content-type": "text/yaml"}
RULE = """\
# every detection, said once
name: every detection
type: any
index: bitsensor
filter:
  - exists: {field: detections.type}
alert: debug
"""
PATH = "/api/v1/rules/every%20detection"


async def test_a_rule_lives_and_dies(admin: httpx.AsyncClient) -> None:
    stored = await admin.put(PATH, content=RULE, headers=YAML)
    assert stored.status_code == 200, stored.text
    found = (await admin.get(PATH)).json()
    assert found == stored.json()
    assert (found["type"], found["alerts"], found["matches"], found["error"]) == ("any", ["debug"], 0, "")
    assert [each["name"] for each in (await admin.get("/api/v1/rules")).json()] == ["every detection"]
    assert (await admin.delete(PATH)).status_code == 204
    assert (await admin.get(PATH)).status_code == 404


async def test_the_file_itself_is_kept_and_given_back(admin: httpx.AsyncClient) -> None:
    await admin.put(PATH, content=RULE, headers=YAML)
    answer = await admin.get(PATH, headers={"accept": "application/yaml"})
    assert answer.text == RULE


async def test_a_bad_rule_is_refused_with_its_place_and_the_old_one_stays(admin: httpx.AsyncClient) -> None:
    await admin.put(PATH, content=RULE, headers=YAML)
    answer = await admin.put(PATH, content=RULE.replace("alert:", "alret:"), headers=YAML)
    assert answer.status_code == 400
    assert (answer.json()["source"], answer.json()["line"]) == ("request body", 7)
    assert (await admin.get(PATH)).json()["text"] == RULE


async def test_validating_stores_nothing(admin: httpx.AsyncClient) -> None:
    answer = await admin.put(f"{PATH}?validate_only=true", content=RULE, headers=YAML)
    assert (answer.status_code, answer.json()["name"]) == (200, "every detection")
    assert (await admin.get("/api/v1/rules")).json() == []


async def test_a_rule_of_another_name_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/api/v1/rules/other", content=RULE, headers=YAML)
    assert answer.status_code == 400
    assert "every detection" in answer.json()["message"]


async def test_a_rule_without_a_name_has_the_addresss(admin: httpx.AsyncClient) -> None:
    text = RULE.replace("name: every detection\n", "")
    assert (await admin.put("/api/v1/rules/loud", content=text, headers=YAML)).json()["name"] == "loud"


async def test_removing_no_rule_is_not_found(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete("/api/v1/rules/x")).status_code == 404


@pytest.mark.parametrize(
    "silence, expected",
    [
        ({"rule": "many*", "for": "4h"}, (False, False, "2026-01-31T16:00:00.000000Z")),
        ({"rule": "*", "key": "10.*", "for": "forever"}, (False, True, None)),
        ({"rule": "other", "for": "4h"}, None),
        ({"rule": "many", "from": "2026-02-01T00:00:00Z", "for": "4h"}, None),
    ],
)
async def test_a_rule_says_what_keeps_it_quiet(
    admin: httpx.AsyncClient, silence: dict[str, str], expected: tuple[Any, ...] | None
) -> None:
    rule = "name: many probes\ntype: any\nindex: logs\nalert: debug\n"
    await admin.put("/api/v1/rules/many probes", content=rule, headers=YAML)
    assert (await admin.post("/api/v1/silences", json=silence)).status_code == 201
    (listed,) = (await admin.get("/api/v1/rules")).json()
    found = listed["silenced"]
    assert (found and (found["mute"], found["partly"], found["until"])) == expected
    assert (await admin.get("/api/v1/rules/many probes")).json() == listed


async def test_a_mute_goes_before_a_silence_of_some_matches(admin: httpx.AsyncClient) -> None:
    rule = "name: many\ntype: any\nindex: logs\nalert: debug\n"
    await admin.put("/api/v1/rules/many", content=rule, headers=YAML)
    await admin.post("/api/v1/silences", json={"rule": "*", "key": "x", "for": "forever"})
    await admin.post("/api/v1/rules/many/mute", json={"for": "1h"})
    (found,) = (await admin.get("/api/v1/rules")).json()
    assert found["silenced"]["mute"] and found["silenced"]["by"] == "admin"


async def test_rules_are_listed_while_the_broker_is_away(
    admin: httpx.AsyncClient, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("divertor.bus.state.LIST_PATIENCE", 0.1)
    await admin.put(PATH, content=RULE, headers=YAML)
    broker.kill()
    listed = await admin.get("/api/v1/rules")
    assert listed.status_code == 200, listed.text
    assert [(each["name"], each["silences_known"]) for each in listed.json()] == [("every detection", False)]
