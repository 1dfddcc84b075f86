"""A backtest: the live engine over events of the past, at the speed of the machine.

Time passes as it would have: the engine is told so at whole seconds between two events, so that what only
time shows (flatline, recovery) shows here, too. Where the events come from is the caller's business;
they are taken one by one, and nothing is kept of them but what the rules keep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from divertor.model.events import Event
from divertor.rules.document import OWN, roots
from divertor.rules.rule import Match, Rule
from divertor.rules.running.engine import Engine

#: How often time passes, as in the live engine.
TICK = timedelta(seconds=1)

#: While nothing happens, time passes more and more coarsely: in seconds for a day, in minutes for two months,
#: in hours from then on. An event dated far from the others must not keep the backtest busy with the time
#: between.
_PACES = (
    (timedelta(days=1), TICK),
    (timedelta(days=60), timedelta(minutes=1)),
    (timedelta.max, timedelta(hours=1)),
)
#: Words that a database is asked for at most.
_MAX_WORDS = 32
#: Letters that stand in JSON as they are. Digits are left out: a number has several spellings.
_PLAIN = re.compile("[a-z_]+")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def own_time(event: Event) -> datetime:
    """When the event happened: the present, as a backtest has it."""
    return event.timestamp


def arrival(event: Event) -> datetime:
    """When the event was received: with events in that order, a backtest repeats what ran live."""
    return event.received


def replay(
    engine: Engine,
    events: Iterable[Event],
    now: Callable[[Event], datetime] = own_time,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Match]:
    """What the engine's rules would have alerted on these events, each judged when `now` says.

    The events should be in that order; one that is earlier than another before it is late. Time begins with
    `since` or the first event, and ends with `until` or the last one.
    """
    reached = None if since is None else _whole(since)
    for event in events:
        moment = now(event)
        if reached is None:
            reached = _whole(moment)
        if moment - reached >= TICK:
            yield from _ticks(engine, reached, moment)
            reached = _whole(moment)
        yield from engine.push(event, moment)
    if reached is not None and until is not None and until > reached:
        yield from _ticks(engine, reached, until)


def backtest(rule: Rule, events: Iterable[Event]) -> list[Match]:
    """What a rule would have alerted on these events, each judged at its own time."""
    return list(replay(Engine([rule]), events))


def words_of(rule: Rule) -> tuple[str, ...]:
    """Words one of which the body of each event that concerns the rule has, in any letter case; none: nothing
    is certain. They are ASCII, so that a database finds them as Python does.
    """
    anchors = rule.filter.anchors
    if not anchors or len(anchors) > _MAX_WORDS:
        return ()
    found: set[str] = set()
    for anchor in anchors:
        if anchor.field is None or not OWN.isdisjoint(roots(anchor.field)):
            return ()  # the event itself may have it, outside of its body
        if anchor.token is None or not _PLAIN.fullmatch(anchor.token):
            return ()
        found.add(anchor.token)
    return tuple(sorted(found))


def _ticks(engine: Engine, reached: datetime, until: datetime) -> Iterator[Match]:
    """The ticks after `reached` up to `until`."""
    began = reached
    for limit, pace in _PACES:
        while until - reached >= pace and reached - began < limit:
            reached += pace
            yield from engine.advance(reached)


def _whole(moment: datetime) -> datetime:
    """The last whole second."""
    return _EPOCH + (moment - _EPOCH) // TICK * TICK
