"""The dispatcher: puts notifications into the outbox, delivers what is there, and reports how each ended.

Isolations come first and are awaited: when `dispatch` returns, they are in effect. Everything else is in the
outbox then, and stays there until it arrived: attempts that fail are repeated with growing pauses for as long
as the rule says (`alert_time_limit`), each target of each alert by itself. Several dispatchers may share an
outbox. Each holds what it sends; if it dies in the middle of a send, nobody can know whether the message went
out, and it is sent again, under the same key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Outcome
from divertor.alerts.lanes import Lane, Lanes, Waiting
from divertor.alerts.outbox import AT_ONCE, Arrived, Gone, Outbox, Parcel
from divertor.alerts.sending import PERSIST, Report, Retry, Sender, Sleep
from divertor.bus import Synced
from divertor.errors import UnavailableError
from divertor.rules import Notification, Rule
from divertor.rules.alarms import identity
from divertor.rules.alarms.routing import routed
from divertor.rules.rule import AlertSpec

ISOLATE = "isolate"
#: Seconds after which marks are taken away that another dispatcher should have taken away.
_ABANDONED = 60.0
#: Notifications of our own that are kept at hand, so that they need not be read before they are sent.
_AT_HAND = 1000
_SWEEP = 1.0
#: Notifications that are made ready in one go.
_AT_A_TIME = 500
#: Deliveries that wait and are known here, about 1 KB each; the rest waits in the broker until there is room.
MOST_KNOWN = 200_000

log = logging.getLogger("divertor.alerts")


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What waits, since when (seconds since the epoch; None: nothing does), how many of it failed at least
    once, and what ended since the start."""

    waiting: int
    oldest: float | None
    retrying: int
    delivered: int
    given_up: int


class Dispatcher:
    """Delivers through `alerters` (by name); those of `elsewhere` are somebody else's to deliver.

    `rule_named` is the rule of that name that runs now; `report` is told every attempt's outcome and must not
    block; `frontier` says up to where in the stream nothing is ever judged again. `sleep` is how pauses are
    made, `wall` the time of day. `at_once` bounds the deliveries under way, `most_known` those that wait in
    memory; `isolate_timeout`, in seconds, is
    how long `dispatch` waits for an isolation before it is left to the outbox.
    """

    def __init__(
        self,
        alerters: Mapping[str, Alerter],
        outbox: Outbox,
        rule_named: Callable[[str], Rule | None],
        report: Report,
        *,
        frontier: Callable[[], int],
        wall: Callable[[], datetime],
        elsewhere: frozenset[str] = frozenset(),
        sleep: Sleep = asyncio.sleep,
        retry: Retry | None = None,
        at_once: int = 32,
        most_known: int = MOST_KNOWN,
        isolate_timeout: float = 2.0,
    ) -> None:
        self._alerters = alerters
        self._elsewhere = elsewhere
        self._outbox = outbox
        self._report = report
        self._frontier = frontier
        self._wall = wall
        self._sleep = sleep
        self._at_once = at_once
        self._most_known = most_known
        self._overflowed = False
        self._isolate_timeout = isolate_timeout
        self._lanes = Lanes(outbox.me)
        self._sender = Sender(
            alerters, outbox, self._lanes, rule_named, report, wall=wall, sleep=sleep, retry=retry or Retry()
        )
        self._foreign: dict[str, Waiting] = {}
        self._at_hand: dict[str, Notification] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._arrived: dict[str, tuple[Arrived, float]] = {}
        self._forgotten: set[str] = set()
        self._wake = asyncio.Event()
        self._synced = asyncio.Event()

    async def dispatch(
        self, notifications: Iterable[Notification], seq: int, at: datetime, *, again: bool = False
    ) -> None:
        """Put the isolations into effect, then everything else into the outbox; on disk when this returns.

        `seq` is where in the stream the notifications came about, `at` the time there; `again`: they may have
        been dispatched before, by a process that died, so that isolations are looked up first.

        :raises UnavailableError: the broker does not answer. Dispatching the same once more harms nothing.
        """
        parcels: list[Parcel] = []
        for number, notification in enumerate(notifications):
            parcels.extend(self._parcels(notification, (seq, number), at))
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)  # thousands that come about at once must not hold everything up
        isolations = [parcel for parcel in parcels if parcel.lane.alerter == ISOLATE]
        isolated = [await self._isolate(parcel, again) for parcel in isolations if parcel.holder]
        rest = [parcel for parcel in parcels if parcel.lane.alerter != ISOLATE or not parcel.holder]
        wanted = {parcel.key: parcel for parcel in (*isolated, *rest) if parcel is not None}
        for waiting in await self._outbox.put(list(wanted.values())):
            if self._take(waiting) and len(self._at_hand) < _AT_HAND and waiting.holder:
                self._at_hand[waiting.key] = wanted[waiting.key].notification
        self._wake.set()

    async def run(self) -> None:
        """Delivers for ever; ends with cancellation. What is being sent then goes on until `close`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._schedule())
            tasks.create_task(self._sweep())

    async def close(self, timeout: float = 5.0) -> None:
        """Wait up to `timeout` seconds for what is being sent. What is not sent stays in the outbox."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._sending:
                    await asyncio.wait(self._sending)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    @property
    def is_sending(self) -> bool:
        """Whether anything is under way."""
        return bool(self._sending)

    @property
    def marks(self) -> int:
        """How many deliveries are remembered as arrived."""
        return len(self._arrived)

    async def synced(self) -> None:
        """Return once everything is known that was in the outbox at the start."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether everything is known that was in the outbox at the start."""
        return self._synced.is_set()

    def waiting(self) -> list[Waiting]:
        """Everything that is known to wait, by anybody's hand, in no order."""
        return [*self._lanes, *self._foreign.values()]

    def known(self, key: str) -> Waiting | None:
        """What waits under that key."""
        return self._lanes.get(key) or self._foreign.get(key)

    def progress(self, waiting: Waiting) -> tuple[bool, float | None]:
        """Whether it is being sent, and when it is tried next (None: when others of its alarm arrived)."""
        now, next_try = self._now(), self._lanes.next_try(waiting)
        elsewhere = waiting.holder not in ("", self._outbox.me) and waiting.until > now
        under_way = elsewhere and next_try is not None and next_try <= now
        return under_way or self._lanes.is_under_way(waiting), next_try

    async def destination(self, waiting: Waiting) -> str:
        """Where it goes, without what is secret in that; "" when that cannot be told.

        :raises UnavailableError: the broker does not answer.
        """
        return await self._sender.destination(waiting)

    async def drop(self, chosen: Sequence[Waiting]) -> int:
        """Give these up, whoever holds them; one that is being sent may arrive all the same. How many waited.

        :raises UnavailableError: the broker does not answer; some may be given up.
        """
        return sum(await _together(self._give_up, [one for one in chosen if self.known(one.key)]))

    async def hurry(self, chosen: Sequence[Waiting]) -> int:
        """Try these at once, and what has to arrive before them, wherever it is held. How many will be.

        :raises UnavailableError: the broker does not answer; some may be.
        """
        first = {one.key: one for one in (self._lanes.before(each) for each in chosen)}
        return sum(await _together(self._hurry, list(first.values())))

    async def _give_up(self, waiting: Waiting) -> bool:
        self._ended(await self._outbox.finish(waiting))
        return True

    async def _hurry(self, waiting: Waiting) -> bool:
        hurried = None if self._lanes.is_under_way(waiting) else await self._outbox.hurry(waiting)
        if hurried is not None:
            self._take(hurried)
            self._wake.set()
        return hurried is not None

    def status(self) -> OutboxStatus:
        """How it stands."""
        waiting = self.waiting()
        return OutboxStatus(
            len(waiting),
            min((each.created for each in waiting), default=None),
            sum(each.attempts > 0 for each in waiting),
            self._sender.delivered,
            self._sender.given_up,
        )

    # --- into the outbox --------------------------------------------------------------------------------

    def _parcels(self, notification: Notification, order: tuple[int, int], at: datetime) -> list[Parcel]:
        now = self._now()
        parcels: list[Parcel] = []
        for place, alert in enumerate(notification.rule.alerts):
            told = routed(alert, notification, at)
            if told is None:
                continue
            if notification.rule.dry_run:
                self._report(Outcome(told, alert, True, 0))
                continue
            holder = self._outbox.me if alert.name in self._alerters else ""
            for target in range(len(self._targets(alert))):
                key = identity(notification.id, str(place), str(target))
                lane = Lane(notification.rule.name, place, alert.name, target)
                parcels.append(Parcel(key, lane, order, told, now, holder=holder))
        return parcels

    def _targets(self, alert: AlertSpec) -> Sequence[Mapping[str, Any]]:
        alerter = self._alerters.get(alert.name)
        if alerter is not None:
            return alerter.targets(alert.options)
        if alert.name not in self._elsewhere:
            log.error("nobody here delivers by %s", alert.name)
        return [alert.options]

    async def _isolate(self, parcel: Parcel, again: bool) -> Parcel | None:
        """At once and awaited; what is left to do or to remember of it."""
        if again and await self._outbox.knows(parcel.key):
            return None
        alert = parcel.notification.rule.alerts[parcel.lane.place]
        delivery = Delivery(parcel.notification, self._targets(alert)[parcel.lane.target], parcel.key)
        problem: DeliveryError | None
        try:
            async with asyncio.timeout(self._isolate_timeout):
                problem, _receipt = await self._sender.attempt(ISOLATE, delivery)
        except TimeoutError:
            problem = DeliveryError(f"not isolated within {self._isolate_timeout:g} s", again=True)
        again_later = problem is not None and problem.again
        self._sender.tell(parcel.notification, parcel.lane, 1, problem, again=again_later)
        if not again_later:
            return replace(parcel, done=True)
        return replace(parcel, due=self._now() + self._sender.pause_after(1), attempts=1, error=str(problem))

    # --- what is there ----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            self._overflowed = False
            async with contextlib.aclosing(self._outbox.changes()) as changes:
                async for change in changes:
                    self._learn(change)
                    if self._overflowed and len(self._lanes) <= self._most_known // 2:
                        break  # there is room again: what was left in the broker is read now

    def _learn(self, change: Waiting | Arrived | Gone | Synced) -> None:
        match change:
            case Synced():
                self._synced.set()
            case Waiting():
                self._take(change)
            case Arrived():
                self._drop(change.key)
                self._arrived.setdefault(change.key, (change, self._now()))
            case Gone():
                self._drop(change.key)
                self._arrived.pop(change.key, None)
                self._forgotten.discard(change.key)
        self._wake.set()

    def _take(self, waiting: Waiting) -> bool:
        """Something waits; False: that is old news, and it has arrived or is under way already."""
        ended = self._arrived.get(waiting.key)
        if ended is not None and waiting.revision <= ended[0].revision:
            return False
        known = self._lanes.get(waiting.key)
        if known is not None and waiting.revision <= known.revision:
            return False
        if known is None and len(self._lanes) >= self._most_known:
            self._overflowed = True
            return False
        if waiting.lane.alerter in self._alerters:
            self._lanes.take(waiting)
        else:
            self._foreign[waiting.key] = waiting
        return True

    def _ended(self, arrived: Arrived) -> None:
        self._arrived[arrived.key] = arrived, self._now()
        self._drop(arrived.key)

    def _drop(self, key: str) -> None:
        self._foreign.pop(key, None)
        self._at_hand.pop(key, None)
        self._lanes.drop(key)

    # --- out of the outbox ------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        await self._synced.wait()  # until then the first of an alarm may not be known
        while True:
            self._wake.clear()
            for waiting in self._lanes.start(self._now(), self._at_once - len(self._sending)):
                task = asyncio.create_task(self._carry(waiting))
                self._sending.add(task)
                task.add_done_callback(self._sent)
            look = self._lanes.next_look() if len(self._sending) < self._at_once else None
            await self._woken(None if look is None else max(0.0, look - self._now()))

    async def _carry(self, waiting: Waiting) -> None:
        """One attempt at one delivery."""
        try:
            arrived = await self._sender.carry(waiting, self._at_hand.pop(waiting.key, None))
            if arrived is not None:
                self._ended(arrived)
        except UnavailableError as problem:
            log.warning("the outbox cannot be reached: %s", problem)
            waiting.due = self._now() + PERSIST
        finally:
            self._lanes.end(waiting)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a delivery was interrupted by a fault", exc_info=fault)

    async def _woken(self, seconds: float | None) -> None:
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _sweep(self) -> None:
        """Take the marks away that nobody needs any more."""
        while True:
            await self._sleep(_SWEEP)
            frontier, now = self._frontier(), self._now()
            for key, (arrived, since) in list(self._arrived.items()):
                if key in self._forgotten:
                    if now - since > _ABANDONED:  # gone before the watch could tell
                        del self._arrived[key]
                        self._forgotten.discard(key)
                elif arrived.seq <= frontier and (arrived.by == self._outbox.me or now - since > _ABANDONED):
                    with contextlib.suppress(UnavailableError):
                        await self._outbox.forget(arrived)
                        self._arrived[key] = arrived, now
                        self._forgotten.add(key)

    def _now(self) -> float:
        return self._wall().timestamp()


async def _together(work: Callable[[Waiting], Awaitable[bool]], several: Sequence[Waiting]) -> list[bool]:
    """Each of them, a number at a time; when one fails, nothing goes on behind whoever is told so."""
    left = iter(several)  # a task takes the next one: thousands need no task each

    async def some() -> list[bool]:
        return [await work(each) for each in left]

    tasks = [asyncio.ensure_future(some()) for _ in range(min(AT_ONCE, len(several)))]
    try:
        done = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [each for one in done for each in one]
