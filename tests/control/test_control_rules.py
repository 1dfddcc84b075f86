"""Rules at work on a real stream: an event is judged when it arrives, and none is missed across a restart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from divertor.alerts.contract import Alerter, Delivery, DeliveryError
from divertor.alerts.isolate import Isolate
from divertor.bus import Bus, State
from divertor.control.rulebook import KIND
from divertor.control.rules import Rules
from divertor.errors import ConflictError, InputError, NotFoundError
from divertor.model.events import Event
from divertor.rules import IsolateOptions, Match
from divertor.store import EventStore

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANY = "name: every\ntype: any\nindex: logs\nalert: debug\nrealert: {minutes: 0}\n"


def event(number: int, **body: Any) -> Event:
    return Event(f"e{number}", "log", NOW, NOW, ("logs",), (), None, {"n": number, **body})


class Pager:
    """An alerter that keeps what it delivers; `down`: it fails for good."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.down = False

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        if self.down:
            raise DeliveryError("nobody answers", again=False)
        self.delivered.append(delivery.notification.first.event_id)


@dataclass
class Watch:
    rules: Rules
    bus: Bus
    state: State
    pager: Pager
    told: list[Event]
    isolated: list[str]


@asynccontextmanager
async def watch(broker: Any, tmp_path: Path, folder: Path | None = None) -> AsyncIterator[Watch]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    store = await EventStore.open(tmp_path / "events.duckdb")
    pager, told, state = Pager(), list[Event](), State(bus)

    async def publish(events: list[Event]) -> None:
        told.extend(events)

    async def isolate(match: Match, options: IsolateOptions) -> None:
        isolated.append(match.event_id)

    isolated = list[str]()
    alerters: dict[str, Alerter] = {"debug": pager, "isolate": Isolate(isolate)}
    rules = Rules(
        state,
        bus,
        store,
        alerters,
        publish,
        isolate,
        lambda: datetime.now(UTC),
        folder=tmp_path / "checkpoints",
    )
    await rules.load(folder)
    running = asyncio.create_task(rules.run())
    try:
        await rules.worker.started()
        yield Watch(rules, bus, state, pager, told, isolated)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
        await bus.close()


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while True:
            if check():
                return
            await asyncio.sleep(0.02)


async def judged(here: Watch) -> None:
    """Until everything was judged that was published."""
    last = (await here.bus.position()).last
    await until(lambda: here.rules.worker.judge.seq >= last)


async def test_an_event_is_judged_when_it_arrives(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.bus.publish([event(1)])
        await until(lambda: here.pager.delivered == ["e1"])
        await until(lambda: any(each.type == "alert" for each in here.told))
        assert here.rules.get("every").matches == 1 and here.rules.get("every").error == ""


async def test_what_arrived_while_it_was_away_is_judged_afterwards(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.bus.publish([event(1)])
        await until(lambda: here.pager.delivered == ["e1"])
    bus = await Bus.connect(broker.url, broker.password, "test")
    await bus.publish([event(number) for number in (2, 3)])
    await bus.close()
    async with watch(broker, tmp_path) as again:
        await until(lambda: again.pager.delivered == ["e2", "e3"])


async def test_a_rule_on_trial_does_nothing_and_that_is_recorded(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY + "dry_run: true\n", "me")
        await here.rules.put(
            "also", ANY.replace("every", "also").replace("debug", "isolate") + "dry_run: on\n", "me"
        )
        await here.rules.react([event(1)])
        await here.bus.publish([event(1)])
        await until(lambda: len([each for each in here.told if each.type == "alert"]) == 2)
        assert here.pager.delivered == [] == here.isolated
        told = [each for each in here.told if each.type == "alert"]
        assert all(each.get("alert.dry_run") and each.get("alert.attempts") == 0 for each in told)
        assert here.rules.get("every").matches == 1


def alerts_of(here: Watch) -> list[Event]:
    return [each for each in here.told if each.type == "alert"]


async def test_a_rule_that_looks_at_everything_is_not_told_of_its_own_alerts_for_ever(
    broker: Any, tmp_path: Path
) -> None:
    text = "name: all\ntype: any\nindex: _all\nrealert: {minutes: 0}\nalert: debug\n"
    async with watch(broker, tmp_path) as here:
        await here.rules.put("all", text, "me")
        await here.bus.publish([event(1)])
        for depth in range(3):
            await until(lambda: len(alerts_of(here)) > depth)  # noqa: B023
            await here.bus.publish([alerts_of(here)[depth]])
        await until(lambda: len(here.pager.delivered) == 4)
        await here.bus.publish([event(2)])  # what is told of it comes after all that is told of the others
        await until(lambda: len(alerts_of(here)) > 3)
        assert [each.get("alert.depth") for each in alerts_of(here)] == [1, 2, 3, 1]


async def test_a_failed_alert_is_told(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        here.pager.down = True
        await here.rules.put("every", ANY, "me")
        await here.bus.publish([event(1)])
        await until(lambda: here.rules.get("every").error)
        assert "nobody answers" in here.rules.get("every").error


async def test_a_rule_that_is_not_understood_changes_nothing(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        with pytest.raises(InputError):
            await here.rules.put("every", "name: every\ntype: nonsense\n", "me")
        with pytest.raises(ConflictError):
            await here.rules.put("other", ANY, "me")
        assert [status.rule.name for status in here.rules.list()] == ["every"]
        assert (await here.state.list(KIND))["every"].value == {"text": ANY}


async def test_a_deleted_rule_judges_no_more(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.rules.delete("every", "me")
        await here.bus.publish([event(1)])
        await judged(here)
        assert here.pager.delivered == [] and await here.state.list(KIND) == {}
        with pytest.raises(NotFoundError):
            await here.rules.delete("every", "me")


async def test_files_go_before_what_is_stored(broker: Any, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "every.yaml").write_text(ANY.replace("logs", "other"))
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.rules.put("second", ANY.replace("every", "second"), "me")
    async with watch(broker, tmp_path, folder) as again:
        assert [status.rule.name for status in again.rules.list()] == ["every", "second"]
        await again.bus.publish([event(1)])
        await until(lambda: again.pager.delivered)
        assert again.rules.get("every").matches == 0 and again.rules.get("second").matches == 1


async def test_a_rule_in_a_file_is_changed_there_only(broker: Any, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "every.yaml").write_text(ANY)
    async with watch(broker, tmp_path, folder) as here:
        with pytest.raises(ConflictError, match=r"every\.yaml"):
            await here.rules.put("every", ANY.replace("logs", "other"), "me")
        with pytest.raises(ConflictError, match=r"every\.yaml"):
            await here.rules.delete("every", "me")
        assert here.rules.get("every").rule.index == ("logs",) and await here.state.list(KIND) == {}


async def test_a_rule_that_is_stored_reads_no_list_from_a_file(broker: Any, tmp_path: Path) -> None:
    listed = ANY.replace("type: any", "type: blacklist\ncompare_key: x\nblacklist: ['!file /etc/passwd']")
    async with watch(broker, tmp_path) as here:
        with pytest.raises(InputError, match="only rule files"):
            await here.rules.put("every", listed, "me")
        assert here.rules.list() == []


async def test_a_killed_broker_costs_no_event(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.bus.publish([event(1)])
        await until(lambda: here.pager.delivered == ["e1"])
        broker.kill()
        broker.start()
        await here.bus.ready()
        await here.bus.publish([event(2)])
        await until(lambda: here.pager.delivered == ["e1", "e2"])


async def test_whom_a_rule_wants_isolated_is_isolated_before_the_event_is_stored(
    broker: Any, tmp_path: Path
) -> None:
    """Every one of them: a rule's `realert` silences messages, not isolations."""
    async with watch(broker, tmp_path) as seen:
        await seen.rules.put("iso", "name: iso\ntype: any\nindex: logs\nalert: isolate\n", "me")
        await seen.rules.react([event(1), event(2)])
        assert seen.isolated == ["e1", "e2"]


async def test_a_match_that_an_enhancement_drops_isolates_nobody(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DropMatchException(Exception):
        """Known by its name, as ElastAlert's own."""

    class Staff:
        def __init__(self, rule: Any) -> None: ...

        def process(self, match: dict[str, Any]) -> None:
            if match["n"] == 1:
                raise DropMatchException

    monkeypatch.setitem(sys.modules, "staff_only", SimpleNamespace(Staff=Staff))
    text = "name: iso\ntype: any\nindex: logs\nrealert: {minutes: 0}\nalert: isolate\n"
    async with watch(broker, tmp_path) as seen:
        await seen.rules.put("iso", text + "match_enhancements: [staff_only.Staff]\n", "me")
        await seen.rules.react([event(1), event(2)])
        await seen.bus.publish([event(1), event(2)])
        await until(lambda: seen.isolated)
        await judged(seen)
        assert seen.isolated == ["e2"]


async def test_only_rules_without_a_memory_react(broker: Any, tmp_path: Path) -> None:
    text = "name: f\ntype: frequency\nindex: logs\nnum_events: 1\ntimeframe: {hours: 1}\nalert: isolate\n"
    async with watch(broker, tmp_path) as seen:
        await seen.rules.put("f", text, "me")
        await seen.rules.react([event(1)])
        assert seen.isolated == []
