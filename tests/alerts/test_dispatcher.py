"""The dispatcher: order, independence, retries, bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from divertor.alerts import (
    Alerter,
    Deeds,
    DeliveryError,
    Dispatcher,
    Isolator,
    Outcome,
    Retry,
    new_client,
    standard_alerters,
)
from divertor.alerts.contract import Delivery
from divertor.errors import UnavailableError
from divertor.rules import IsolateOptions, Match
from divertor.rules.alerters import ALERTERS

Matches = Callable[..., Match]


class Scripted:
    """An alerter that fails as it is told, then succeeds, and notes what it did."""

    def __init__(self, *problems: Exception, gate: asyncio.Event | None = None) -> None:
        self.problems = list(problems)
        self.delivered: list[str] = []
        self.gate = gate
        self.arrived = asyncio.Event()

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.problems:
            raise self.problems.pop(0)
        self.delivered.append(delivery.notification.first.event_id)
        self.arrived.set()


class Desk:
    """A dispatcher whose pauses take no time, with everything it reported."""

    def __init__(self, alerters: Mapping[str, Alerter], **options: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.pauses: list[float] = []
        self.dispatcher = Dispatcher(alerters, self.outcomes.append, sleep=self._sleep, **options)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def ends(self) -> list[tuple[str, bool, int]]:
        return [(outcome.alert.name, outcome.ok, outcome.attempts) for outcome in self.outcomes]


def run(main: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(20):
            await main

    asyncio.run(within())


DOWN = DeliveryError("down", again=True)
BROKEN = DeliveryError("broken", again=False)


def test_a_failed_delivery_is_tried_again_with_growing_pauses(match: Matches) -> None:
    async def main() -> None:
        desk = Desk({"debug": Scripted(DOWN, DOWN, DOWN)})
        await desk.dispatcher.dispatch([match()])
        await desk.dispatcher.drain()
        assert desk.ends() == [("debug", True, 4)]
        assert desk.pauses == [1.0, 2.0, 4.0]

    run(main())


def test_attempts_are_bounded(match: Matches) -> None:
    async def main() -> None:
        desk = Desk({"debug": Scripted(*[DOWN] * 9)}, retry=Retry(attempts=3))
        await desk.dispatcher.dispatch([match()])
        await desk.dispatcher.drain()
        assert desk.ends() == [("debug", False, 3)] and desk.outcomes[0].error == "down"

    run(main())


def test_what_cannot_succeed_is_not_tried_again(match: Matches) -> None:
    async def main() -> None:
        desk = Desk({"debug": Scripted(BROKEN)})
        await desk.dispatcher.dispatch([match()])
        await desk.dispatcher.drain()
        assert desk.ends() == [("debug", False, 1)]

    run(main())


def test_one_alerter_that_hangs_does_not_delay_another(match: Matches) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        stuck, fine = Scripted(gate=gate), Scripted()
        desk = Desk({"post": stuck, "debug": fine})
        await desk.dispatcher.dispatch([match(alert=["post", "debug"], http_post_url="http://h/")])
        await fine.arrived.wait()
        await asyncio.sleep(0)
        assert desk.ends() == [("debug", True, 1)]
        gate.set()
        await desk.dispatcher.drain()
        assert desk.ends()[1:] == [("post", True, 1)]

    run(main())


def test_isolations_of_all_matches_are_in_effect_when_dispatch_returns(match: Matches) -> None:
    async def main() -> None:
        isolate, stuck = Scripted(), Scripted(gate=asyncio.Event())
        desk = Desk({"isolate": isolate, "debug": stuck})
        await desk.dispatcher.dispatch([match(alert=["debug", "isolate"])] * 2)
        assert len(isolate.delivered) == 2 and desk.ends() == [("isolate", True, 1)] * 2
        await desk.dispatcher.close(timeout=0)

    run(main())


def test_an_isolation_that_fails_is_tried_again_in_the_background(match: Matches) -> None:
    async def main() -> None:
        isolate = Scripted(DOWN, DOWN)
        desk = Desk({"isolate": isolate})
        await desk.dispatcher.dispatch([match(alert="isolate")])
        assert desk.ends() == []
        await desk.dispatcher.drain()
        assert desk.ends() == [("isolate", True, 3)]

    run(main())


def test_an_isolation_that_hangs_does_not_hold_the_next_event(match: Matches) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        desk = Desk({"isolate": Scripted(gate=gate)}, isolate_timeout=0.01)
        await desk.dispatcher.dispatch([match(alert="isolate")])
        gate.set()
        await desk.dispatcher.drain()
        assert desk.ends() == [("isolate", True, 2)]

    run(main())


def test_a_full_lane_drops_its_oldest_and_says_so(match: Matches) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        desk = Desk({"debug": Scripted(gate=gate)}, lane_size=2)
        await desk.dispatcher.dispatch([match() for _ in range(4)])
        assert [(one.ok, one.attempts) for one in desk.outcomes] == [(False, 0)] * 2
        assert "more than 2" in desk.outcomes[0].error
        gate.set()
        await desk.dispatcher.drain()
        assert len(desk.outcomes) == 4

    run(main())


def test_closing_reports_what_was_not_delivered(match: Matches) -> None:
    async def main() -> None:
        desk = Desk({"debug": Scripted(gate=asyncio.Event())})
        await desk.dispatcher.dispatch([match(), match()])
        await asyncio.sleep(0)
        await desk.dispatcher.close(timeout=0.01)
        await desk.dispatcher.dispatch([match()])
        assert [outcome.ok for outcome in desk.outcomes] == [False, False, False]

    run(main())


def test_a_fault_in_an_alerter_is_contained_and_its_text_kept_out(
    match: Matches, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        desk = Desk({"debug": Scripted(RuntimeError("https://hooks/secret"))})
        await desk.dispatcher.dispatch([match()])
        await desk.dispatcher.drain()
        assert desk.outcomes[0].error == "fault in the alerter (RuntimeError)"

    run(main())
    assert "secret" not in caplog.text and "RuntimeError" in caplog.text


def test_matches_of_one_rule_arrive_in_order(match: Matches) -> None:
    async def main() -> None:
        debug = Scripted(DOWN)
        desk = Desk({"debug": debug})
        matches = [match() for _ in range(3)]
        await desk.dispatcher.dispatch(matches)
        await desk.dispatcher.drain()
        assert [outcome.notification.first for outcome in desk.outcomes] == matches

    run(main())


async def nothing(*_: Any) -> None:
    """Nobody who would do it."""


def deeds(isolate: Isolator = nothing) -> Deeds:
    return Deeds(isolate, nothing, nothing, lambda: datetime(2026, 1, 1, tzinfo=UTC))


def test_every_declared_alerter_exists_and_no_other() -> None:
    async def main() -> None:
        async with new_client() as client:
            assert set(standard_alerters(client, deeds(), logging.getLogger())) == set(ALERTERS)

    run(main())


def test_isolate_hands_over_the_match_and_its_wishes(match: Matches) -> None:
    calls: list[tuple[str, str | None]] = []

    async def isolate(found: Match, options: IsolateOptions) -> None:
        calls.append((found.event_id, options.to))
        if len(calls) == 1:
            raise UnavailableError("table full")

    async def main() -> None:
        async with new_client() as client:
            desk = Desk(standard_alerters(client, deeds(isolate), logging.getLogger()))
            await desk.dispatcher.dispatch([match(alert="isolate", isolate={"to": "shop:1.0.0"})])
            await desk.dispatcher.drain()
            assert calls == [("e1", "shop:1.0.0")] * 2 and desk.ends() == [("isolate", True, 2)]

    run(main())


def test_debug_writes_one_line_whatever_the_payload(match: Matches, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with new_client() as client:
            desk = Desk(standard_alerters(client, deeds(), logging.getLogger("alerts")))
            await desk.dispatcher.dispatch([match({"a": "x\nINFO forged"})])
            await desk.dispatcher.drain()

    with caplog.at_level(logging.INFO, "alerts"):
        run(main())
    (record,) = [record for record in caplog.records if record.name == "alerts"]
    assert "\n" not in record.getMessage() and "forged" in record.getMessage()


def test_a_webhook_that_recovers_gets_its_alert(match: Matches, webhook: Any) -> None:
    webhook.answers = [503, 503, 200]

    async def main() -> None:
        async with new_client() as client:
            desk = Desk(standard_alerters(client, deeds(), logging.getLogger()))
            await desk.dispatcher.dispatch([match(alert="post", http_post_url=webhook.url)])
            await desk.dispatcher.drain()
            assert desk.ends() == [("post", True, 3)]

    run(main())
    assert len(webhook.requests) == 3
