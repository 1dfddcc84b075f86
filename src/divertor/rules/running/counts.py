"""`top_count_keys`: the most frequent values of some fields among the events around a match.

Counted when an alert is made, over stored events: a match that nobody is told of costs nothing, and what
counts are all events that pass the rule's filter and have the match's key, not those that happened to be in
a window. Pure: whoever has the store says which events there were (`around`) and hands them in (`counted`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from divertor.model.events import Event
from divertor.rules.document import Document, scalar_text
from divertor.rules.rule import Match, Rule
from divertor.rules.running.engine import fits_index
from divertor.rules.running.observing import query_key_value

#: What the counts of a field are called in a match: this and the field's name.
COUNTS = "top_events_"

#: Events that are looked at for one match; where there are more, the newest count.
MAX_EVENTS = 20_000
#: Different values of a field that are told apart, and characters of one.
MAX_VALUES = 10_000
MAX_VALUE_LENGTH = 1024

_AFTER = timedelta(minutes=10)
_BEFORE = timedelta(minutes=10)


def around(match: Match) -> tuple[datetime, datetime]:
    """From when to when events count: the rule's timeframe before the match (ten minutes if it has none;
    twice the timeframe of a flatline, which has seen nothing in the last one), ten minutes after it.
    """
    before = _timeframe(match.rule.properties.get("timeframe")) or _BEFORE
    if match.rule.type == "flatline":
        before *= 2
    return match.time - before, match.time + _AFTER


def counted(match: Match, events: Iterable[Event]) -> Match:
    """The match with the most frequent values of each of its rule's `top_count_keys`. `events` are looked at
    in their order, no more than `MAX_EVENTS`.
    """
    options = match.rule.enrich
    if not options.counted:
        return match
    counters: dict[str, Counter[str]] = {field: Counter() for field in options.counted}
    for document in _documents(match, events):
        for field, counter in counters.items():
            _count(counter, document.values(field))
    found = {f"{COUNTS}{field}": _top(counter, options.top) for field, counter in counters.items()}
    return replace(match, document={**match.document, **found})


def _documents(match: Match, events: Iterable[Event]) -> Iterator[Document]:
    rule = match.rule
    for _number, event in zip(range(MAX_EVENTS), events, strict=False):
        if not fits_index(rule.index, event.indices):
            continue
        document = Document.of(event)
        if rule.filter.test(document) and _has_key(rule, match, document):
            yield document


def _has_key(rule: Rule, match: Match, document: Document) -> bool:
    if not rule.query_key or match.key is None:
        return True
    return query_key_value(document.fields, rule.query_key) == match.key


def _count(counter: Counter[str], values: Iterable[Any]) -> None:
    """Each value once for an event, as a terms query counts documents."""
    for text in {scalar_text(value)[:MAX_VALUE_LENGTH] for value in values}:
        if text in counter or len(counter) < MAX_VALUES:
            counter[text] += 1


def _top(counter: Counter[str], number: int) -> dict[str, int]:
    """The most frequent first; among equals by name, so that counting again gives the same."""
    return dict(sorted(counter.items(), key=lambda one: (-one[1], one[0]))[:number])


def _timeframe(given: Any) -> timedelta | None:
    """The rule's own `timeframe`, which its type has checked."""
    if not isinstance(given, dict):
        return None
    try:
        return timedelta(**given)
    except (TypeError, OverflowError):
        return None
