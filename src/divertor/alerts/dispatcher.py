"""The dispatcher: takes matches, hands each to its rule's alerters, and reports how every delivery ended.

Isolations come first and are awaited: when `dispatch` returns, they are in effect. Everything else is queued,
one bounded lane per destination of a rule, so that a webhook that is down delays neither another alert nor
the next event. A lane retries with growing pauses, then gives up; a full lane drops its oldest alert. Nothing
is silent: each end is an `Outcome`. Lanes live in memory: what is queued when the process dies is lost, which
is why an isolation is never queued unless its first attempt failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Outcome
from divertor.rules.alarms import identity
from divertor.rules.notification import Notification
from divertor.rules.rule import AlertSpec, Match

Sleep: TypeAlias = Callable[[float], Awaitable[None]]
Report: TypeAlias = Callable[[Outcome], None]

ISOLATE = "isolate"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently: pauses in seconds, doubling from `first_pause` up to `longest_pause`."""

    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 30.0

    def pause_after(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number (from 1)."""
        return min(self.longest_pause, self.first_pause * 2.0 ** min(attempt - 1, 30))


@dataclass(frozen=True, slots=True)
class _Waiting:
    notification: Notification
    alert: AlertSpec
    options: Mapping[str, Any]
    key: str
    attempts: int = 0


#: A destination of a rule: rule name, position in `alert`, position among the alerter's targets.
_Lane: TypeAlias = tuple[str, int, int]


@dataclass(slots=True)
class _Queue:
    waiting: deque[_Waiting] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None


class Dispatcher:
    """Delivers matches through `alerters` (by name).

    `report` is told every outcome and must not block. `sleep` is how pauses are made. `lane_size` bounds the
    alerts that wait per destination, `at_once` the deliveries under way in total. `isolate_timeout`, in
    seconds, is how long `dispatch` waits for an isolation before it is tried again in the background.
    """

    def __init__(
        self,
        alerters: Mapping[str, Alerter],
        report: Report,
        *,
        sleep: Sleep = asyncio.sleep,
        retry: Retry | None = None,
        lane_size: int = 1000,
        at_once: int = 32,
        isolate_timeout: float = 2.0,
    ) -> None:
        self._alerters = alerters
        self._report = report
        self._sleep = sleep
        self._retry = retry or Retry()
        self._lane_size = lane_size
        self._slots = asyncio.Semaphore(at_once)
        self._lanes: dict[_Lane, _Queue] = {}
        self._isolate_timeout = isolate_timeout
        self._closed = False

    async def dispatch(self, matches: Iterable[Match]) -> None:
        """Put the isolations of all matches into effect, then queue the other alerts."""
        notifications = [Notification.of(match) for match in matches]
        for notification in notifications:
            await self._each(notification, self._isolate, isolations=True)
        for notification in notifications:
            await self._each(notification, self._enqueue, isolations=False)

    async def drain(self) -> None:
        """Wait until every queued alert was delivered or given up."""
        while workers := [lane.worker for lane in self._lanes.values() if lane.worker is not None]:
            await asyncio.wait(workers)

    async def close(self, timeout: float = 5.0) -> None:
        """Take no more, wait up to `timeout` seconds for what is queued, then drop the rest and say so."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.drain()
        lanes = list(self._lanes.values())
        workers = [lane.worker for lane in lanes if lane.worker is not None]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for lane in lanes:
            self._drop_all(lane, "dropped: shutting down")

    async def _each(
        self,
        notification: Notification,
        action: Callable[[_Lane, _Waiting], Awaitable[None]],
        *,
        isolations: bool,
    ) -> None:
        for place, alert in enumerate(notification.rule.alerts):
            if (alert.name == ISOLATE) is not isolations:
                continue
            for target, options in enumerate(self._alerters[alert.name].targets(alert.options)):
                lane = (notification.rule.name, place, target)
                await action(lane, _Waiting(notification, alert, options, _key(notification, place, target)))

    async def _isolate(self, key: _Lane, delivery: _Waiting) -> None:
        """At once and awaited; only a failed attempt that may succeed later is queued."""
        with self._owning_up(delivery):
            problem = await self._isolated_in_time(delivery)
        if problem is not None and problem.again and not self._closed:
            tried = replace(delivery, attempts=1)
            await self._enqueue(key, tried)
            return
        self._end(delivery, 1, problem)

    async def _isolated_in_time(self, delivery: _Waiting) -> DeliveryError | None:
        try:
            async with asyncio.timeout(self._isolate_timeout):
                return await self._attempt(delivery)
        except TimeoutError:
            return DeliveryError(f"not isolated within {self._isolate_timeout:g} s", again=True)

    async def _enqueue(self, key: _Lane, delivery: _Waiting) -> None:
        if self._closed:
            self._drop(delivery, "dropped: shutting down")
            return
        lane = self._lanes.setdefault(key, _Queue())
        lane.waiting.append(delivery)
        if len(lane.waiting) > self._lane_size:
            self._drop(lane.waiting.popleft(), f"dropped: more than {self._lane_size} alerts waiting")
        if lane.worker is None:
            lane.worker = asyncio.create_task(self._work(key, lane))

    async def _work(self, key: _Lane, lane: _Queue) -> None:
        try:
            while lane.waiting:
                delivery = lane.waiting.popleft()
                with self._owning_up(delivery):
                    await self._deliver(delivery)
        finally:
            lane.worker = None
        del self._lanes[key]

    async def _deliver(self, delivery: _Waiting) -> None:
        attempt = delivery.attempts
        if attempt:
            await self._sleep(self._retry.pause_after(attempt))
        while True:
            attempt += 1
            async with self._slots:
                problem = await self._attempt(delivery)
            if problem is None or not problem.again or attempt >= self._retry.attempts:
                self._end(delivery, attempt, problem)
                return
            await self._sleep(self._retry.pause_after(attempt))

    async def _attempt(self, delivery: _Waiting) -> DeliveryError | None:
        """One try; what went wrong, if anything."""
        try:
            sent = Delivery(delivery.notification, delivery.options, delivery.key)
            await self._alerters[delivery.alert.name].deliver(sent)
        except DeliveryError as problem:
            return problem
        except Exception as fault:
            # A boundary: a fault in one alerter must not take the others, or the rules, with it. Its text may
            # hold an address or a payload, so only its kind is reported.
            _LOG.error("alerter %s failed: %s", delivery.alert.name, type(fault).__name__)
            return DeliveryError(f"fault in the alerter ({type(fault).__name__})", again=False)
        return None

    @contextlib.contextmanager
    def _owning_up(self, delivery: _Waiting) -> Iterator[None]:
        """A delivery that is cancelled, wherever it was, is reported like any other that failed."""
        try:
            yield
        except asyncio.CancelledError:
            self._drop(delivery, "interrupted: shutting down")
            raise

    def _end(self, delivery: _Waiting, attempts: int, problem: DeliveryError | None) -> None:
        error = "" if problem is None else str(problem)
        self._report(Outcome(delivery.notification, delivery.alert, problem is None, attempts, error))

    def _drop(self, delivery: _Waiting, why: str) -> None:
        self._report(Outcome(delivery.notification, delivery.alert, False, 0, why))

    def _drop_all(self, lane: _Queue, why: str) -> None:
        while lane.waiting:
            self._drop(lane.waiting.popleft(), why)


def _key(notification: Notification, place: int, target: int) -> str:
    return identity(notification.id, str(place), str(target))
