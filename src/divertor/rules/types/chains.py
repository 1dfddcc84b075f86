"""Chains of events of one key: which events together are what a correlation asks for, and what spoils it.

A `Plan` says how many events of which part, in which order, within which time, and without which other ones
between them. A `Run` is what is known of one key. Events are taken in order of their times: a late one is
put where it belongs and what follows from the events is worked out anew. A chain that is found uses up
every event up to its last one.

The parts are numbered; an event says which of them it can be. `0, 1, …` are parts of the chain; `-1 - n` is
an event that must not come after `n` parts: -1 before the chain, and after the last part until the time is
over.
"""

from __future__ import annotations

from bisect import bisect_right, insort_right
from dataclasses import dataclass, field
from typing import NamedTuple

from divertor.model.events import Event


class Noted(NamedTuple):
    """An event, when it happened, and what it can be."""

    micros: int
    parts: tuple[int, ...]
    event: Event


@dataclass(frozen=True, slots=True)
class Chain:
    """Events that belong together, by time. `start` is the first one's time."""

    start: int
    events: tuple[Noted, ...]

    @property
    def last(self) -> Noted:
        return self.events[-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """`counts`: how many events of each part; all within `timeframe` microseconds, in order or not."""

    counts: tuple[int, ...]
    timeframe: int
    ordered: bool
    forbidden: frozenset[int] = frozenset()
    #: How many of the parts suffice, when there is no order; None: all.
    at_least: int | None = None

    #: Whether a chain stands only when nothing spoiled it until its time was over.
    waits: bool = field(init=False)
    #: How far back an event can matter.
    reach: int = field(init=False)
    #: Events of one key that are remembered, in case one comes late; the oldest go first.
    max_noted: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "waits", -1 - len(self.counts) in self.forbidden)
        object.__setattr__(self, "reach", self.timeframe * (2 if -1 in self.forbidden else 1))
        object.__setattr__(self, "max_noted", max(100, 4 * sum(self.counts)))


@dataclass(slots=True)
class Progress:
    """What follows from the events so far. `parts`: the latest events of each part, each with the chain of
    the parts before it; `done`: the latest chain up to each part; `pending`: one that is complete and
    waits.
    """

    parts: list[list[tuple[Chain | None, Noted]]]
    done: list[Chain | None]
    forbidden_at: int | None = None
    pending: Chain | None = None

    @classmethod
    def of(cls, plan: Plan) -> Progress:
        return cls([[] for _ in plan.counts], [None for _ in plan.counts])


@dataclass(slots=True)
class Run:
    """One key: the events that may still matter, by time, and what follows from them. `slot`: where it is
    waited for.
    """

    progress: Progress
    newest: int
    noted: list[Noted] = field(default_factory=list)
    slot: int | None = None


def take(plan: Plan, run: Run, noted: Noted) -> list[Chain]:
    """The chains that an event completes, or shows to have stood."""
    if noted.micros >= run.newest:
        run.newest = noted.micros
        run.noted.append(noted)
        found = _next(plan, run.progress, noted)
    else:
        insort_right(run.noted, noted, key=lambda one: one.micros)
        found = _replay(plan, run)
    chains = []
    while found is not None:
        chains.append(found)
        found = _use_up(plan, run, found)
    _forget(plan, run)
    return chains


def settle(plan: Plan, run: Run, now: int) -> list[Chain]:
    """The chains that stand because their time is over."""
    chains = []
    found = _ripe(plan, run.progress, now)
    while found is not None:
        chains.append(found)
        found = _use_up(plan, run, found) or _ripe(plan, run.progress, now)
    return chains


def _use_up(plan: Plan, run: Run, chain: Chain) -> Chain | None:
    """Forget the events up to the chain's last one; the next chain that the others make."""
    last = next((place for place, one in enumerate(run.noted) if one is chain.last), -1)
    del run.noted[: last + 1]
    return _replay(plan, run)


def _replay(plan: Plan, run: Run) -> Chain | None:
    """Work out from the events what follows from them, up to the first chain."""
    run.progress = Progress.of(plan)
    found = (_next(plan, run.progress, noted) for noted in run.noted)
    return next((chain for chain in found if chain is not None), None)


def _next(plan: Plan, progress: Progress, noted: Noted) -> Chain | None:
    ripe = _ripe(plan, progress, noted.micros)
    if ripe is not None:
        return ripe
    for part in noted.parts:
        if part < 0:
            _spoil(plan, progress, -1 - part, noted.micros)
    chain = (_in_order if plan.ordered else _in_any_order)(plan, progress, noted)
    if chain is None or not plan.waits:
        return chain
    progress.pending = progress.pending or chain
    return None


def _ripe(plan: Plan, progress: Progress, now: int) -> Chain | None:
    pending = progress.pending
    return pending if pending is not None and now >= pending.start + plan.timeframe else None


def _spoil(plan: Plan, progress: Progress, after: int, micros: int) -> None:
    """What must not come after so many parts came."""
    if after == 0:
        progress.forbidden_at = micros
        return
    progress.done[after - 1] = None
    if after < len(plan.counts):
        progress.parts[after].clear()
    else:
        progress.pending = None
    if not plan.ordered:
        for events in progress.parts:
            events.clear()


def _in_order(plan: Plan, progress: Progress, noted: Noted) -> Chain | None:
    """From the last part to the first, so that one event is not two parts of a chain."""
    complete = None
    for part in sorted(noted.parts, reverse=True):
        if part < 0:
            break
        before = progress.done[part - 1] if part else None
        if before is None and (part > 0 or not _may_begin(plan, progress, noted)):
            continue
        events = progress.parts[part]
        events.append((before, noted))
        if len(events) > plan.counts[part]:
            del events[0]
        if len(events) == plan.counts[part]:
            progress.done[part] = _chain(events)
            if part == len(plan.counts) - 1:
                complete = progress.done[part]
    return complete if complete is not None and _is_short(plan, complete, noted) else None


def _may_begin(plan: Plan, progress: Progress, noted: Noted) -> bool:
    return progress.forbidden_at is None or noted.micros - progress.forbidden_at >= plan.timeframe


def _chain(events: list[tuple[Chain | None, Noted]]) -> Chain:
    before = events[0][0]
    own = tuple(noted for _before, noted in events)
    return Chain(own[0].micros, own) if before is None else Chain(before.start, before.events + own)


def _is_short(plan: Plan, chain: Chain, noted: Noted) -> bool:
    return noted.micros - chain.start < plan.timeframe


def _in_any_order(plan: Plan, progress: Progress, noted: Noted) -> Chain | None:
    for part in noted.parts:
        if part >= 0:
            events = progress.parts[part]
            events.append((None, noted))
            if len(events) > plan.counts[part]:
                del events[0]
    complete = [
        events
        for events, needed in zip(progress.parts, plan.counts, strict=True)
        if len(events) == needed and noted.micros - events[0][1].micros < plan.timeframe
    ]
    if len(complete) < (plan.at_least or len(plan.counts)):
        return None
    # One event may be several parts, and is shown once; of equal times, the present event is the last.
    together = {id(one): one for events in complete for _before, one in events}
    by_time = sorted(together.values(), key=lambda one: (one.micros, one is noted))
    return Chain(by_time[0].micros, tuple(by_time))


def _forget(plan: Plan, run: Run) -> None:
    oldest, noted = run.newest - plan.reach, run.noted
    stale = 0
    if noted and noted[0].micros <= oldest:
        stale = bisect_right(noted, oldest, key=lambda one: one.micros)
    if len(noted) > plan.max_noted:
        stale = max(stale, len(noted) - plan.max_noted * 3 // 4)
    del noted[:stale]
