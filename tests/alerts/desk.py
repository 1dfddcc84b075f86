"""A dispatcher over a real broker whose time the test moves, and alerters that fail as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from divertor.alerts import Alerter, Dispatcher, Outbox, Outcome
from divertor.alerts.contract import Delivery, DeliveryError, Receipt
from divertor.bus import Bus, State
from divertor.rules import Match, Notification, Rule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOWN = DeliveryError("down", again=True)
BROKEN = DeliveryError("broken", again=False)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def wall(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.seconds + seconds, sleeper))
        await sleeper

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        for _until, sleeper in [one for one in self._sleepers if one[0] <= self.seconds]:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers = [one for one in self._sleepers if not one[1].done()]


class Scripted:
    """An alerter that fails as it is told, then succeeds, and notes what it did and when."""

    def __init__(self, *problems: Exception, gate: asyncio.Event | None = None) -> None:
        self.problems = list(problems)
        self.delivered: list[str] = []
        self.keys: list[str] = []
        self.receipts: list[Receipt | None] = []
        self.told: list[Notification] = []
        self.attempts = 0
        self.answer: Receipt | None = None
        self.gate = gate

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.problems:
            raise self.problems.pop(0)
        self.told.append(delivery.notification)
        self.delivered.append(delivery.notification.first.event_id)
        self.keys.append(delivery.key)
        self.receipts.append(delivery.receipt)
        return self.answer


class Desk:
    """A dispatcher at work, with everything it reported."""

    def __init__(self, state: State, clock: Clock, alerters: Mapping[str, Alerter], me: str, **options: Any):
        self.state, self.clock = state, clock
        self.outcomes: list[Outcome] = []
        self.rules: dict[str, Rule] = {}
        self.frontier = 0
        self.outbox = Outbox(state, me, lambda: clock.wall().timestamp())
        self.dispatcher = Dispatcher(
            alerters,
            self.outbox,
            lambda name: self.rules.get(name),
            self.outcomes.append,
            frontier=lambda: self.frontier,
            wall=clock.wall,
            sleep=clock.sleep,
            **options,
        )

    def ends(self) -> list[tuple[str, bool, int]]:
        """Of the deliveries that ended: alerter, whether it arrived, attempts."""
        return [(one.alert.name, one.ok, one.attempts) for one in self.outcomes if not one.again]

    async def dispatch(self, matches: Sequence[Match], seq: int = 1, **options: Any) -> None:
        self.rules |= {match.rule.name: match.rule for match in matches}
        notifications = [Notification.of(match) for match in matches]
        await self.dispatcher.dispatch(notifications, seq, self.clock.wall(), **options)

    async def dispatch_together(self, matches: Sequence[Match]) -> None:
        """As one notification of all of them."""
        rule = matches[0].rule
        self.rules[rule.name] = rule
        notification = Notification("together", rule, tuple(matches))
        await self.dispatcher.dispatch([notification], 1, self.clock.wall())

    async def until(self, check: Callable[[], Any], step: float = 1.0) -> None:
        """Lets time pass, whenever nothing is under way, until the check holds."""
        async with asyncio.timeout(20):
            while True:
                for _ in range(20):
                    if check():
                        return
                    await asyncio.sleep(0.0005)
                if not self.dispatcher.is_sending:
                    self.clock.advance(step)

    async def drain(self, step: float = 1.0) -> None:
        await self.until(lambda: self.dispatcher.status().waiting == 0, step)


@asynccontextmanager
async def desk(
    broker: Any,
    alerters: Mapping[str, Alerter],
    *,
    me: str = "plane",
    clock: Clock | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    found = Desk(State(bus), clock or Clock(), alerters, me, **options)
    running = asyncio.create_task(found.dispatcher.run())
    try:
        await found.dispatcher.synced()
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await found.dispatcher.close(timeout=0)
        await bus.close()


def several(match: Match, count: int, *, alarm: str | None = None) -> list[Match]:
    """Matches like it, each with an id (and, unless one is given, an alarm) of its own."""
    return [
        replace(match, id=f"{match.id}-{number}", alarm=f"a{number}" if alarm is None else alarm)
        for number in range(count)
    ]
