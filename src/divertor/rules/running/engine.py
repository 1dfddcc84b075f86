"""The engine: events in, matches out. It joins filters, rule types, alarms and projection.

Pure: `now` is an argument, nothing is read or sent. A live service pushes events as they arrive, a backtest
pushes stored ones with their own times (`rules.backtest`), a restart replays the stream (`warm`): the code is
the same. The same events with the same times, and the same ticks between them, give the same matches with the
same ids. It is not thread-safe; one engine belongs to one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from operator import attrgetter
from typing import Any, TypeAlias

from divertor.model.events import Event, micros_of
from divertor.rules.alarms import Alarms, Verdict
from divertor.rules.document import Document
from divertor.rules.filters.filter import Filter, Predicate
from divertor.rules.rule import Audience, Match, Rule
from divertor.rules.running.index import FilterIndex
from divertor.rules.running.matches import match_of
from divertor.rules.running.observing import View
from divertor.rules.types.contract import Hit, Observation

#: Sets of index names whose rules are remembered; events carry few different ones.
_MAX_ROUTES = 1024

#: Polls that a compatible rule makes up for at once, when no time passed for long.
_MAX_POLLS = 100_000

#: Up to so many filters are simply tried one after the other.
_FEW = 2

#: Hits of one rule, and rules, after which a tick can be interrupted.
PORTION = 200
_RULES_AT_ONCE = 100

#: Microseconds between two looks at what may be forgotten of alarms.
_FORGET = 10_000_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Health:
    """What went wrong with a rule since it was loaded: `late` events were too old to be judged, `faults` is
    how often it raised, `fault` the last such exception's type and words.
    """

    late: int = 0
    faults: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """A rule's state and counts, and what it must have been read from to go on from there."""

    text: str
    drawn: str
    state: Any
    hits: int
    matches: int
    polled: int | None
    health: Health


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything an engine remembers, by rule name. It shares the engine's objects: pickle it before the next
    event."""

    rules: Mapping[str, Saved]
    alarms: Alarms


@dataclass(slots=True)
class _Running:
    """One rule with its state, what it counted since its last alert, and what is asked of it for every event,
    at hand. Times in microseconds. `polled` is the last poll of a compatible rule, 0 `every` of the others.
    """

    rule: Rule
    place: int
    view: View
    state: Any
    hits: int = 0
    matches: int = 0
    polled: int | None = None
    health: Health = Health()
    step: Callable[[Any, Observation, int], list[Hit]] = field(init=False)
    tick: Callable[[Any, int], list[Hit]] = field(init=False)
    every: int = field(init=False)
    delay: int = field(init=False)
    lateness: int | None = field(init=False)
    is_special: bool = field(init=False)

    def __post_init__(self) -> None:
        clock, lateness = self.rule.clock, self.rule.alarm.max_lateness
        self.step, self.tick = self.rule.behaviour.step, self.rule.behaviour.tick
        self.every = max(1, clock.run_every // _MICROSECOND) if clock.compatible else 0
        self.delay = clock.query_delay // _MICROSECOND
        self.lateness = None if lateness is None else lateness // _MICROSECOND
        self.is_special = bool(self.every or lateness is not None or self.rule.alarm.coverage)

    def is_late(self, seen: Observation, now: int) -> bool:
        if self.lateness is None or now - seen.micros <= self.lateness:
            return False
        health = self.health
        self.health = Health(health.late + 1, health.faults, health.fault)
        return True

    def is_between(self, seen: Observation) -> bool:
        """Whether the event falls between the minutes to which `limit_execution_coverage` confines."""
        alarm = self.rule.alarm
        return alarm.coverage and alarm.limit is not None and not alarm.limit.contains(seen.micros)

    def fault(self, problem: Exception) -> None:
        health = self.health
        text = f"{type(problem).__name__}: {problem}"[:200]
        self.health = Health(health.late, health.faults + 1, text)


@dataclass(frozen=True, slots=True)
class _Group:
    """Rules with one filter."""

    filter: Filter
    test: Predicate
    members: tuple[_Running, ...]

    def passed(self, document: Document) -> Sequence[_Running]:
        """The rules, if the filter lets the event through."""
        try:
            return self.members if self.test(document) else ()
        except Exception as problem:  # a boundary: what a filter trips over must not end the watch
            self.fault(problem)
            return ()

    def fault(self, problem: Exception) -> None:
        for running in self.members:
            running.fault(problem)


@dataclass(frozen=True, slots=True)
class _Route:
    """The rules that events with certain index names meet; no index where there are few."""

    groups: tuple[_Group, ...]
    index: FilterIndex | None

    def passed(self, document: Document) -> Sequence[_Running]:
        """The rules whose filters let the event through, in order."""
        groups, index = self.groups, self.index
        passed: list[_Group] = []
        for place in range(len(groups)) if index is None else index.candidates(document):
            group = groups[place]
            try:
                if group.test(document):
                    passed.append(group)
            except Exception as problem:  # a boundary: what one filter trips over must not end the others
                group.fault(problem)
        if len(passed) == 1:
            return passed[0].members
        return sorted((running for group in passed for running in group.members), key=_PLACE)


_PLACE = attrgetter("place")

#: What tells a view from others: the key's fields, the time's field and how it is written.
_Sight: TypeAlias = tuple[tuple[str, ...], str, str, str]


class Engine:
    """Runs rules over events.

    `replace` swaps the rules; `push` judges one event; `advance` lets time pass; `warm` rebuilds windows and
    silences from past events without alerting anybody. A rule that raises is left at that for this event, and
    its `health` says so; the others go on.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._running: list[_Running] = []
        self._routes: dict[tuple[str, ...], _Route] = {}
        self.alarms = Alarms()
        self._forgot = 0
        self.replace(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in use, enabled ones only, in order."""
        return tuple(running.rule for running in self._running)

    def health(self) -> dict[str, Health]:
        """By rule name."""
        return {running.rule.name: running.health for running in self._running}

    def counted(self, name: str) -> tuple[int, int]:
        """Hits and matches of a rule since its last alert, which the next one will tell."""
        return next(((one.hits, one.matches) for one in self._running if one.rule.name == name), (0, 0))

    def state(self, name: str) -> Any:
        """The state of a rule's type; None when no such rule runs."""
        return next((running.state for running in self._running if running.rule.name == name), None)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Use these rules from now on; one whose text is unchanged keeps its windows and counts."""
        before = self.snapshot().rules
        views: dict[_Sight, View] = {}
        enabled = [rule for rule in rules if rule.is_enabled]
        self._running = [
            _continued(rule, place, _view(rule, views), before.get(rule.name))
            for place, rule in enumerate(enabled)
        ]
        self._routes.clear()

    def snapshot(self) -> Snapshot:
        """What it remembers, for `restore`. Take it between two events, and pickle it before the next."""
        saved = {
            one.rule.name: Saved(
                one.rule.text, one.rule.drawn, one.state, one.hits, one.matches, one.polled, one.health
            )
            for one in self._running
        }
        return Snapshot(saved, self.alarms)

    def restore(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Go on from a snapshot. Rules whose text has changed since begin anew; their names are returned."""
        # What people say about alarms is kept elsewhere, and newer than the snapshot.
        snapshot.alarms.control(self.alarms.controls)
        self.alarms = snapshot.alarms
        self._running = [
            _continued(one.rule, one.place, one.view, snapshot.rules.get(one.rule.name))
            for one in self._running
        ]
        self._routes.clear()
        return tuple(
            one.rule.name for one in self._running if not _is_of(snapshot.rules.get(one.rule.name), one.rule)
        )

    def push(self, event: Event, now: datetime) -> list[Match]:
        """Judge one event; the matches that are to be alerted, silenced ones left out. `now` is aware."""
        return self.judge(event, micros_of(now))

    def judge(self, event: Event, moment: int) -> list[Match]:
        """As `push`; the time in microseconds since the epoch."""
        route = self._routes.get(event.indices) or self._route(event.indices)
        groups = route.groups
        if not groups:
            return []
        document = Document(event.read, event, event.roots)
        passed = groups[0].passed(document) if len(groups) == 1 else route.passed(document)
        if len(passed) == 1:
            return self._judge_one(passed[0], event, document, moment)
        matches: list[Match] = []
        known: dict[View, Observation] = {}
        last: View | None = None
        for running in passed:
            try:
                view = running.view
                if view is not last:
                    seen = known.get(view) or view.observe(event, document)
                    known[view], last = seen, view
                if running.is_special:
                    matches += self._judge_specially(running, seen, moment)
                    continue
                running.hits += 1
                hits = running.step(running.state, seen, moment)
                if hits:
                    matches += self._decided(running, hits, moment)
            except Exception as problem:  # a boundary: what one rule trips over must not end the others
                running.fault(problem)
        return matches

    def _judge_one(self, running: _Running, event: Event, document: Document, now: int) -> list[Match]:
        """The usual case, without what several rules share."""
        try:
            seen = running.view.observe(event, document)
            if running.is_special:
                return self._judge_specially(running, seen, now)
            running.hits += 1
            hits = running.step(running.state, seen, now)
            return self._decided(running, hits, now) if hits else []
        except Exception as problem:  # as above
            running.fault(problem)
            return []

    def warm(self, event: Event) -> None:
        """Take a past event in as if pushed when it was received: state changes, nobody is told."""
        self.push(event, event.received)

    def advance(self, now: datetime) -> list[Match]:
        """Let time pass: matches that only time can show, and forgetting what can no longer matter.

        A rule sees the time its `query_delay` ago; a compatible one only at multiples of its `run_every`.
        """
        return [match for part in self.advancing(now) for match in part]

    def advancing(self, now: datetime) -> Iterator[list[Match]]:
        """`advance` in portions, for whoever cannot be kept waiting while thousands of keys fall silent.

        Until the last portion the engine is in the midst of a tick: others may look at it, but nothing may be
        asked of it, and it is not to be saved.
        """
        moment = micros_of(now)
        if moment - self._forgot >= _FORGET or moment < self._forgot:
            self.alarms.forget(moment)
            self._forgot = moment
        matches: list[Match] = []
        for number, running in enumerate(self._running, 1):
            for part in self._poll(running, moment) if running.every else self._tick(running, moment):
                matches += part
                if len(matches) >= PORTION:
                    yield matches
                    matches = []
            if number % _RULES_AT_ONCE == 0:
                yield matches
                matches = []
        yield matches

    def _route(self, indices: tuple[str, ...]) -> _Route:
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        groups = _groups(one for one in self._running if fits_index(one.rule.index, indices))
        index = FilterIndex([group.filter for group in groups]) if len(groups) > _FEW else None
        route = self._routes[indices] = _Route(groups, index)
        return route

    def _judge_specially(self, running: _Running, seen: Observation, now: int) -> list[Match]:
        """A rule that is polled, or that some events come too late for or at the wrong time."""
        matches = [match for part in self._poll(running, now) for match in part] if running.every else []
        if running.is_late(seen, now) or running.is_between(seen):
            return matches
        running.hits += 1
        hits = running.step(running.state, seen, _poll_after(running, now) if running.every else now)
        return matches + self._decided(running, hits, now) if hits else matches

    def _decided(self, running: _Running, hits: Sequence[Hit], now: int) -> list[Match]:
        running.matches += len(hits)
        verdicts = self.alarms.decide(running.rule, running.state, hits, now)
        return _told(running, verdicts) if verdicts else []

    def _tick(self, running: _Running, now: int, at: int | None = None) -> Iterable[list[Match]]:
        """`at`: the time the rule's type sees, which is its delay ago unless it is a poll's."""
        try:
            hits = running.tick(running.state, now - running.delay if at is None else at)
        except Exception as problem:  # as for events
            running.fault(problem)
            return ()
        return self._in_portions(running, hits, now) if hits or self.alarms.knows(running.rule.name) else ()

    def _in_portions(self, running: _Running, hits: Sequence[Hit], now: int) -> Iterator[list[Match]]:
        """What becomes of a tick's hits, of what waited, and of alarms that are over."""
        running.matches += len(hits)
        try:
            for first in range(0, len(hits), PORTION):
                portion = hits[first : first + PORTION]
                yield _told(running, self.alarms.decide(running.rule, running.state, portion, now))
            passed = self.alarms.passed(running.rule, running.state, now)
            while verdicts := list(islice(passed, PORTION)):
                yield _told(running, verdicts)
        except Exception as problem:  # as for events
            running.fault(problem)

    def _poll(self, running: _Running, now: int) -> Iterator[list[Match]]:
        """The polls of a compatible rule that were due since the last one."""
        last = _poll_after(running, now) - running.every
        if running.polled is None:
            running.polled = last
        first = max(running.polled + running.every, last - _MAX_POLLS * running.every)
        for poll in range(first, last + 1, running.every):
            running.polled = poll
            yield from self._tick(running, poll + running.delay, poll)


def _poll_after(running: _Running, now: int) -> int:
    """When the poll that an event of now belongs to ends."""
    return ((now - running.delay) // running.every + 1) * running.every


def _groups(running: Iterable[_Running]) -> tuple[_Group, ...]:
    gathered: dict[object, list[_Running]] = {}
    for one in running:
        filter_ = one.rule.filter
        gathered.setdefault(filter_.source or id(filter_.test), []).append(one)
    filters = [(members[0].rule.filter, tuple(members)) for members in gathered.values()]
    return tuple(_Group(filter_, filter_.test, members) for filter_, members in filters)


def _told(running: _Running, verdicts: Sequence[Verdict]) -> list[Match]:
    """The matches of verdicts; what was counted since the last alert begins anew."""
    matches: list[Match] = []
    for verdict in verdicts:
        matches.append(match_of(running.rule, verdict, running.hits, running.matches))
        if verdict.audience is not Audience.ACTIONS:
            running.hits = running.matches = 0
    return matches


def fits_index(patterns: tuple[str, ...], indices: tuple[str, ...]) -> bool:
    """Whether one of an event's index names fits one of the patterns (`*`: any run of characters)."""
    return any(fnmatchcase(index, _escaped(pattern)) for pattern in patterns for index in indices)


def _escaped(pattern: str) -> str:
    # An index pattern knows only the star; fnmatch would read brackets and question marks too.
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _view(rule: Rule, views: dict[_Sight, View]) -> View:
    clock = rule.clock
    sight = (rule.query_key, clock.field, clock.kind, clock.format)
    if sight not in views:
        views[sight] = View(rule.query_key, clock)
    return views[sight]


def _continued(rule: Rule, place: int, view: View, before: Saved | None) -> _Running:
    if before is None or not _is_of(before, rule):
        return _Running(rule, place, view, rule.behaviour.start())
    return _Running(
        rule, place, view, before.state, before.hits, before.matches, before.polled, before.health
    )


def _is_of(saved: Saved | None, rule: Rule) -> bool:
    return saved is not None and (saved.text, saved.drawn) == (rule.text, rule.drawn)
