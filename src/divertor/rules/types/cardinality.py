"""`type: cardinality`: too many or too few different values of `cardinality_field` within `timeframe`, by
key.

Values are counted as frequency counts events: a value last seen exactly `timeframe` before the newest
event, or the present, no longer counts; the elements of a list are values by themselves. With
`max_cardinality`, an event matches that brings a value which is not among them and makes them more than
allowed. With `min_cardinality`, time shows that they are too few: a key is judged once it was known for
`timeframe`, and again after each further one. A key without any values left is told once and forgotten;
without a query_key there is only one, which is told again.

The compatible mode does what ElastAlert does: values expire only on ticks or when there might be a match,
one exactly `timeframe` old still counts, every event matches while there are too many, and a match starts
the wait for too few anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.model.events import Event
from divertor.rules.reading.options import Option, boolean, integer, span, text
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side, TypeDeclaration
from divertor.rules.types.deadlines import Deadlines, grain_of
from divertor.rules.types.frequency import minute
from divertor.rules.types.kept import MAX_SIZE, MAX_SIZE_OF_KEY, Latest
from divertor.rules.types.remembered import MAX_KEYS, compact, idle, longest_idle

MAX_CARDINALITY = 1_000_000

#: Values of one rule together that are remembered.
MAX_VALUES = 4_000_000

#: The same when their events are remembered too.
MAX_EVENTS = 200_000

#: Values of one key that are remembered beyond those that decide.
SPARE_VALUES = 1000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Values:
    """One key: when each value was last seen, mostly in that order (`late`: not quite), the newest time,
    when it is to be judged, and the slot of `Counted.due` it lies in for that.

    A single value that was last seen at the newest time is kept as itself: that is all most of a million keys
    have, and a mapping for it would be 40 per cent of the key.
    """

    newest: int
    judged_at: int = 0
    slot: int | None = None
    seen: dict[str, int] | str | None = None
    late: bool = False
    #: The last event of each value, when matches are to show them.
    events: Latest | None = None

    def __len__(self) -> int:
        """How many values are remembered."""
        seen = self.seen
        return len(seen) if isinstance(seen, dict) else seen is not None

    def times(self) -> Mapping[str, int]:
        """When each value was last seen."""
        if self.seen is None or isinstance(self.seen, str):
            return {} if self.seen is None else {self.seen: self.newest}
        return self.seen

    def sees_again(self, value: str, micros: int, timeframe: int) -> bool:
        """The usual case, told early: the newest event brings a value that is among them."""
        seen = self.seen
        if not isinstance(seen, dict):
            if seen != value or not self.newest <= micros < self.newest + timeframe:
                return False
            self.newest = micros
            return True
        before = seen.get(value)
        if before is None or micros < self.newest or before <= micros - timeframe:
            return False
        del seen[value]
        seen[value] = self.newest = micros
        return True

    def add(self, value: str, micros: int, timeframe: int) -> bool:
        """Whether it is one that was not in the window, and now is."""
        if micros <= self.newest - timeframe:
            return False
        seen = self.seen
        if not isinstance(seen, dict):
            if micros >= self.newest and (seen is None or self.newest <= micros - timeframe):
                self.seen, self.newest = value, micros  # nothing else is in the window any more
                return True
            seen = self.seen = dict(self.times())
        before = seen.pop(value, None)
        if micros < self.newest:
            self.late = True
        else:
            self.newest = micros
        seen[value] = micros if before is None or before < micros else before
        return before is None or before <= self.newest - timeframe

    def drop_until(self, micros: int) -> None:
        """Forget what was last seen then or before; some of it may stay as long as `late`."""
        if isinstance(self.seen, dict):
            for value in idle(self.seen, lambda last: last <= micros):
                del self.seen[value]
        elif self.newest <= micros:
            self.seen = None

    def put_in_order(self) -> None:
        if self.late:
            self.seen = dict(sorted(self.times().items(), key=lambda item: item[1]))
            self.late = False

    def keep_event(self, values: list[str], event: Event, most: int) -> None:
        """As far as `most` bytes are enough for all of them."""
        events, times = self.events or Latest(), self.times()
        events.put([value for value in values if value in times], event, most)
        # What is forgotten goes now and then, all at once.
        if len(events) > 2 * len(times) + 16:
            events.keep(times)
        self.events = events

    def hit(self, seen: Observation, values: list[str]) -> Hit:
        """With the events of the values but these, the longest ago first."""
        own = set(values)
        events, fields = (self.events or Latest()).of(value for value in self.times() if value not in own)
        related = tuple(event for event in events if event is not seen.event)
        return Hit.of(seen, related=related, fields=fields)

    def keep(self, most: int) -> None:
        while isinstance(self.seen, dict) and len(self.seen) > most:
            for value in longest_idle(self.seen):
                del self.seen[value]


@dataclass(slots=True)
class Counted:
    """The state: values by key, the longest idle first; which keys are to be judged when; how many values are
    held in all, and how many bytes of their events.
    """

    due: Deadlines
    by_key: dict[Key, Values] = field(default_factory=dict)
    held: int = 0
    kept_size: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Cardinality:
    """`timeframe` and `late` in microseconds; `most` and `least` allowed values, None without a bound."""

    field: str
    timeframe: int
    most: int | None = None
    least: int | None = None
    keyed: bool = False
    attach_related: bool = False
    max_keys: int = MAX_KEYS
    measured: bool = False
    side: Side = "above"
    late: int = 0

    def start(self) -> Counted:
        return Counted(Deadlines(grain_of(self.timeframe)))

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe + self.late)

    def step(self, state: Counted, seen: Observation, now: int) -> list[Hit]:
        values = seen.document.values(self.field)
        if not values:
            return []
        known, texts = self._of_key(state, seen, now), [compact(value) for value in values]
        if len(texts) == 1 and known.sees_again(texts[0], seen.micros, self.timeframe):
            if self.attach_related:
                _keep_event(state, known, texts, seen.event)
            return []
        mapping = known.seen
        before = len(mapping) if isinstance(mapping, dict) else mapping is not None
        fresh = self._add_all(known, texts, seen)
        if self.attach_related:
            _keep_event(state, known, texts, seen.event)
        mapping = known.seen
        after = len(mapping) if isinstance(mapping, dict) else mapping is not None
        most, fires = self.most, False
        if fresh and most is not None and after > most:
            after = self._count(known)
            fires = after > most
        state.held += after - before
        if len(state.by_key) > self.max_keys or state.held > MAX_EVENTS:
            self._bound(state)
        if not fires:
            return []
        return [known.hit(seen, texts) if self.attach_related else Hit.of(seen)]

    def tick(self, state: Counted, now: int) -> list[Hit]:
        if self.least is not None:
            return list(self._too_few(state, now, self.least))
        for key in idle(state.by_key, lambda known: self._is_over(known, now)):
            self._forget(state, key)
        return []

    @property
    def threshold(self) -> float:
        """Where alarms begin."""
        return self.most + 1.0 if self.most is not None else (self.least or 0) - 1.0

    def measure(self, state: Counted, key: Key, now: int) -> float | None:
        """The different values within the last `timeframe`; those beyond what decides may be missing."""
        if not self.measured:
            return None
        known = state.by_key.get(key)
        if known is None:
            return 0.0
        return float(sum(now - last < self.timeframe for last in known.times().values()))

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return sentence(self.field, self.timeframe, self.most, self.least, time)

    def _is_over(self, known: Values, now: int) -> bool:
        """Whether nothing that may still come can be in one window with what is known."""
        return now - known.newest > self.timeframe + self.late

    def _of_key(self, state: Counted, seen: Observation, now: int) -> Values:
        known = state.by_key.pop(seen.key, None)
        if known is not None and self.least is None and self._is_over(known, now):
            _let_go(state, known)
            known = None
        if known is None:
            known = Values(seen.micros)
            if self.least is not None:
                self._judge_at(state, seen.key, known, seen.micros + self.timeframe)
        state.by_key[seen.key] = known
        return known

    def _add_all(self, known: Values, values: list[str], seen: Observation) -> bool:
        """Whether one of them is new."""
        fresh, micros = False, seen.micros
        for value in values:
            fresh = known.add(value, micros, self.timeframe) or fresh
        oldest = known.newest - self.timeframe
        if isinstance(known.seen, dict):
            if next(iter(known.seen.values()), micros) <= oldest:
                known.drop_until(oldest)
            if len(known.seen) > SPARE_VALUES:
                known.keep(max(self.most or 0, self.least or 0) + SPARE_VALUES)
        return fresh

    def _count(self, known: Values) -> int:
        if known.late:
            known.put_in_order()
            known.drop_until(known.newest - self.timeframe)
        return len(known)

    def _too_few(self, state: Counted, now: int, least: int) -> Iterator[Hit]:
        for key in state.due.due(now):
            known = state.by_key[key]
            before = len(known)
            known.put_in_order()
            known.drop_until(now - self.timeframe)
            state.held -= before - len(known)
            if known.judged_at > now:
                self._judge_at(state, key, known, known.judged_at)
            elif len(known) >= least:
                # Not before so many are too old that too few are left.
                self._judge_at(state, key, known, list(known.times().values())[-least] + self.timeframe)
            else:
                yield Hit.at(key, now)
                self._after_match(state, key, known, now)

    def _after_match(self, state: Counted, key: Key, known: Values, now: int) -> None:
        if len(known) or not self.keyed:
            self._judge_at(state, key, known, now + self.timeframe)
        else:
            self._forget(state, key)

    def _judge_at(self, state: Counted, key: Key, known: Values, micros: int) -> None:
        known.judged_at = micros
        known.slot = state.due.set(key, micros)

    def _forget(self, state: Counted, key: Key) -> None:
        known = state.by_key.pop(key)
        _let_go(state, known)
        if known.slot is not None:
            state.due.drop(key, known.slot)

    def _bound(self, state: Counted) -> None:
        most = MAX_EVENTS if self.attach_related else MAX_VALUES
        while len(state.by_key) > self.max_keys or (state.held > most and len(state.by_key) > 1):
            for key in longest_idle(state.by_key):
                self._forget(state, key)
                state.forgotten += 1


def _keep_event(state: Counted, known: Values, values: list[str], event: Event) -> None:
    """The event is to be shown as the last one of these values, as far as there is room."""
    before = 0 if known.events is None else known.events.size
    others = state.kept_size - before
    known.keep_event(values, event, min(MAX_SIZE_OF_KEY, MAX_SIZE - others))
    state.kept_size = others + (0 if known.events is None else known.events.size)


def _let_go(state: Counted, known: Values) -> None:
    """A key is forgotten."""
    state.held -= len(known)
    if known.events is not None:
        state.kept_size -= known.events.size


@dataclass(slots=True)
class Polled:
    """The state of the compatible mode: when each value of each key was last seen, and when waits began."""

    by_key: dict[Key, dict[str, int]] = field(default_factory=dict)
    first: dict[Key, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolledCardinality:
    """As ElastAlert polls; `query_key` decides whether placeholders show a key."""

    field: str
    timeframe: int
    most: int | None = None
    least: int | None = None

    def start(self) -> Polled:
        return Polled()

    def span(self) -> timedelta:
        return timedelta(microseconds=self.timeframe)

    def step(self, state: Polled, seen: Observation, now: int) -> list[Hit]:
        values = state.by_key.setdefault(seen.key, {})
        state.first.setdefault(seen.key, seen.micros)
        value = seen.document.get(self.field)
        if value is None:
            return []
        values[f"{isinstance(value, str)} {compact(value)}"] = seen.micros
        if not self._is_match(state, seen.key, seen.micros):
            return []
        hits = self.tick(state, seen.micros)
        if self._is_match(state, seen.key, seen.micros):
            state.first.pop(seen.key, None)
            hits.append(Hit.of(seen))
        return hits

    def tick(self, state: Polled, now: int) -> list[Hit]:
        hits = []
        for key, values in state.by_key.items():
            for value in [value for value, last in values.items() if now - last > self.timeframe]:
                del values[value]
            if self.least is not None and self._is_match(state, key, now):
                state.first.pop(key, None)
                hits.append(Hit.at(key, now))
        return hits

    def summary(self, _document: Mapping[str, Any], time: datetime) -> str:
        return sentence(self.field, self.timeframe, self.most, self.least, time)

    def _is_match(self, state: Polled, key: Key, micros: int) -> bool:
        count = len(state.by_key[key])
        if self.most is not None and count > self.most:
            return True
        waited = micros - state.first.get(key, micros)
        return self.least is not None and count < self.least and waited > self.timeframe


def sentence(field: str, timeframe: int, most: int | None, least: int | None, time: datetime) -> str:
    """What a match means, with ElastAlert's words."""
    start = time - timedelta(microseconds=timeframe)
    bound = f"A maximum of {most}" if most is not None else f"Less than {least}"
    between = f"between {minute(start)} and {minute(time)}"
    return f"{bound} unique {field}(s) occurred since last alert or {between}"


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    most, least = options["max_cardinality"], options["min_cardinality"]
    if most is None and least is None:
        raise ValueError("neither max_cardinality nor min_cardinality")
    timeframe = options["timeframe"] // _MICROSECOND
    if settings.compatible:
        return PolledCardinality(options["cardinality_field"], timeframe, most, least)
    return Cardinality(
        field=options["cardinality_field"],
        timeframe=timeframe,
        most=most,
        least=least,
        keyed=bool(settings.query_key),
        attach_related=options["attach_related"],
        measured=settings.measured,
        side="below" if most is None else "above",
        late=settings.late // _MICROSECOND,
    )


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "cardinality",
    (
        Option("cardinality_field", text, required=True),
        Option("timeframe", span(), required=True),
        Option("max_cardinality", integer(0, MAX_CARDINALITY)),
        Option("min_cardinality", integer(1, MAX_CARDINALITY)),
        Option("attach_related", boolean, default=False),
    ),
    make,
)
