"""`divertor rules backtest`: a rule over what is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from divertor.cli.backtest import of_api
from divertor.cli.main import app
from divertor.layout import Layout
from divertor.model.events import Event, format_time, parse_time
from divertor.store import EventStore
from divertor.store.history import Wanted

START = datetime(2026, 1, 1, tzinfo=UTC)
RULE = {
    "name": "silent", "type": "flatline", "index": "logs", "threshold": 1, "timeframe": {"minutes": 1},
    "alert": "debug", "realert": {"minutes": 10}, "filter": [{"term": {"user": "bob"}}],
}  # fmt: skip


def event(second: int, user: str = "bob") -> Event:
    time = START + timedelta(seconds=second)
    return Event(f"e{second}", "log", time, time, ("logs",), body={"user": user})


EVENTS = [
    *(event(second) for second in range(0, 120, 20)),
    *(event(second, "eve") for second in range(125, 400)),
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What a stack leaves when it is down."""

    async def fill() -> None:
        store = await EventStore.open(Layout(tmp_path / "state").events)
        await store.append(1, EVENTS)
        await store.close()

    asyncio.run(fill())
    return tmp_path / "state"


def run(folder: Path, *arguments: str, **options: object) -> Result:
    file = folder / "rule.json"
    file.write_text(json.dumps({**RULE, **options}))
    return CliRunner().invoke(app, ["rules", "backtest", str(file), *arguments])


def test_it_tells_when_a_rule_would_have_fired(state: Path) -> None:
    result = run(state.parent, "--state", str(state))
    assert result.exit_code == 0, result.output
    assert "1 alerts of" in result.stdout and "6 of 281 events pass the filter" in result.stdout


def test_json_gives_a_line_per_alert_and_the_totals(state: Path) -> None:
    alert, totals = map(json.loads, run(state.parent, "--state", str(state), "--json").stdout.splitlines())
    assert alert["rule"] == "silent" and parse_time(alert["time"]) > START + timedelta(seconds=100)
    assert (totals["alerts"], totals["hits"], totals["events"]) == (1, 6, 281)


def test_times_and_index_narrow_it(state: Path) -> None:
    until = format_time(START + timedelta(seconds=70))
    totals = json.loads(run(state.parent, "--state", str(state), "--until", until, "--json").stdout)
    assert (totals["alerts"], totals["hits"], totals["events"]) == (0, 4, 4)
    nowhere = json.loads(run(state.parent, "--state", str(state), "--index", "x*", "--json").stdout)
    assert nowhere["hits"] == 0


def test_a_file_of_events_needs_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(one.to_json()) for one in EVENTS))
    *_alerts, totals = run(tmp_path, "--events", str(path), "--json").stdout.splitlines()
    assert json.loads(totals)["hits"] == 6


def test_a_time_that_is_none_is_refused(state: Path) -> None:
    result = run(state.parent, "--state", str(state), "--since", "yesterday")
    assert result.exit_code != 0 and "ISO 8601" in result.output


class Answers:
    """The part of the API that is asked, over a list."""

    def __init__(self, events: list[Event]) -> None:
        self._events = sorted(events, key=lambda one: one.timestamp, reverse=True)

    def _found(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        since, until = params.get("since", ""), params.get("until", "9")
        found = [one.to_json() for one in self._events]
        return [one for one in found if since <= one["timestamp"] < until]

    def get(self, path: str, params: Mapping[str, Any]) -> Any:
        found = self._found(params)
        if "aggregator" in params:
            return {"value": len(found)}
        size = params["per_page"]
        return found[(params.get("page", 1) - 1) * size :][:size]

    def get_all(self, path: str, params: Mapping[str, Any], limit: int) -> list[Any]:
        return self._found(params)[:limit]


def test_a_running_stack_is_asked_in_stretches_of_time() -> None:
    burst = [event(500)] * 1200
    events = [*EVENTS, *burst, event(5000)]
    found = [one for some, _passed in of_api(Answers(events), Wanted(("logs",))) for one in some]  # type: ignore[arg-type]
    assert [one.timestamp for one in found] == sorted(one.timestamp for one in events)
