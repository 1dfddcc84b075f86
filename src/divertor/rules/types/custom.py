"""`type: module.Class`: a rule type of the user's own.

A class with this package's interface (`contract.RuleType`: start, step, tick, span, summary) is made with the
rule's options and `Settings`. A class with ElastAlert's (`add_data`, `garbage_collect`, `matches`, …) runs as
it is: its events are dicts with the time as a `datetime`, its matches become hits. It is given each event by
itself, and `garbage_collect` every `run_every`; compatible mode gives it the events of a run as one batch.
What it raises the engine counts against the rule, which goes on; what it had matched by then is told with the
next event. Its memory is its own affair, and is lost with the process unless it can be pickled as plain data.

Finding the class is `plugins.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from divertor.model.documents import Node, to_value
from divertor.model.events import Event, format_time, micros_of, moment_of, parse_time
from divertor.rules.document import lookup, scalar_text
from divertor.rules.reading.options import Option
from divertor.rules.running.projection import plain
from divertor.rules.types import contract
from divertor.rules.types.contract import Hit, Key, Observation, Settings, TypeDeclaration

_MICROSECOND = timedelta(microseconds=1)

#: Options that ElastAlert's loader makes lengths of time of.
_SPANS = ("timeframe", "realert", "exponential_realert", "buffer_time", "run_every", "query_delay")

_NATIVE = ("start", "step", "tick", "span", "summary")


class RuleType:
    """What users' classes with ElastAlert's interface derive from."""

    required_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rules: dict[str, Any], args: Any = None) -> None:
        del args
        self.rules = rules
        self.matches: list[dict[str, Any]] = []
        self.occurrences: dict[Any, Any] = {}
        for name, default in (("category", ""), ("description", ""), ("owner", ""), ("priority", "2")):
            rules[name] = rules.get(name, default)

    def add_data(self, data: list[dict[str, Any]]) -> None:
        """Take events in, the documents as they are."""
        raise NotImplementedError

    def add_match(self, event: dict[str, Any]) -> None:
        """Have an event, or any other dict, told."""
        match = deepcopy(event)
        name = self.rules.get("timestamp_field", "@timestamp")
        if isinstance(match.get(name), datetime):
            match[name] = format_time(match[name])
        self.matches.append(match)

    def get_match_str(self, match: dict[str, Any]) -> str:
        """What a match means."""
        del match
        return ""

    def garbage_collect(self, timestamp: datetime) -> None:
        """All events until then were given."""

    def add_count_data(self, counts: dict[datetime, int]) -> None:
        """Never called: events are given, not counts."""
        raise NotImplementedError

    def add_terms_data(self, terms: dict[datetime, list[dict[str, Any]]]) -> None:
        """Never called."""
        raise NotImplementedError

    def add_aggregation_data(self, payload: dict[datetime, dict[str, Any]]) -> None:
        """Never called."""
        raise NotImplementedError


@dataclass(slots=True)
class Running:
    """The state: the user's object, what it has not been given yet, and when it was told the time last."""

    made: Any
    batch: list[Event] = field(default_factory=list)
    collected: int | None = None


@dataclass(frozen=True, slots=True)
class Custom:
    """A class with ElastAlert's interface. `sample` is an object of it that only words matches."""

    maker: Any
    options: Mapping[str, Any]
    settings: Settings
    sample: Any

    def start(self) -> Running:
        return Running(self.maker(deepcopy(dict(self.options))))

    def span(self) -> timedelta:
        timeframe = self.options.get("timeframe")
        return timeframe if isinstance(timeframe, timedelta) else self.settings.buffer_time

    def step(self, state: Running, seen: Observation, now: int) -> list[Hit]:
        if self.settings.compatible:
            state.batch.append(seen.event)
            return []
        state.made.add_data([self._document(seen.event, seen.micros)])
        return list(self._hits(state, [seen.event], seen.micros))

    def tick(self, state: Running, now: int) -> list[Hit]:
        every = self.settings.run_every // _MICROSECOND
        if state.collected is not None and now - state.collected < every and not self.settings.compatible:
            return []
        state.collected = now
        batch, state.batch = state.batch, []
        if batch:
            state.made.add_data([self._document(one, micros_of(one.timestamp)) for one in batch])
        state.made.garbage_collect(moment_of(now))
        return list(self._hits(state, batch, now))

    def summary(self, document: Mapping[str, Any], _time: datetime) -> str:
        try:
            return str(self.sample.get_match_str(dict(document)))[:10_000]
        except Exception:
            # A boundary: a sentence that the user's code cannot make is left out.
            return ""

    def _document(self, event: Event, micros: int) -> dict[str, Any]:
        """The event as ElastAlert gives it."""
        document = deepcopy(event.document())
        document[self.settings.timestamp_field] = moment_of(micros)
        names = self.settings.query_key
        if len(names) > 1:
            document[",".join(names)] = ", ".join(str(lookup(document, name)) for name in names)
        return document

    def _hits(self, state: Running, events: Sequence[Event], now: int) -> Iterator[Hit]:
        found, state.made.matches = list(state.made.matches), []
        by_id = {event.id: event for event in events}
        times: dict[tuple[Key, str], int] = {}
        for match in found:
            event = by_id.get(str(match.get("_id")))
            key, micros = self._key(match), self._time(match, now)
            cause = f"@{micros}" if event is None else event.id
            # Several matches of one moment are several.
            number = times[key, cause] = times.get((key, cause), -1) + 1
            yield Hit(key, micros, f"{cause}#{number}" if number else cause, event, _fields(match, event))

    def _key(self, match: Mapping[str, Any]) -> Key:
        names = self.settings.query_key
        if not names:
            return None
        joined = match.get(",".join(names))
        found = lookup(match, names[0]) if len(names) == 1 else joined
        return None if found is None else scalar_text(found)[:1024]

    def _time(self, match: Mapping[str, Any], now: int) -> int:
        moment = match.get(self.settings.timestamp_field)
        if isinstance(moment, str):
            try:
                moment = parse_time(moment)
            except ValueError:
                return now
        return micros_of(moment) if isinstance(moment, datetime) and moment.tzinfo else now


def _fields(match: Mapping[str, Any], event: Event | None) -> dict[str, Any]:
    """What a match shows beside its event."""
    known = {} if event is None else event.document()
    shown = {str(name): plain(_as_text(value)) for name, value in match.items()}
    return {name: value for name, value in shown.items() if name not in known or known[name] != value}


def _as_text(value: Any) -> Any:
    return format_time(value) if isinstance(value, datetime) and value.tzinfo else value


def _as_it_is(node: Node, _what: str) -> Any:
    return to_value(node)


def declare(path: str, found: Any, names: Sequence[str]) -> TypeDeclaration[Any]:
    """The declaration of a user's class; `names` are the options that the rule gives, all of them its own."""

    def make(options: Mapping[str, Any], settings: Settings) -> contract.RuleType[Any]:
        return _make(path, found, options, settings)

    return TypeDeclaration(path, tuple(Option(name, _as_it_is) for name in names), make)


def _make(path: str, found: Any, given: Mapping[str, Any], settings: Settings) -> contract.RuleType[Any]:
    """:raises ValueError: an option is missing, or the class cannot be made."""
    options = {name: value for name, value in given.items() if value is not None}
    missing = sorted(set(map(str, getattr(found, "required_options", ()))) - options.keys())
    if missing:
        raise ValueError(f"{path} needs {', '.join(missing)[:200]}")
    try:
        if all(callable(getattr(found, name, None)) for name in _NATIVE):
            native: contract.RuleType[Any] = found(options, settings)
            return native
        loaded = _as_loaded(options, settings)
        return Custom(found, loaded, settings, found(deepcopy(loaded)))
    except Exception as fault:
        # A boundary: the code is the user's.
        raise ValueError(f"{path} cannot be made ({type(fault).__name__}: {fault})"[:500]) from fault


def _as_loaded(options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The options as ElastAlert's loader leaves them."""
    loaded = {**options, "timestamp_field": settings.timestamp_field}
    for name in _SPANS:
        if isinstance(loaded.get(name), dict):
            loaded[name] = timedelta(**loaded[name])
    loaded.setdefault("run_every", settings.run_every)
    loaded.setdefault("buffer_time", settings.buffer_time)
    loaded.pop("query_key", None)
    if settings.query_key:
        loaded["query_key"] = ",".join(settings.query_key)
    if len(settings.query_key) > 1:
        loaded["compound_query_key"] = list(settings.query_key)
    return loaded
