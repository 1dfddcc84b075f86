"""Why a rule did or did not fire on an event: each decision on its way, in order.

The event is judged by an engine of its own, after the events before it; nothing is delivered. Pure. Showing
it is the CLI's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from divertor.model.events import Event, format_time, micros_of, moment_of
from divertor.rules.document import Document
from divertor.rules.filters.filter import Explanation
from divertor.rules.rule import Match, Rule
from divertor.rules.running.engine import Engine, fits_index
from divertor.rules.running.observing import View
from divertor.rules.types.contract import Key, Measured, Observation, threshold_of


class Outcome(StrEnum):
    """What became of an event."""

    DISABLED = "the rule is not enabled"
    OTHER_INDEX = "the rule looks at other indices"
    FILTERED = "the filter did not let the event pass"
    NOT_JUDGED = "the event came too late, or outside the minutes of the rule"
    FAULT = "the rule stumbled over the event"
    COUNTED = "the event was counted; the rule did not fire"
    HELD = "the rule fired, and the alarm held it back: a silence, a pending period or the hours"
    TOLD = "the rule fired, and tells of it"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An event on its way past a rule. `before` counts the events of the stream that were judged before it,
    `passed` those of them that the filter let pass; `number` is what the type measures afterwards, which
    fires from `threshold` on, where it measures something.
    """

    outcome: Outcome
    fits: bool
    explanation: Explanation
    key: Key
    time: datetime
    before: int
    passed: int
    matches: tuple[Match, ...] = ()
    number: float | None = None
    threshold: float | None = None
    fault: str = ""

    def to_json(self, rule: Rule, event: Event) -> dict[str, Any]:
        return {
            "rule": rule.name,
            "event": event.id,
            "outcome": self.outcome.name.lower(),
            "index": {"asked": list(rule.index), "found": list(event.indices), "fits": self.fits},
            "filter": _tree(self.explanation),
            "query_key": {"fields": list(rule.query_key), "value": self.key},
            "time": format_time(self.time),
            "events_before": self.before,
            "passed_before": self.passed,
            "measured": self.number,
            "threshold": self.threshold,
            "matches": [dict(match.document) for match in self.matches],
            "fault": self.fault,
        }


def _tree(explanation: Explanation) -> Mapping[str, Any]:
    return {
        "text": explanation.text,
        "passed": explanation.passed,
        "found": explanation.found,
        "parts": [_tree(part) for part in explanation.parts],
    }


def explain(rule: Rule, event: Event, before: Iterable[Event] = ()) -> Verdict:
    """Judge the event after the others, each at its own time."""
    engine = Engine([rule])
    count = passed = 0
    for one in before:
        engine.advance(one.timestamp)
        engine.push(one, one.timestamp)
        count += 1
        passed += rule.filter.test(Document.of(one)) and fits_index(rule.index, one.indices)
    engine.advance(event.timestamp)
    seen = View(rule.query_key, rule.clock).observe(event, Document.of(event))
    fits = fits_index(rule.index, event.indices)
    explanation = rule.filter.explain(seen.document)
    outcome, matches, fault = _judged(engine, rule, event, fits and explanation.passed)
    if not fits:
        outcome = Outcome.OTHER_INDEX
    if not rule.is_enabled:
        outcome = Outcome.DISABLED
    return Verdict(
        outcome=outcome,
        fits=fits,
        explanation=explanation,
        key=seen.key,
        time=moment_of(seen.micros),
        before=count,
        passed=passed,
        matches=matches,
        number=_measured(engine, rule, seen, event),
        threshold=threshold_of(rule.behaviour),
        fault=fault,
    )


def _judged(engine: Engine, rule: Rule, event: Event, passes: bool) -> tuple[Outcome, tuple[Match, ...], str]:
    if rule.name not in engine.snapshot().rules:
        return Outcome.DISABLED, (), ""
    before = engine.snapshot().rules[rule.name]
    hits, found = before.hits, before.matches
    matches = tuple(engine.push(event, event.timestamp))
    after = engine.snapshot().rules[rule.name]
    if after.health.faults > before.health.faults:
        return Outcome.FAULT, matches, after.health.fault
    if matches:
        return Outcome.TOLD, matches, ""
    if after.matches > found:
        return Outcome.HELD, (), ""
    if after.hits > hits:
        return Outcome.COUNTED, (), ""
    return (Outcome.NOT_JUDGED if passes else Outcome.FILTERED), (), ""


def _measured(engine: Engine, rule: Rule, seen: Observation, event: Event) -> float | None:
    behaviour, state = rule.behaviour, engine.state(rule.name)
    if state is None or not isinstance(behaviour, Measured):
        return None
    return behaviour.measure(state, seen.key, micros_of(event.timestamp))
