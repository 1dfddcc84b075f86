"""Judging: the stream's batches in, notifications out, the same whenever the same stream is judged again.

Time is the stream's own: an event is judged at the time it was received, and the engine ticks at fixed
boundaries of that time, right before the first event beyond one. When nothing happens, a batch without
events says that time passed. So a process that begins at a checkpoint makes the same notifications, with the
same ids, as the one that died. No broker, no clock, no file.

A tick may find very much: thousands of keys that fall silent in one second. So a batch can be judged in steps
(`taking`), between which its owner lets others have their turn. Steps change nothing of what is found. But in
between, the judge is neither before the batch nor behind it, and there is no mark of it (`midway`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from divertor.bus import Batch
from divertor.control.tally import Tally
from divertor.model.events import micros_of, moment_of
from divertor.rules import Engine, Match, Notification, Rule
from divertor.rules.rule import Status
from divertor.rules.running.aggregation import Gatherer
from divertor.rules.running.checkpoint import Checkpoint, Mark
from divertor.rules.running.engine import Snapshot

log = logging.getLogger("divertor.rules")

#: Microseconds between two ticks, as in backtests.
_TICK = 1_000_000
#: Ticks that are made up for when time jumps.
_MAX_TICKS = 600
#: Microseconds by which an event may be received later than the broker took it; a clock that is ahead further
#: must not carry the engine's time away.
_AHEAD = 60 * 1_000_000


class Judge:
    """An engine, what gathers its matches, and what it counted. `found` prepares each match, or drops it."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        found: Callable[[Match], Match | None] = lambda match: match,
    ) -> None:
        self.engine = Engine(rules)
        self.gatherer = Gatherer()
        self.tally = Tally()
        self._found = found
        self.epoch = ""
        self.seq = 0
        #: A batch was begun and not judged to its end: what is remembered is of no place in the stream.
        self.midway = False
        self._now = 0
        self._ticked = 0

    @property
    def now(self) -> datetime:
        """The time that the stream has reached."""
        return moment_of(self._now)

    def take(self, batch: Batch) -> list[Notification]:
        """Judge a batch."""
        return [one for step in self.taking(batch) for one in step]

    def taking(self, batch: Batch) -> Iterator[list[Notification]]:
        """Judge a batch step by step: what each step found. The next batch comes after the last step."""
        self.midway = True
        seen, judge = self.tally.seen, self.engine.judge
        latest = batch.stored + _AHEAD if batch.stored else None
        for event in batch.events:
            moment = micros_of(event.received)
            if latest is not None and moment > latest:
                moment = latest
            if moment > self._now:
                yield from self._pass_to(moment)
            seen[event.indices] = self._now
            try:
                matches = judge(event, self._now)
            except Exception:
                # A boundary: one event that the engine trips over must not end the watch over all others.
                log.exception("event %s could not be judged", event.id)
                continue
            if matches:
                yield self._gathered(matches, self.now)
        if not batch.events:
            yield from self._pass_to(batch.stored)
        self.epoch, self.seq = batch.epoch, batch.seq
        self.tally.begin(self._now)
        self.tally.bound()
        self.midway = False

    def mark(self) -> Mark:
        """Where it stands; not to be asked for while it is midway in a batch."""
        if self.midway:
            raise RuntimeError("a mark in the midst of a batch")
        return Mark(self.epoch, self.seq, self._now, self._ticked, self.gatherer.dump(), self.tally.to_json())

    def restore(self, found: Checkpoint) -> tuple[str, ...]:
        """Go on from a checkpoint; the names of the rules whose state was not in it, or of another text."""
        mark = found.mark
        self.epoch, self.seq, self._now, self._ticked = mark.epoch, mark.seq, mark.now, mark.ticked
        missing = self.engine.restore(found.snapshot)
        rules = {rule.name: rule for rule in self.engine.rules}
        self.gatherer = Gatherer()
        try:
            lost = self.gatherer.restore(mark.gathered, rules.get)
        except ValueError as problem:
            log.error("matches that were being gathered cannot be read: %s", problem)
            self.gatherer, lost = Gatherer(), 0
        self.tally = self._tally_of(mark)
        if lost:
            log.error("%d gathered matches are left out: their rules are gone", lost)
        return missing

    def take_time_of(self, other: Judge) -> None:
        """Time has come as far as there."""
        self._now, self._ticked = other._now, other._ticked
        self.tally.seen_by(other.tally)

    def adopt(self, other: Judge, names: Iterable[str]) -> None:
        """Take over the states of these rules; of an engine that remembers nothing, the alarms as well."""
        wanted, mine, theirs = set(names), self.engine.snapshot(), other.engine.snapshot()
        rules = {
            name: theirs.rules[name] if name in wanted and name in theirs.rules else saved
            for name, saved in mine.rules.items()
        }
        everything = wanted >= set(mine.rules)
        self.engine.restore(Snapshot(rules, theirs.alarms if everything else mine.alarms))

    def _tally_of(self, mark: Mark) -> Tally:
        """What was counted up to a checkpoint; nothing when it does not say."""
        try:
            return Tally.from_json(mark.tally) if mark.tally else Tally()
        except ValueError as problem:
            log.error("what was counted cannot be read: %s", problem)
            return Tally()

    def _pass_to(self, moment: int) -> Iterable[list[Notification]]:
        """Time goes on, never back; at each boundary on the way, the engine ticks."""
        if moment <= self._now:
            return ()
        boundary = moment // _TICK * _TICK
        begun = self._ticked or boundary - _TICK
        self._now = moment
        return () if begun == boundary else self._ticks(begun, boundary)

    def _ticks(self, begun: int, boundary: int) -> Iterator[list[Notification]]:
        for ticked in range(max(begun, boundary - _MAX_TICKS * _TICK) + _TICK, boundary + 1, _TICK):
            self._ticked, now = ticked, moment_of(ticked)
            portions = self.engine.advancing(now)
            while (matches := _next_of(portions)) is not None:
                yield self._gathered(matches, now)
            yield self.gatherer.due(now)

    def _gathered(self, matches: Iterable[Match], now: datetime) -> list[Notification]:
        found: list[Notification] = []
        for match in matches:
            if match.status is Status.FIRING:
                self.tally.match(match.rule.name, micros_of(match.time))
            prepared = self._found(match)
            if prepared is not None:
                found += self.gatherer.take(prepared, now)
        return found


def _next_of(portions: Iterator[list[Match]]) -> list[Match] | None:
    """None at the end, which is also where a tick fails."""
    try:
        return next(portions, None)
    except Exception:
        log.exception("the rules could not be told that time passed")
        return None
