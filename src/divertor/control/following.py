"""A worker: follows the stream, judges it, puts what is to be told into the outbox, and keeps checkpoints.

What makes that exactly once: a checkpoint counts only when everything that was found before it is in the
outbox; what is judged again after a crash gives the same ids, which the outbox takes once; and up to the
frontier (`leading`) nothing is put at all. Without a checkpoint, windows are rebuilt from the store and the
stream, as far back as the rules can remember, without telling anybody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from divertor.alerts import Dispatcher
from divertor.bus import Batch, Bus
from divertor.bus.decoding import Reader
from divertor.control.checkpoints import Checkpoints
from divertor.control.enriching import Enriching
from divertor.control.judging import Judge
from divertor.control.leading import Lead
from divertor.errors import UnavailableError
from divertor.rules import Notification, Rule
from divertor.rules.alarms.controls import Controls
from divertor.rules.running.checkpoint import Checkpoint

if TYPE_CHECKING:
    from divertor.store import EventStore

log = logging.getLogger("divertor.rules")

#: Seconds between two checkpoints; one that took long is followed by a longer pause, this many times as long.
CHECKPOINT = 2.0
_REST = 20
#: Seconds without an event after which the stream is told that time passed.
IDLE = 5
#: Seconds that a checkpoint waits for what it stands on to be in the outbox.
_SETTLE = 5.0
#: Seconds that the end may take, and of these its checkpoint: a large one takes longer, and is left.
_LAST = 2.0
_LAST_CHECKPOINT = 1.5
_PAGE = 1000
#: Seconds of judging after which others have a turn: who reports an attack, asks the API, renews the lead.
_TURN = 0.005


@dataclass(frozen=True, slots=True)
class Told:
    """What a batch gave."""

    epoch: str
    seq: int
    at: datetime
    notifications: Sequence[Notification]


class Worker:
    """One judge on the stream. `store` may be read to rebuild windows; only the control plane has it."""

    def __init__(
        self,
        bus: Bus,
        store: EventStore | None,
        dispatcher: Dispatcher,
        lead: Lead,
        checkpoints: Checkpoints,
        wall: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._store = store
        self._dispatcher = dispatcher
        self._lead = lead
        self._checkpoints = checkpoints
        self._wall = wall
        self._enriching = Enriching(store)
        self._judge = Judge(found=self._enriching.found)
        self._reader = Reader()
        self._controls = Controls()
        self._untold: deque[Told] = deque()
        self._telling = asyncio.Lock()
        self._again_until = 0
        self._pending = 0
        self._started = asyncio.Event()
        self._rebuilding = ""
        self._whole = asyncio.Event()
        self._whole.set()
        self._wanted: tuple[Rule, ...] | None = None

    # --- what it judges by ------------------------------------------------------------------------------

    @property
    def judge(self) -> Judge:
        """The engine, and where it stands."""
        return self._judge

    def use(self, rules: Iterable[Rule]) -> None:
        """Judge by these rules from now on, or from the next batch; what did not change keeps its windows."""
        self._wanted = tuple(rules)
        if not self._judge.midway:
            self._change()

    def _change(self) -> None:
        if self._wanted is not None:
            self._judge.engine.replace(self._wanted)
            self._reader.forget()
            self._wanted = None

    def control(self, controls: Controls) -> None:
        """What is silenced and acknowledged from now on."""
        self._controls = controls
        self._judge.engine.alarms.control(controls)

    @property
    def is_following(self) -> bool:
        """Whether it has taken up what is known, and follows the stream."""
        return self._started.is_set()

    async def started(self) -> None:
        """Return once it follows the stream."""
        await self._started.wait()

    def status(self) -> Mapping[str, Any]:
        """How far behind the stream it is, in messages and seconds, and who leads."""
        behind, seconds = self._pending, 0.0
        if behind:
            seconds = max(0.0, (self._wall() - self._judge.now).total_seconds())
        return {
            "leads": self._lead.leads,
            "leader": self._lead.holder,
            "behind": behind,
            "behind_seconds": round(seconds, 1),
            "position": self._judge.seq,
            "rebuilding": self._rebuilding,
            "checkpoint_bytes": self._checkpoints.size,
            "checkpoint_pause": round(self._checkpoints.paused, 4),
        }

    # --- running ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the stream for ever; when cancelled, with a last checkpoint if the broker answers."""
        start = await self._begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (
                    self._follow(start),
                    self._lead.run(self._tell),
                    self._keep_time(),
                    self._keep_checkpoints(),
                ):
                    tasks.create_task(work)
        finally:
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(_LAST):
                    await self._end()

    async def _end(self) -> None:
        """Say what was found, so that a last checkpoint counts, and let another lead.

        Nothing depends on it: whoever comes next goes on from the checkpoint before.
        """
        if self._bus.connected:
            await self._tell()
            try:
                if not self._judge.midway:  # otherwise the batch is judged again, from the checkpoint before
                    async with asyncio.timeout(_LAST_CHECKPOINT):
                        await self._checkpoint()
            except (UnavailableError, TimeoutError) as problem:
                log.error(
                    "no last checkpoint: %s", str(problem) or f"not written within {_LAST_CHECKPOINT:g} s"
                )
            await self._lead.resign()

    async def _begin(self) -> int:
        """Take up what is known; the sequence to go on from."""
        await self._lead.begin()
        stream = await self._bus.position()
        self._again_until = stream.last
        found = await asyncio.to_thread(self._checkpoints.read, stream.epoch, stream.last)
        if found is not None:
            missing = self._judge.restore(found)
            self._judge.engine.alarms.control(self._controls)
            reached = found.mark.seq
        else:
            missing = tuple(rule.name for rule in self._judge.engine.rules)
            known = self._lead.epoch == stream.epoch
            reached = min(self._lead.frontier, stream.last) if known else stream.last
            self._judge.epoch, self._judge.seq = stream.epoch, reached
        if missing:
            await self._rebuild(missing, reached, found)
        if self._lead.leads:
            self._lead.said(stream.epoch, max(self._lead.frontier, reached))
        return reached + 1

    async def _follow(self, start: int) -> None:
        batches = self._bus.events(start, self._reader)
        self._started.set()
        try:
            async for batch in batches:
                if batch.epoch != self._judge.epoch:
                    self._again_until = 0  # the broker was wiped: nothing of it was ever dispatched
                self._pending = batch.pending
                found = await self._judged(batch)
                self._untold.append(Told(batch.epoch, batch.seq, self._judge.now, found))
                await self._tell()
                await asyncio.sleep(0)  # a long backlog must not keep everybody else waiting
        finally:
            await batches.aclose()

    async def _judged(self, batch: Batch) -> list[Notification]:
        """What a batch gave. A tick that finds very much must not keep everybody else waiting either; but no
        checkpoint is made meanwhile, and no rule changes."""
        found: list[Notification] = []
        self._whole.clear()
        began = time.monotonic()
        for step in self._judge.taking(batch):
            found += step
            if time.monotonic() - began > _TURN:
                await asyncio.sleep(0)
                began = time.monotonic()
        self._change()
        self._whole.set()
        return found

    async def _tell(self) -> None:
        """Put what was found into the outbox; a worker that does not lead keeps it until the leader has."""
        async with self._telling:
            while self._untold and self._is_settled(self._untold[0]):
                self._untold.popleft()
            while self._untold and self._lead.leads:
                told = self._untold[0]
                if told.notifications:
                    await self._dispatch(told)
                self._lead.said(told.epoch, told.seq)
                self._untold.popleft()

    def _is_settled(self, told: Told) -> bool:
        """Whether a leader, this one or one before it, has put it into the outbox."""
        if told.epoch == self._lead.epoch:
            return told.seq <= self._lead.frontier
        return not self._lead.leads and not told.notifications

    async def _dispatch(self, told: Told) -> None:
        again = told.seq <= self._again_until
        notifications = await self._enriching.told(told.notifications)
        while notifications:
            try:
                await self._dispatcher.dispatch(notifications, told.seq, told.at, again=again)
                return
            except UnavailableError as problem:
                log.warning("the outbox cannot be reached: %s", problem)
                await self._bus.ready()
                await asyncio.sleep(0.1)
                again = True

    async def _keep_time(self) -> None:
        """While nothing happens, the leader tells the stream that time passes."""
        while True:
            await asyncio.sleep(1.0)
            now = self._wall()
            idle = (now - self._judge.now).total_seconds() >= IDLE and not self._pending
            if idle and self._lead.leads and self._judge.engine.rules:
                with suppress(UnavailableError):
                    await self._bus.tick(str(int(now.timestamp()) // IDLE))

    # --- checkpoints ------------------------------------------------------------------------------------

    async def _keep_checkpoints(self) -> None:
        written, trouble = -1, ""
        while True:
            begun = time.monotonic()
            if self._judge.seq != written:
                try:
                    if await self._checkpoint():
                        written, trouble = self._judge.seq, ""
                except UnavailableError as problem:
                    if str(problem) != trouble:
                        log.error("no checkpoint: %s", problem)
                    trouble = str(problem)
            took = time.monotonic() - begun
            await asyncio.sleep(max(CHECKPOINT, _REST * took if took > CHECKPOINT / _REST else 0.0))

    async def _checkpoint(self) -> bool:
        """Write one, and let it count when the outbox has all that was found before it."""
        while self._judge.midway:
            await self._whole.wait()
        mark = await self._checkpoints.write(self._judge)
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE):
                while not (self._lead.epoch == mark.epoch and self._lead.frontier >= mark.seq):
                    await self._lead.record()
                    if self._lead.frontier < mark.seq:
                        await asyncio.sleep(0.05)
        if self._lead.epoch != mark.epoch or self._lead.frontier < mark.seq:
            return False
        await self._checkpoints.commit()
        return True

    # --- rebuilding -------------------------------------------------------------------------------------

    async def _rebuild(self, names: Sequence[str], reached: int, found: Checkpoint | None) -> None:
        """Fill the windows of these rules again from what happened up to the message `reached`."""
        rules = [rule for rule in self._judge.engine.rules if rule.name in set(names)]
        longest = max((memory_of(rule) for rule in rules), default=timedelta(0))
        if not longest:
            return
        self._rebuilding = f"{len(rules)} rules, {longest}"
        log.info("rebuilding the windows of %s", self._rebuilding)
        other = Judge(rules)
        await self._replay(other, reached, longest)
        self._judge.adopt(other, names)
        if found is None:
            self._judge.take_time_of(other)
        self._judge.engine.alarms.control(self._controls)
        self._rebuilding = ""

    async def _replay(self, judge: Judge, reached: int, longest: timedelta) -> None:
        since = self._wall() - longest
        stream = await self._bus.position()
        first = await self._bus.since(since)
        if self._store is not None and first == max(1, stream.first):
            await self._replay_store(judge, since, first)
        if first > reached:
            return
        batches = self._bus.events(first, Reader())
        try:
            async for batch in batches:
                if batch.seq > reached:
                    return
                judge.take(batch)
                if batch.seq == reached:
                    return
                await asyncio.sleep(0)
        finally:
            await batches.aclose()

    async def _replay_store(self, judge: Judge, since: datetime, first: int) -> None:
        """What the stream no longer has: the store keeps events for longer."""
        from divertor.store import EventQuery  # a worker without a store starts in half the time

        assert self._store is not None
        until = await self._oldest(first)
        for_now = since
        seen: set[str] = set()
        while True:
            query = EventQuery(since=for_now, until=until, limit=_PAGE, newest_first=False, offset=0)
            page = await self._store.query(query)
            fresh = [event for event in page if event.id not in seen]
            if fresh:
                judge.take(Batch(0, tuple(fresh), 0))
            if len(page) < _PAGE:
                return
            last = page[-1].timestamp
            if last == for_now:
                last += timedelta(microseconds=1)  # more than a page of one moment: the rest is left out
            for_now, seen = last, {event.id for event in page if event.timestamp == last}

    async def _oldest(self, first: int) -> datetime:
        """When the first event happened that the stream has."""
        batches = self._bus.events(first)
        try:
            async with asyncio.timeout(1.0):
                async for batch in batches:
                    if batch.events:
                        return min(event.timestamp for event in batch.events)
        except TimeoutError:
            pass
        finally:
            await batches.aclose()
        return self._wall()


def memory_of(rule: Rule) -> timedelta:
    """How far back what happened can still matter to a rule."""
    alarm = rule.alarm
    return max(rule.behaviour.span(), alarm.realert, alarm.exponential_realert or timedelta(0))
