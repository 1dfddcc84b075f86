"""What people say about alarms, kept in a real broker and followed by whoever judges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.bus import Bus, State
from divertor.control import alarms as controlled
from divertor.control.alarms import ACKS, SILENCES, AlarmControl, Overview, follow, report, reported
from divertor.errors import ConflictError, NotFoundError
from divertor.model.events import Event
from divertor.rules import Rule, load_rule
from divertor.rules.alarms import Alarms, Silence
from divertor.rules.types.contract import Hit

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ZERO = round(NOW.timestamp()) * 1_000_000
RULE = load_rule(
    "name: many\ntype: any\nindex: logs\nalert: debug\nquery_key: user\nrealert: {minutes: 0}\n", "r"
)


@dataclass
class Here:
    control: AlarmControl
    state: State
    alarms: Alarms = field(default_factory=Alarms)
    told: list[Event] = field(default_factory=list)
    now: datetime = NOW

    def fires(self, key: str) -> str:
        """A match of that key; the alarm's id, empty when nobody is told."""
        at = ZERO + (self.now - NOW) // timedelta(microseconds=1)
        found = self.alarms.decide(RULE, None, [Hit(key, at, f"{key}{at}")], at)
        return found[0].alarm if found else ""


@asynccontextmanager
async def world(broker: Any) -> AsyncIterator[Here]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    state = State(bus)

    async def overview() -> Overview:
        return Overview.of(here.alarms)

    async def publish(events: list[Event]) -> None:
        here.told.extend(events)

    def rule(name: str) -> Rule:
        if name != "many":
            raise NotFoundError(name)
        return RULE

    here = Here(AlarmControl(state, overview, rule, publish, lambda: here.now), state)
    following = asyncio.create_task(follow(state, lambda said: here.alarms.control(said)))
    try:
        yield here
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await bus.close()


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


async def test_a_silence_reaches_whoever_judges(broker: Any) -> None:
    async with world(broker) as here:
        made = await here.control.silence(Silence(id="", rule="m*", key="bob"), "me")
        await until(lambda: here.alarms.controls.silences)
        assert not here.fires("bob") and here.fires("eve")
        found, suppressed = await here.control.silences()
        assert ([each.id for each in found], suppressed) == ([made.id], {made.id: 1})


async def test_a_silence_that_is_removed_holds_back_nothing(broker: Any) -> None:
    async with world(broker) as here:
        made = await here.control.silence(Silence(id=""), "me")
        await until(lambda: here.alarms.controls.silences)
        await here.control.unsilence(made.id, "me")
        await until(lambda: not here.alarms.controls.silences)
        assert here.fires("bob")


async def test_what_was_said_holds_after_a_restart(broker: Any) -> None:
    async with world(broker) as here:
        await here.control.mute("many", None, "me", "broken")
    async with world(broker) as again:
        await until(lambda: again.alarms.controls.silences)
        assert not again.fires("bob")
        await again.control.unmute("many", "me")


async def test_an_acknowledged_alarm_is_quiet(broker: Any) -> None:
    async with world(broker) as here:
        alarm = here.fires("bob")
        shown = await here.control.acknowledge(alarm, None, "me", "mine")
        assert shown.ack and shown.ack.by == "me"
        await until(lambda: here.alarms.controls.acks)
        here.now += timedelta(seconds=1)
        assert not here.fires("bob")


async def test_silences_that_are_over_are_removed(broker: Any) -> None:
    async with world(broker) as here:
        await here.control.silence(Silence(id="", end=ZERO + 60_000_000), "me")
        kept = await here.control.silence(Silence(id=""), "me")
        here.now += timedelta(minutes=1)
        assert [each.id for each in (await here.control.silences())[0]] == [kept.id]
        await here.control.sweep()
        assert list(await here.state.list(SILENCES)) == [kept.id]


async def test_acknowledgements_end_with_their_alarms_or_their_time(broker: Any) -> None:
    async with world(broker) as here:
        alarms = {key: here.fires(key) for key in ("bob", "eve", "ann")}
        for key, hours in (("bob", 9), ("eve", 9), ("ann", 1)):
            await here.control.acknowledge(alarms[key], NOW + timedelta(hours=hours), "me", "")
        here.now += timedelta(minutes=90)
        for key in ("eve", "ann"):
            here.fires(key)
        list(here.alarms.passed(RULE, None, ZERO + 90 * 60_000_000))
        await here.control.sweep()
        assert list(await here.state.list(ACKS)) == [alarms["eve"]]


async def test_an_alarm_that_is_over_cannot_be_acknowledged(broker: Any) -> None:
    async with world(broker) as here:
        alarm = here.fires("bob")
        list(here.alarms.passed(RULE, None, ZERO + 2 * 3_600_000_000))
        with pytest.raises(ConflictError):
            await here.control.acknowledge(alarm, None, "me", "")


async def test_every_change_is_told_with_who_and_why(broker: Any) -> None:
    async with world(broker) as here:
        alarm = here.fires("bob")
        await here.control.acknowledge(alarm, None, "ann", "mine")
        await here.control.unacknowledge(alarm, "bob")
        await here.control.mute("many", None, "eve", "broken")
        await here.control.unmute("many", "eve")
        told = [event.body["message"] for event in here.told]
        assert told[:2] == [f"ann acknowledged alarm {alarm}", f"bob released alarm {alarm}"]
        assert [str(message).partition(" mute-")[0] for message in told[2:]] == [
            "eve created silence",
            "eve deleted silence",
        ]
        assert here.told[0].get("revision.comment") == "mine"


async def test_there_are_only_so_many_silences(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlled, "MAX_SILENCES", 1)
    async with world(broker) as here:
        await here.control.silence(Silence(id=""), "me")
        with pytest.raises(ConflictError, match="1 silences"):
            await here.control.silence(Silence(id=""), "me")


async def test_nonsense_in_the_state_is_left_out(broker: Any) -> None:
    async with world(broker) as here:
        await here.state.put(SILENCES, "bad", {"id": "bad"})
        await here.state.put(ACKS, "bad", {"alarm": 5})
        await here.control.silence(Silence(id=""), "me")
        await until(lambda: here.alarms.controls.silences)
        assert len(here.alarms.controls.silences) == 1 and here.alarms.controls.acks == {}


async def test_another_process_reads_what_the_judging_one_reports(broker: Any) -> None:
    async with world(broker) as here:
        assert await reported(here.state) == Overview()
        here.fires("bob")
        await report(here.state, Overview.of(here.alarms))
        assert await reported(here.state) == Overview.of(here.alarms)
