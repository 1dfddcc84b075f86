"""The engine: events in, matches out. It joins filters, rule types, silences and projection.

Pure: `now` is an argument, nothing is read or sent. A live service pushes events as they arrive, a backtest
pushes stored ones with their own times (`backtest`), a restart replays the stream (`warm`): the code is the
same. It is not thread-safe; one engine belongs to one task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from divertor.model.events import Event, parse_time
from divertor.rules.alarms import Alarms, Verdict
from divertor.rules.document import Document, lookup, scalar_text
from divertor.rules.matches import match_of
from divertor.rules.projection import plain
from divertor.rules.rule import Match, Rule
from divertor.rules.types.contract import Observation

#: A query_key value is cut here: keys come from attackers.
MAX_KEY_LENGTH = 1024

#: Sets of index names whose rules are remembered; events carry few different ones.
_MAX_ROUTES = 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class _Running:
    """One rule with its state and what it counted since its last alert."""

    rule: Rule
    state: Any
    hits: int = 0
    matches: int = 0


class _Seen:
    """One event on its way past the rules: what they see of it, each view made once, if needed."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.document = Document.of(event)
        self._views: dict[tuple[tuple[str, ...], str], Observation] = {}

    def by(self, rule: Rule) -> Observation:
        """The event with the key and the time this rule goes by."""
        view = (rule.query_key, rule.clock.field)
        known = self._views.get(view)
        if known is None:
            key = query_key_value(self.document.fields, rule.query_key)
            micros = _micros(event_time(self.event, rule.clock.field))
            known = self._views[view] = Observation(self.event, key, micros, self.document)
        return known


class Engine:
    """Runs rules over events.

    `replace` swaps the rules; `push` judges one event; `advance` lets time pass; `warm` rebuilds windows and
    silences from past events without alerting anybody.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._running: list[_Running] = []
        self._routes: dict[tuple[str, ...], list[_Running]] = {}
        self.alarms = Alarms()
        self.replace(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in use, enabled ones only, in order."""
        return tuple(running.rule for running in self._running)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Use these rules from now on; one whose text is unchanged keeps its windows and counts."""
        before = {running.rule.name: running for running in self._running}
        self._running = [_continued(rule, before.get(rule.name)) for rule in rules if rule.is_enabled]
        self._routes.clear()

    def push(self, event: Event, now: datetime) -> list[Match]:
        """Judge one event; the matches that are to be alerted, silenced ones left out. `now` is aware."""
        running = self._rules_for(event.indices)
        if not running:
            return []
        seen = _Seen(event)
        moment = _micros(now)
        return [match for one in running for match in self._judge(one, seen, moment)]

    def warm(self, event: Event) -> None:
        """Take a past event in as if pushed when it was received: state changes, nobody is told."""
        self.push(event, event.received)

    def advance(self, now: datetime) -> list[Match]:
        """Let time pass: matches that only time can show, and forgetting what can no longer matter."""
        moment = _micros(now)
        self.alarms.forget(moment)
        matches: list[Match] = []
        for running in self._running:
            rule, state = running.rule, running.state
            hits = rule.behaviour.tick(state, moment)
            running.matches += len(hits)
            matches.extend(_told(running, self.alarms.tick(rule, state, hits, moment)))
        return matches

    def _rules_for(self, indices: tuple[str, ...]) -> list[_Running]:
        known = self._routes.get(indices)
        if known is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            known = [one for one in self._running if fits_index(one.rule.index, indices)]
            self._routes[indices] = known
        return known

    def _judge(self, running: _Running, seen: _Seen, now: int) -> list[Match]:
        rule = running.rule
        if not rule.filter.test(seen.document):
            return []
        running.hits += 1
        hits = rule.behaviour.step(running.state, seen.by(rule), now)
        if not hits:
            return []
        running.matches += len(hits)
        return _told(running, self.alarms.decide(rule, running.state, hits, now))


def _told(running: _Running, verdicts: Sequence[Verdict]) -> list[Match]:
    """The matches of verdicts; what was counted since the last alert begins anew."""
    matches: list[Match] = []
    for verdict in verdicts:
        matches.append(match_of(running.rule, verdict, running.hits, running.matches))
        running.hits = running.matches = 0
    return matches


def backtest(rule: Rule, events: Iterable[Event]) -> list[Match]:
    """What a rule would have alerted on these events, each judged at its own time."""
    engine = Engine([rule])
    return [match for event in events for match in engine.push(event, event.timestamp)]


def fits_index(patterns: tuple[str, ...], indices: tuple[str, ...]) -> bool:
    """Whether one of an event's index names fits one of the patterns (`*`: any run of characters)."""
    return any(fnmatchcase(index, _escaped(pattern)) for pattern in patterns for index in indices)


def _escaped(pattern: str) -> str:
    # An index pattern knows only the star; fnmatch would read brackets and question marks too.
    return pattern.replace("[", "[[]").replace("?", "[?]")


def event_time(event: Event, timestamp_field: str) -> datetime:
    """When an event happened, by the rule's timestamp field; never after it was received.

    A field that is missing or no ISO 8601 time yields to the event's own timestamp. A time after receipt is
    taken as the receipt: one event dated into next year would otherwise make every other one too old to
    count.
    """
    moment = event.timestamp
    if timestamp_field != "@timestamp":
        moment = _time_of(lookup(event.body, timestamp_field)) or moment
    return min(moment, event.received)


def _time_of(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError):
        return None


def query_key_value(fields: Mapping[str, Any], query_key: tuple[str, ...]) -> str | None:
    """The value that keeps an event apart from others; None without a query_key or without a value for it.

    Several fields are joined by `, `, a missing one spelled `None`, so that a compound key always has a
    value.
    """
    if not query_key:
        return None
    values = [lookup(fields, name) for name in query_key]
    if len(values) == 1:
        return None if values[0] is None else _key_text(values[0])
    return ", ".join("None" if value is None else _key_text(value) for value in values)


def _key_text(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(plain(value), sort_keys=True)[:MAX_KEY_LENGTH]
    return scalar_text(value)[:MAX_KEY_LENGTH]


def _continued(rule: Rule, before: _Running | None) -> _Running:
    if before is not None and before.rule.same_as(rule):
        return _Running(rule, before.state, before.hits, before.matches)
    return _Running(rule, rule.behaviour.start())


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
