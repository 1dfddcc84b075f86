"""Who is next: deliveries that wait, by destination and alarm, and which of them may be sent now.

Pure bookkeeping, without a clock, a broker or a destination. Deliveries of one alarm to one destination go
one after the other, in the order in which they came about; different alarms do not wait for each other. A
destination that fails is left alone for a while and then asked with one delivery: what comes through opens it
for the rest, and a message that it never takes holds back nothing but its own alarm.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import attrgetter
from typing import NamedTuple, TypeAlias


class Lane(NamedTuple):
    """A destination: a rule, the position in its `alert`, the alerter there, and which of its targets."""

    rule: str
    place: int
    alerter: str
    target: int


#: Where in the stream a delivery came about: sequence of the message, and a number within it.
Order: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Waiting:
    """A delivery that has not arrived. Times are seconds since the epoch.

    `key` is the delivery's (`Delivery.key`), `revision` that of its record. It is not sent before `due`, nor
    before `until` by anybody but `holder`. `asked` is when a person last wanted it tried at once.
    """

    key: str
    revision: int
    lane: Lane
    alarm: str
    order: Order
    created: float
    due: float
    attempts: int = 0
    holder: str = ""
    until: float = 0.0
    error: str = ""
    asked: float = 0.0


@dataclass(slots=True)
class _Queue:
    """What waits for one destination."""

    lane: Lane
    alarms: dict[str, list[Waiting]] = field(default_factory=dict)
    #: When the first of each alarm may be sent; entries that no longer hold are skipped.
    heads: list[tuple[float, Order, str]] = field(default_factory=list)
    #: What is under way of each alarm, by its key.
    busy: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    rest: float = 0.0
    #: The earliest time at which somebody will look.
    look: float = float("inf")


class Lanes:
    """All that waits. `me` is this sender's name; `at_once` deliveries to one destination may be on their
    way."""

    def __init__(self, me: str, at_once: int = 2) -> None:
        self._me = me
        self._at_once = at_once
        self._all: dict[str, Waiting] = {}
        self._queues: dict[Lane, _Queue] = {}
        self._looks: list[tuple[float, Lane]] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._all.values())

    def get(self, key: str) -> Waiting | None:
        """The delivery, if it waits or is under way."""
        return self._all.get(key)

    def take(self, waiting: Waiting) -> None:
        """Something new waits, or something known has another revision; an older revision changes nothing."""
        known = self._all.get(waiting.key)
        if known is not None:
            if waiting.revision > known.revision:
                known.revision, known.due, known.attempts = waiting.revision, waiting.due, waiting.attempts
                known.holder, known.until, known.error = waiting.holder, waiting.until, waiting.error
                if waiting.asked > known.asked:
                    known.asked = waiting.asked
                    self._queues[known.lane].rest = 0.0  # somebody wants to know whether it works again
                self.changed(known)
            return
        queue = self._queues.get(waiting.lane)
        if queue is None:
            queue = self._queues[waiting.lane] = _Queue(waiting.lane)
        waiting.lane = queue.lane  # one object for all of them
        self._all[waiting.key] = waiting
        insort(queue.alarms.setdefault(waiting.alarm, []), waiting, key=attrgetter("order"))
        self.changed(waiting)

    def changed(self, waiting: Waiting) -> None:
        """Its times or its holder are others now."""
        queue = self._queues[waiting.lane]
        first = queue.alarms[waiting.alarm][0]
        if first is waiting and waiting.alarm not in queue.busy:
            self._offer(waiting.lane, queue, waiting.alarm)

    def drop(self, key: str) -> None:
        """It arrived, or was given up."""
        waiting = self._all.pop(key, None)
        if waiting is None:
            return
        queue = self._queues[waiting.lane]
        waiters = queue.alarms[waiting.alarm]
        waiters.remove(waiting)
        if not waiters:
            del queue.alarms[waiting.alarm]
            if not queue.alarms and not queue.busy:
                del self._queues[waiting.lane]
        elif waiting.alarm not in queue.busy:
            self._offer(waiting.lane, queue, waiting.alarm)

    def start(self, now: float, most: int) -> list[Waiting]:
        """What may be sent now, at most so many; each counts as under way until `end`."""
        started: list[Waiting] = []
        while len(started) < most and self._looks and self._looks[0][0] <= now:
            when, lane = heappop(self._looks)
            queue = self._queues.get(lane)
            if queue is not None and queue.look == when:
                queue.look = float("inf")
                started.extend(self._start(lane, queue, now, most - len(started)))
        return started

    def end(self, waiting: Waiting) -> None:
        """It is no longer under way; if it still waits, its times say when it is tried again."""
        queue = self._queues[waiting.lane]
        queue.busy.pop(waiting.alarm, None)
        if waiting.alarm in queue.alarms:
            self._offer(waiting.lane, queue, waiting.alarm)
        elif not queue.alarms and not queue.busy:
            del self._queues[waiting.lane]
            return
        self._look(waiting.lane, queue, queue.rest)

    def failed(self, lane: Lane) -> int:
        """A destination did not take something; how often in a row that was."""
        queue = self._queues[lane]
        queue.failures += 1
        return queue.failures

    def rest(self, lane: Lane, until: float) -> None:
        """Leave a destination alone."""
        self._queues[lane].rest = until

    def arrived(self, lane: Lane) -> None:
        """A destination took something."""
        queue = self._queues[lane]
        queue.failures, queue.rest = 0, 0.0

    def is_under_way(self, waiting: Waiting) -> bool:
        """Whether it is being sent from here."""
        queue = self._queues.get(waiting.lane)
        return queue is not None and queue.busy.get(waiting.alarm) == waiting.key

    def before(self, waiting: Waiting) -> Waiting:
        """The first of its alarm on the way to its destination: the one that has to arrive before it, or
        itself."""
        queue = self._queues.get(waiting.lane)
        waiters = queue.alarms.get(waiting.alarm) if queue is not None else None
        return waiters[0] if waiters else waiting

    def next_try(self, waiting: Waiting) -> float | None:
        """When its holder may send it at the earliest; None: not before another one of its alarm."""
        if self.before(waiting) is not waiting:
            return None
        queue = self._queues.get(waiting.lane)
        return waiting.due if queue is None else max(waiting.due, queue.rest)

    def next_look(self) -> float | None:
        """When `start` may have something at the earliest; None: not before something changes."""
        return self._looks[0][0] if self._looks else None

    def _start(self, lane: Lane, queue: _Queue, now: float, most: int) -> list[Waiting]:
        started: list[Waiting] = []
        while len(queue.busy) < (1 if queue.failures else self._at_once):
            if len(started) == most:
                self._look(lane, queue, now)
                break
            waiting = self._head(queue)
            if waiting is None:
                break
            when = max(self._from(waiting), queue.rest)
            if when > now:
                self._look(lane, queue, when)
                break
            heappop(queue.heads)
            queue.busy[waiting.alarm] = waiting.key
            started.append(waiting)
        return started

    def _head(self, queue: _Queue) -> Waiting | None:
        while queue.heads:
            when, order, alarm = queue.heads[0]
            waiters = queue.alarms.get(alarm)
            first = waiters[0] if waiters else None
            if (
                first is not None
                and alarm not in queue.busy
                and first.order == order
                and self._from(first) == when
            ):
                return first
            heappop(queue.heads)
        return None

    def _from(self, waiting: Waiting) -> float:
        """When it may be sent from here."""
        if waiting.holder in ("", self._me):
            return waiting.due
        return max(waiting.due, waiting.until)

    def _offer(self, lane: Lane, queue: _Queue, alarm: str) -> None:
        first = queue.alarms[alarm][0]
        when = self._from(first)
        heappush(queue.heads, (when, first.order, alarm))
        self._look(lane, queue, max(when, queue.rest))

    def _look(self, lane: Lane, queue: _Queue, when: float) -> None:
        if when < queue.look:
            queue.look = when
            heappush(self._looks, (when, lane))
