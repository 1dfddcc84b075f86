"""One delivery on its way: hold it, send it, write down how it went.

What is written before and after a send keeps the time small in which a death of this process makes the same
message go out twice: the delivery is held before, and marked as arrived right after.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from divertor.alerts.contract import Alerter, Delivery, DeliveryError, Outcome, Receipt
from divertor.alerts.destinations import shown
from divertor.alerts.lanes import Lane, Lanes, Waiting
from divertor.alerts.outbox import LEASE, Arrived, Outbox, Record
from divertor.alerts.tickets import JIRA
from divertor.errors import InputError, Position, UnavailableError
from divertor.rules import Notification, Rule, load_rule
from divertor.rules.notification import notification_from_json
from divertor.rules.rule import AlertSpec

Sleep: TypeAlias = Callable[[float], Awaitable[None]]
Report: TypeAlias = Callable[[Outcome], None]
T = TypeVar("T")

#: Seconds a destination may ask to be left alone at most.
LONGEST_WISH = 3600.0
#: Seconds between two attempts to reach the outbox.
PERSIST = 0.5
#: Characters of what went wrong that are kept.
_MAX_ERROR = 500

log = logging.getLogger("divertor.alerts")


@dataclass(frozen=True, slots=True)
class Retry:
    """How patiently: pauses in seconds, doubling from `first_pause` to `longest_pause`. For how long in all,
    the rule says (`Rule.retry_for`)."""

    first_pause: float = 1.0
    longest_pause: float = 120.0

    def pause_after(self, attempt: int, jitter: float = 0.5) -> float:
        """Seconds to wait after the attempt with this number (from 1); `jitter` (0 to 1) moves it by a fifth
        at most, so that many that failed together do not come back together."""
        pause = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt - 1, 30))
        return pause * (0.8 + 0.4 * jitter)


class Sender:
    """Sends what `lanes` says is next. What is given up, and why, is reported like what arrived."""

    def __init__(
        self,
        alerters: Mapping[str, Alerter],
        outbox: Outbox,
        lanes: Lanes,
        rule_named: Callable[[str], Rule | None],
        report: Report,
        *,
        wall: Callable[[], datetime],
        sleep: Sleep,
        retry: Retry,
    ) -> None:
        self._alerters = alerters
        self._outbox = outbox
        self._lanes = lanes
        self._rule_named = rule_named
        self._report = report
        self._wall = wall
        self._sleep = sleep
        self._retry = retry
        self._rules: dict[str, Rule] = {}
        self.delivered = 0
        self.given_up = 0

    async def carry(self, waiting: Waiting, at_hand: Notification | None) -> Arrived | None:
        """One attempt. The mark of what arrived or was given up; None: `waiting` says when to try again.

        `at_hand` is what is to be delivered, if it is known without reading it.

        :raises UnavailableError: the broker does not answer; nothing was sent.
        """
        record = None if at_hand is not None else await self._outbox.read(waiting)
        if at_hand is None and record is None:
            self._leave(waiting)
            return None
        if not self._is_held(waiting):
            record = record or await self._outbox.read(waiting)
            if record is None or not await self._hold(waiting, record):
                self._leave(waiting)
                return None
        try:
            notification = at_hand or await self._notification(waiting, record)
            delivery = await self._delivery(waiting, notification)
        except InputError as refusal:
            log.error("a message of rule %r is given up: %s", waiting.lane.rule, refusal)
            self.given_up += 1
            return await self._surely(lambda: self._outbox.finish(waiting))
        problem, receipt = await self._attempt_held(waiting, record, delivery)
        if problem is None or not self._is_tried_again(waiting, notification, problem):
            return await self._ended(waiting, notification, problem, receipt)
        await self._postpone(waiting, record, notification, problem)
        return None

    async def attempt(self, alerter: str, delivery: Delivery) -> tuple[DeliveryError | None, Receipt | None]:
        """One try; what went wrong, if anything, and what the destination answered."""
        try:
            return None, await self._alerters[alerter].deliver(delivery)
        except DeliveryError as problem:
            return problem, None
        except Exception as fault:
            # A boundary: a fault in one alerter must not take the others, or the rules, with it. Its text may
            # hold an address or a payload, so only its kind is reported.
            log.error("alerter %s failed: %s", alerter, type(fault).__name__)
            return DeliveryError(f"fault in the alerter ({type(fault).__name__})", again=False), None

    def tell(
        self,
        notification: Notification,
        lane: Lane,
        attempts: int,
        problem: DeliveryError | None,
        *,
        again: bool = False,
    ) -> None:
        """Report how an attempt ended; `again`: another one follows."""
        alert = notification.rule.alerts[lane.place]
        error = "" if problem is None else str(problem)[:_MAX_ERROR]
        if not again:
            self.delivered += problem is None
            self.given_up += problem is not None
        self._report(Outcome(notification, alert, problem is None, attempts, error, again))

    async def destination(self, waiting: Waiting) -> str:
        """Where a delivery goes, without what is secret in that; "" when that cannot be told.

        :raises UnavailableError: the broker does not answer.
        """
        try:
            rule = self._rule_named(waiting.lane.rule)
            alert = None if rule is None else self._alert(rule, waiting.lane)
            if alert is None and (record := await self._outbox.read(waiting)) is not None:
                rule = await self._rule_as_it_was(record.digest)
                alert = None if rule is None else self._alert(rule, waiting.lane)
        except (InputError, KeyError):  # it cannot be read any more, or others deliver it
            return ""
        if alert is None:
            return ""
        return shown(alert.name, self._alerters[alert.name].targets(alert.options)[waiting.lane.target])

    def pause_after(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number."""
        return self._retry.pause_after(attempt, random.random())

    # --- holding ----------------------------------------------------------------------------------------

    def _is_held(self, waiting: Waiting) -> bool:
        return waiting.holder == self._outbox.me and waiting.until - self._now() > LEASE / 2

    async def _hold(self, waiting: Waiting, record: Record) -> bool:
        # Another sender may have taken it while it was read: what `waiting` says is then that sender's.
        if waiting.holder not in ("", self._outbox.me) and waiting.until > self._now():
            return False
        waiting.holder, waiting.until = self._outbox.me, self._now() + LEASE
        return await self._outbox.write(waiting, record)

    def _leave(self, waiting: Waiting) -> None:
        """Whoever has it will be heard of; until then it is left alone."""
        waiting.due = self._now() + PERSIST

    async def _attempt_held(
        self, waiting: Waiting, record: Record | None, delivery: Delivery
    ) -> tuple[DeliveryError | None, Receipt | None]:
        """An attempt may take longer than it is held for: then it is held on."""
        attempt = asyncio.ensure_future(self.attempt(waiting.lane.alerter, delivery))
        try:
            while True:
                pause = asyncio.ensure_future(self._sleep(LEASE / 3))
                await asyncio.wait((attempt, pause), return_when=asyncio.FIRST_COMPLETED)
                if attempt.done():
                    pause.cancel()
                    return attempt.result()
                await self._hold_on(waiting, record)
        finally:
            attempt.cancel()

    async def _hold_on(self, waiting: Waiting, record: Record | None) -> None:
        try:
            record = record or await self._outbox.read(waiting)
            if record is not None:
                await self._hold(waiting, record)
        except UnavailableError as problem:
            log.warning("a delivery is under way and cannot be held on to: %s", problem)

    # --- what is sent -----------------------------------------------------------------------------------

    async def _notification(self, waiting: Waiting, record: Record | None) -> Notification:
        """:raises InputError: the rule behind it is gone, or it cannot be read."""
        assert record is not None
        rule = self._rule_named(waiting.lane.rule)
        if rule is None or self._alert(rule, waiting.lane) is None:
            rule = await self._rule_as_it_was(record.digest)
        if rule is None or self._alert(rule, waiting.lane) is None:
            raise InputError("its rule is not there any more", _at(waiting))
        try:
            return notification_from_json(record.notification, rule)
        except ValueError as problem:
            raise InputError(str(problem), _at(waiting)) from problem

    async def _rule_as_it_was(self, digest: str) -> Rule | None:
        """The rule by which a message came about, should it have been deleted or rewritten meanwhile."""
        if digest not in self._rules:
            found = await self._outbox.text(digest)
            if found is None:
                return None
            if len(self._rules) > 100:
                self._rules.clear()
            self._rules[digest] = load_rule(*found)
        return self._rules[digest]

    def _alert(self, rule: Rule, lane: Lane) -> AlertSpec | None:
        """What the rule says of a destination now; None when it is not the rule's any more."""
        if lane.place >= len(rule.alerts) or rule.alerts[lane.place].name != lane.alerter:
            return None
        alert = rule.alerts[lane.place]
        targets = self._alerters[alert.name].targets(alert.options)
        return alert if lane.target < len(targets) else None

    async def _delivery(self, waiting: Waiting, notification: Notification) -> Delivery:
        rule, lane = notification.rule, waiting.lane
        alert = self._alert(self._rule_named(lane.rule) or rule, lane) or self._alert(rule, lane)
        if alert is None:
            raise InputError("its destination is not there any more", _at(waiting))
        options = self._alerters[lane.alerter].targets(alert.options)[lane.target]
        receipt = await self._outbox.receipt(waiting)
        others = await self._tickets(waiting, rule)
        worded = notification.worded(alert.words)
        return Delivery(worded, options, waiting.key, receipt, others, waiting.attempts)

    async def _tickets(self, waiting: Waiting, rule: Rule) -> dict[str, Receipt]:
        """The ticket of this alarm, if an alert of the rule has made one: other messages link to it."""
        if waiting.lane.alerter != JIRA:
            for place, alert in enumerate(rule.alerts):
                if alert.name == JIRA:
                    lane = Lane(waiting.lane.rule, place, JIRA, 0)
                    found = await self._outbox.receipt(replace(waiting, lane=lane))
                    return {} if found is None else {JIRA: found}
        return {}

    # --- how it went ------------------------------------------------------------------------------------

    def _is_tried_again(self, waiting: Waiting, notification: Notification, problem: DeliveryError) -> bool:
        age = self._now() - waiting.created
        return problem.again and age < notification.rule.retry_for.total_seconds()

    async def _ended(
        self,
        waiting: Waiting,
        notification: Notification,
        problem: DeliveryError | None,
        receipt: Receipt | None,
    ) -> Arrived:
        arrived = await self._surely(lambda: self._outbox.finish(waiting))
        if problem is None:
            self._lanes.arrived(waiting.lane)
            if receipt is not None:
                await self._surely(lambda: self._outbox.keep_receipt(waiting, receipt, notification.status))
        else:
            problem = DeliveryError(f"given up: {problem}", again=False) if problem.again else problem
        self.tell(notification, waiting.lane, waiting.attempts + 1, problem)
        return arrived

    async def _postpone(
        self, waiting: Waiting, record: Record | None, notification: Notification, problem: DeliveryError
    ) -> None:
        now = self._now()
        waiting.attempts += 1
        waiting.error = str(problem)[:_MAX_ERROR]
        wish = min(problem.after or 0.0, LONGEST_WISH)
        waiting.due = now + max(self.pause_after(waiting.attempts), wish)
        failures = self._lanes.failed(waiting.lane)
        self._lanes.rest(waiting.lane, now + max(self.pause_after(failures), wish))
        waiting.holder, waiting.until = self._outbox.me, waiting.due + LEASE
        self.tell(notification, waiting.lane, waiting.attempts, problem, again=True)
        record = record or await self._surely(lambda: self._outbox.read(waiting))
        if record is not None:
            await self._surely(lambda: self._outbox.write(waiting, record))

    async def _surely(self, work: Callable[[], Awaitable[T]]) -> T:
        """What must be written down is tried until the broker takes it."""
        while True:
            try:
                return await work()
            except UnavailableError as problem:
                log.warning("a delivery's outcome cannot be written down yet: %s", problem)
                await self._sleep(PERSIST)

    def _now(self) -> float:
        return self._wall().timestamp()


def _at(waiting: Waiting) -> Position:
    return Position(f"delivery {waiting.key}")
