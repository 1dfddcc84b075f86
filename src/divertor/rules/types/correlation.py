"""`type: correlation` and `type: sequence`: several kinds of events of one key within `timeframe`, in any
order or in this one.

`events` lists them: each with a `filter` in the language of rules, how many are needed (`count`), or that
there must be none (`without`), and the fields that hold the key where they are not the rule's `query_key`
(`key`). In a sequence, events that must not be stand where they must not be: between two others, before the
first (not within `timeframe` before it) or after the last (not until `timeframe` after the first one). In a
correlation there must be none from the first event until `timeframe` after it. What must not follow is
known when the time is over, so the match comes then.

`eql` is a sequence in Elasticsearch's EQL instead of `events`.

The match shows the last event, the others are in `related_events`. It uses up the events until then. Two
events exactly `timeframe` apart are not together, as with `frequency`. An event without a key belongs to
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.model.documents import Node
from divertor.model.fields import fail, items_of, text_of
from divertor.rules.document import Document
from divertor.rules.filters.clauses import any_of
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.eql import Sequence, parse_sequence
from divertor.rules.filters.filter import Filter
from divertor.rules.reading.options import Given, Option, boolean, integer, span, text, texts
from divertor.rules.types.chains import Chain, Noted, Plan, Progress, Run, settle, take
from divertor.rules.types.contract import Hit, Key, Observation, Settings, TypeDeclaration
from divertor.rules.types.deadlines import Deadlines, grain_of
from divertor.rules.types.remembered import MAX_KEYS, compact, idle, longest_idle

MAX_PARTS = 20

#: Events of one chain.
MAX_COUNT = 1000

#: Events of one rule that are remembered.
MAX_EVENTS = 200_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of event: which they are, how many are needed, or that there must be none. `key`: the fields
    that hold the key; () for the rule's own.
    """

    name: str
    filter: Filter
    count: int = 1
    key: tuple[str, ...] = ()
    without: bool = False


@dataclass(slots=True)
class Runs:
    """The state: what is known of each key, the longest idle first; `held` counts remembered events."""

    waiting: Deadlines
    by_key: dict[Key, Run] = field(default_factory=dict)
    held: int = 0
    forgotten: int = 0


class Correlation:
    """Parts in order (`ordered`) or in any, within `timeframe`, joined by `query_key`; without one all events
    are of one key. With `at_least`, so many of the parts suffice. `late`: how much later than it happened an
    event may come.

    :raises ValueError: the parts make no sense together.
    """

    def __init__(
        self,
        parts: tuple[Part, ...],
        timeframe: timedelta,
        *,
        ordered: bool,
        query_key: tuple[str, ...] = (),
        at_least: int | None = None,
        max_keys: int = MAX_KEYS,
        late: timedelta = timedelta(0),
    ) -> None:
        _check(parts, query_key)
        if at_least is not None and (ordered or at_least > sum(not part.without for part in parts)):
            raise ValueError("at_least is a number of the events, in any order")
        self.parts = parts
        self.query_key = query_key
        self.max_keys = max_keys
        self.late = late // _MICROSECOND
        numbered = _numbered(parts, ordered)
        self._numbered = tuple((number, part, part.key or query_key) for number, part in numbered)
        self.plan = Plan(
            counts=tuple(part.count for part in parts if not part.without),
            timeframe=timeframe // _MICROSECOND,
            ordered=ordered,
            forbidden=frozenset(number for number, _part in numbered if number < 0),
            at_least=at_least,
        )
        self._shows_key = len(query_key) == 1 and any(part.key for part in parts)
        #: What passes none of the parts' filters is of no use here.
        self.selects = any_of([part.filter for part in parts])

    def start(self) -> Runs:
        return Runs(Deadlines(grain_of(self.plan.timeframe)))

    def span(self) -> timedelta:
        return (self.plan.reach + self.late) * _MICROSECOND

    def step(self, state: Runs, seen: Observation, now: int) -> list[Hit]:
        roles: dict[Key, list[int]] = {}
        for number, part, names in self._numbered:
            if part.filter.test(seen.document):
                key = _key(seen.document, names)
                if key is not None or not names:
                    roles.setdefault(key, []).append(number)
        hits: list[Hit] = []
        for key, numbers in roles.items():
            hits += self._take(state, key, Noted(seen.micros, tuple(numbers), seen.event), now)
        return hits

    def tick(self, state: Runs, now: int) -> list[Hit]:
        hits: list[Hit] = []
        for key in state.waiting.due(now):
            run = state.by_key.get(key)
            if run is not None:
                run.slot = None
                hits += self._settled(state, key, run, now)
        for key in idle(state.by_key, lambda run: self._is_stale(run, now)):
            self._forget(state, key)
        return hits

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        joined = ", then " if self.plan.ordered else " and "
        minutes = self.plan.timeframe * _MICROSECOND
        return f"{joined.join(map(_words, self.parts))} within {minutes}"

    def _take(self, state: Runs, key: Key, noted: Noted, now: int) -> list[Hit]:
        # Taken out and put back, so that the dict stays in order of last use.
        run = state.by_key.pop(key, None)
        before = 0 if run is None else len(run.noted)
        if run is None or self._is_stale(run, now):
            run = Run(Progress.of(self.plan), noted.micros)
        state.by_key[key] = run
        chains = take(self.plan, run, noted)
        state.held += len(run.noted) - before
        self._wait(state, key, run)
        if not run.noted:
            self._forget(state, key)
        if len(state.by_key) > self.max_keys or state.held > MAX_EVENTS:
            self._bound(state)
        return [self._hit(key, chain) for chain in chains]

    def _settled(self, state: Runs, key: Key, run: Run, now: int) -> list[Hit]:
        before = len(run.noted)
        chains = settle(self.plan, run, now)
        state.held += len(run.noted) - before
        self._wait(state, key, run)
        return [self._hit(key, chain) for chain in chains]

    def _wait(self, state: Runs, key: Key, run: Run) -> None:
        if not self.plan.waits:
            return
        if run.slot is not None:
            state.waiting.drop(key, run.slot)
        pending = run.progress.pending
        run.slot = None if pending is None else state.waiting.set(key, pending.start + self.plan.timeframe)

    def _hit(self, key: Key, chain: Chain) -> Hit:
        last = chain.last
        fields = {self.query_key[0]: key} if self._shows_key else {}
        micros = chain.start + self.plan.timeframe if self.plan.waits else last.micros
        related = tuple(one.event for one in chain.events[:-1])
        return Hit(key, micros, last.event.id, last.event, fields, related)

    def _is_stale(self, run: Run, now: int) -> bool:
        return now - run.newest > self.plan.reach + self.late and run.progress.pending is None

    def _forget(self, state: Runs, key: Key) -> None:
        run = state.by_key.pop(key)
        state.held -= len(run.noted)
        if run.slot is not None:
            state.waiting.drop(key, run.slot)

    def _bound(self, state: Runs) -> None:
        while len(state.by_key) > self.max_keys or state.held > MAX_EVENTS:
            for key in longest_idle(state.by_key):
                self._forget(state, key)
                state.forgotten += 1


def _key(document: Document, names: tuple[str, ...]) -> Key:
    """The key of an event; None without a value in each of the fields."""
    found = []
    for name in names:
        value = document.get(name)
        if value is None:
            return None
        found.append(compact(value))
    return ", ".join(found) if names else None


def _numbered(parts: tuple[Part, ...], ordered: bool) -> list[tuple[int, Part]]:
    """The parts with their numbers in a plan."""
    numbered, positive = [], 0
    total = sum(not part.without for part in parts)
    for part in parts:
        if part.without:
            numbered.append((-1 - (positive if ordered else total), part))
        else:
            numbered.append((positive, part))
            positive += 1
    return numbered


def _check(parts: tuple[Part, ...], query_key: tuple[str, ...]) -> None:
    if all(part.without for part in parts) or (len(parts) < 2 and parts[0].count < 2):
        raise ValueError("events needs two entries or more, one of them not 'without'")
    if len(parts) > MAX_PARTS or sum(part.count for part in parts) > MAX_COUNT:
        raise ValueError(f"at most {MAX_PARTS} kinds of events and {MAX_COUNT} events together")
    if len({part.name for part in parts}) < len(parts):
        raise ValueError("two events of one name")
    if any(part.key and len(part.key) != len(query_key) for part in parts):
        raise ValueError("a 'key' of an event names as many fields as the rule's query_key")


def _words(part: Part) -> str:
    if part.without:
        return f"no {part.name}"
    return part.name if part.count == 1 else f"{part.count} times {part.name}"


def parts_of(node: Node, what: str) -> tuple[Part, ...]:
    """The option's reader: a list of mappings."""
    items = items_of(node)
    if not items:
        fail(node, f"{what} is empty", "a list of name, filter, count, key and without")
    return tuple(_part(item, f"event {number} of {what}") for number, item in enumerate(items, 1))


_PART = (
    Option("name", text, required=True),
    Option("filter", lambda node, _what: compile_filter(node, []), required=True),
    Option("count", integer(1, MAX_COUNT), default=1),
    Option("key", texts, default=()),
    Option("without", boolean, default=False),
)


def _part(node: Node, what: str) -> Part:
    given = Given.of(node, what)
    known = {option.name for option in _PART}
    for name, (key, _item) in given.entries.items():
        if name not in known:
            fail(key, f"unknown {name[:80]!r} in {what}", ", ".join(sorted(known)))
    return Part(**given.read_all(_PART, what))


def sequence_of(node: Node, what: str) -> Sequence:
    """The option's reader: an EQL sequence."""
    return parse_sequence(text_of(node, what), node.position)


def _make(options: Mapping[str, Any], settings: Settings, *, ordered: bool) -> Correlation:
    parts, query, timeframe = options["events"], options["eql"], options["timeframe"]
    if (parts is None) == (query is None):
        raise ValueError("either events or eql says what belongs together")
    if query is not None:
        return _of_eql(query, timeframe, settings)
    if timeframe is None:
        raise ValueError("the option 'timeframe' is missing")
    at_least = options.get("at_least")
    return Correlation(
        parts,
        timeframe,
        ordered=ordered,
        query_key=settings.query_key,
        at_least=at_least,
        late=settings.late,
    )


def _of_eql(query: Sequence, timeframe: timedelta | None, settings: Settings) -> Correlation:
    """An EQL sequence: `until` is an event that must not come between any two of the others."""
    within = query.maxspan if query.maxspan is not None else timeframe
    if within is None:
        raise ValueError("neither the sequence's maxspan nor the option 'timeframe' says within what time")
    parts: list[Part] = []
    for number, step in enumerate(query.steps, 1):
        if parts and query.until is not None:
            parts.append(Part(f"until {number}", query.until.filter, 1, query.until.by, without=True))
        parts.append(Part(f"event {number}", step.filter, step.runs, step.by))
    by = query.steps[0].by
    query_key = settings.query_key if len(settings.query_key) == len(by) else by
    return Correlation(tuple(parts), within, ordered=True, query_key=query_key, late=settings.late)


_OPTIONS = (Option("events", parts_of), Option("eql", sequence_of), Option("timeframe", span()))

SEQUENCE: TypeDeclaration[Runs] = TypeDeclaration(
    "sequence", _OPTIONS, lambda options, settings: _make(options, settings, ordered=True)
)

CORRELATION: TypeDeclaration[Runs] = TypeDeclaration(
    "correlation",
    (*_OPTIONS, Option("ordered", boolean, default=False), Option("at_least", integer(1, MAX_PARTS))),
    lambda options, settings: _make(options, settings, ordered=options["ordered"]),
)
