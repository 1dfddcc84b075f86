"""Matches before they are told, with a real store and real classes."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from divertor.control.enriching import PROBLEMS, Enriching
from divertor.model.events import Event
from divertor.rules import Match, Notification, backtest, load_rule
from divertor.store import EventStore

pytestmark = pytest.mark.anyio
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def event(number: int, **body: Any) -> Event:
    moment = MOMENT + timedelta(seconds=number)
    return Event(f"e{number}", "log", moment, moment, ("logs",), body=body)


def match(body: dict[str, Any], **options: Any) -> Match:
    least = {"name": "r", "type": "any", "index": "logs", "alert": "debug"}
    (found,) = backtest(load_rule(json.dumps({**least, **options}), "r.yaml"), [event(0, **body)])
    return found


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = """
class Fails:
    def __init__(self, rule): pass
    def process(self, match): raise RuntimeError("broken")

class DropMatchException(Exception): pass

class Drops:
    def __init__(self, rule): pass
    def process(self, match):
        if match.get("noise"): raise DropMatchException()
"""
    (tmp_path / "enriching_enhancements.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "enriching_enhancements", raising=False)
    return "enriching_enhancements"


async def test_values_are_counted_over_the_store(tmp_path: Path) -> None:
    store = await EventStore.open(tmp_path / "events.db")
    await store.append(1, [event(number, ip="ab"[number % 2]) for number in range(5)])
    found = match({"ip": "a"}, top_count_keys=["ip"])
    (told,) = await Enriching(store).told([Notification.of(found)])
    await store.close()
    assert told.first.document["top_events_ip"] == {"a": 3, "b": 2}
    assert told.id == found.id


async def test_counting_waits_until_the_event_is_stored(tmp_path: Path) -> None:
    store = await EventStore.open(tmp_path / "events.db")
    found = match({"ip": "a"}, top_count_keys=["ip"])
    telling = asyncio.create_task(Enriching(store).told([Notification.of(found)]))
    await store.get("e0")  # it was looked for, and was not there yet
    await store.append(1, [event(0, ip="a")])
    (told,) = await telling
    await store.close()
    assert told.first.document["top_events_ip"] == {"a": 1}


async def test_without_a_store_counts_are_left_out() -> None:
    found = match({}, top_count_keys=["ip"])
    assert await Enriching(None).told([Notification.of(found)]) == [Notification.of(found)]


async def test_a_failing_enhancement_is_said_in_the_match(users: str) -> None:
    found = match({"a": 1}, match_enhancements=[f"{users}.Fails"])
    (told,) = await Enriching(None).told([Notification.of(found)])
    assert told.first.document["a"] == 1 and "RuntimeError: broken" in told.first.document[PROBLEMS][0]


async def test_matches_that_are_dropped_leave_the_message(users: str) -> None:
    noise, signal = (match({"noise": one}, match_enhancements=[f"{users}.Drops"]) for one in (True, False))
    both = Notification("n", signal.rule, (noise, signal))
    assert [one.matches for one in await Enriching(None).told([both])] == [(signal,)]
    assert await Enriching(None).told([Notification.of(noise)]) == []


def test_enhancements_run_first_when_asked_to(users: str) -> None:
    options: dict[str, Any] = {"match_enhancements": [f"{users}.Drops"]}
    assert Enriching(None).found(match({"noise": 1}, **options)) is not None
    assert Enriching(None).found(match({"noise": 1}, run_enhancements_first=True, **options)) is None


def test_rule_parameters_are_in_the_match() -> None:
    found = Enriching(None).found(match({}, owner="me", include_rule_params_in_matches=["owner", "gone"]))
    assert found is not None
    assert (found.document["rule_param_owner"], found.document["rule_param_gone"]) == ("me", None)


async def test_discovers_address_is_where_alerters_look_for_it() -> None:
    found = match(
        {},
        generate_kibana_discover_url=True,
        kibana_discover_app_url="https://k/",
        kibana_discover_index_pattern_id="i",
    )
    (told,) = await Enriching(None).told([Notification.of(found)])
    assert told.first.document["kibana_discover_url"].startswith("https://k/?_g=%28")
