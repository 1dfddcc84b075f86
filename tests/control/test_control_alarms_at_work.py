"""Silences, mutes and acknowledgements on a real stream, with a real engine and outbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.control.test_control_rules import ANY, NOW, Watch, event, judged, until, watch

from divertor.control.alarms import AlarmControl

pytestmark = pytest.mark.anyio

ISOLATING = ANY.replace("alert: debug", "alert: [debug, isolate]")


def control(here: Watch) -> AlarmControl:
    async def publish(events: list[Any]) -> None:
        """Told elsewhere."""

    return AlarmControl(here.state, here.rules.alarms, here.rules.get, publish, lambda: NOW)


async def says(here: Watch, check: Callable[[Any], Any]) -> None:
    """Until the engine knows what people said."""
    await until(lambda: check(here.rules.engine.alarms.controls))


async def test_a_muted_rule_goes_on_isolating_and_speaks_again_later(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ISOLATING, "me")
        await control(here).mute("every", None, "me", "")
        await says(here, lambda said: said.silences)
        await here.bus.publish([event(1)])
        await until(lambda: here.isolated == ["e1"])
        await control(here).unmute("every", "me")
        await says(here, lambda said: not said.silences)
        await here.bus.publish([event(2)])
        await until(lambda: here.pager.delivered == ["e2"])


async def test_an_acknowledged_alarm_is_quiet_after_a_restart_too(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", ANY, "me")
        await here.bus.publish([event(1)])
        await until(lambda: here.pager.delivered == ["e1"])
        (shown,), _ = await control(here).list()
        await control(here).acknowledge(shown.alarm.id, None, "me", "")
    async with watch(broker, tmp_path) as again:
        await again.bus.publish([event(2)])
        await judged(again)
        assert again.pager.delivered == []
        (shown,), _ = await control(again).list()
        assert shown.ack is not None and shown.alarm.suppressed == 1


async def test_an_alarm_that_is_over_is_told(broker: Any, tmp_path: Path) -> None:
    async with watch(broker, tmp_path) as here:
        await here.rules.put("every", f"{ANY}recovery: {{after: {{minutes: 1}}}}\n", "me")
        later = replace(event(2), indices=("other",), received=NOW + timedelta(minutes=2))
        await here.bus.publish([event(1), later])
        await until(lambda: here.pager.delivered == ["e1", "e1"])
        assert (await control(here).list())[1][0].alarm.resolved


async def test_what_reacts_at_once_isolates_out_of_hours_and_only_whom_it_should(
    broker: Any, tmp_path: Path
) -> None:
    async with watch(broker, tmp_path) as here:
        never = 'hours: {not: {from: "00:00", to: "24:00"}}\n'
        tier = "severity: [{level: high, when: {filter: [{term: {n: 1}}]}}]\n"
        only = (
            never + tier + ANY.replace("alert: debug", "alert: [debug, {isolate: {when: {severity: high}}}]")
        )
        await here.rules.put("every", only, "me")
        await here.rules.react([event(1), event(2)])
        assert here.isolated == ["e1"] and here.pager.delivered == []
