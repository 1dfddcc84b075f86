"""What matches get before they are told: the rule's own parameters, links to Discover, how often values
occur, and what enhancements make of them.

Enhancements run where the match is found (`run_enhancements_first`), before it is gathered, or right before
it is told. Nothing here can cost an alert: what fails is logged, said in the match, and left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from divertor.errors import DivertorError
from divertor.model.events import Event
from divertor.rules.notification import Notification
from divertor.rules.reading.plugins import enhancement_at
from divertor.rules.rule import Audience, Match
from divertor.rules.running.counts import MAX_EVENTS, around, counted
from divertor.rules.running.enhancements import Enhancer
from divertor.rules.running.projection import plain
from divertor.rules.wording.discover import discover_url
from divertor.store.query import EventQuery

if TYPE_CHECKING:
    from divertor.store import EventStore

log = logging.getLogger("divertor.rules")

#: Where a match says what enhancements failed with.
PROBLEMS = "enhancement_problems"
#: Seconds that counting may take, for all matches of a notification.
COUNTING = 5.0
#: Matches of a notification that are counted around.
MAX_COUNTED = 20
#: Seconds to wait for the store to have the event of a match: it writes what gathers, and judging is quicker.
STORED = 2.0
_LOOK = 0.05
#: Notifications that are finished in one go.
_AT_A_TIME = 500
_PAGE = 1000


class Enriching:
    """`store` may be read to count values; without one, counts are left out."""

    def __init__(self, store: EventStore | None, enhancer: Enhancer | None = None) -> None:
        self._store = store
        self._enhancer = enhancer or Enhancer(enhancement_at)

    def found(self, match: Match) -> Match | None:
        """A match as it is gathered; None when an enhancement drops it."""
        options = match.rule.enrich
        more = {f"rule_param_{name}": match.rule.properties.get(name) for name in options.rule_parameters}
        if more:
            match = replace(match, document={**match.document, **plain(more)})
        return self._enhanced(match) if options.first else match

    async def told(self, notifications: Iterable[Notification]) -> list[Notification]:
        """Notifications as they are told, without those all of whose matches are dropped."""
        out: list[Notification] = []
        for number, notification in enumerate(notifications, 1):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # thousands that come about at once must not hold everything up
            matches = await self._finished(notification)
            if matches:
                out.append(replace(notification, matches=matches))
        return out

    async def _finished(self, notification: Notification) -> tuple[Match, ...]:
        rule, matches = notification.rule, notification.matches
        if rule.enrich.counted and notification.first.audience is not Audience.ACTIONS:
            matches = await self._counted(matches)
        if rule.links.discover:
            matches = (_with_discover(matches[0]), *matches[1:])
        if rule.enrich.first or not rule.enrich.enhancements:
            return matches
        enhanced = await asyncio.to_thread(lambda: [self._enhanced(match) for match in matches])
        return tuple(match for match in enhanced if match is not None)

    def _enhanced(self, match: Match) -> Match | None:
        if not match.rule.enrich.enhancements:
            return match
        done = self._enhancer.process(match)
        for problem in done.problems:
            log.error("rule %r: %s", match.rule.name, problem)
        if done.match is None or not done.problems:
            return done.match
        return replace(done.match, document={**done.match.document, PROBLEMS: list(done.problems)})

    async def _counted(self, matches: tuple[Match, ...]) -> tuple[Match, ...]:
        store = self._store
        if store is None:
            return matches
        out = list(matches)
        try:
            async with asyncio.timeout(COUNTING):
                await _until_stored(store, matches[-1])
                for number, match in enumerate(matches[:MAX_COUNTED]):
                    out[number] = counted(match, await _events(store, match))
        except (TimeoutError, DivertorError) as problem:
            log.error("rule %r: values were not counted: %s", matches[0].rule.name, problem or "out of time")
        return tuple(out)


async def _until_stored(store: EventStore, match: Match) -> None:
    """Until the match's own event can be counted, or for as long as that may take."""
    for _look in range(round(STORED / _LOOK)):
        if match.event is None or await store.get(match.event.id) is not None:
            return
        await asyncio.sleep(_LOOK)


async def _events(store: EventStore, match: Match) -> list[Event]:
    """The events around a match, the newest first, as many as are looked at."""
    since, until = around(match)
    found: list[Event] = []
    while len(found) < MAX_EVENTS:
        page = await store.query(EventQuery(since=since, until=until, limit=_PAGE, offset=len(found)))
        found += page
        if len(page) < _PAGE:
            break
    return found


def _with_discover(match: Match) -> Match:
    """Links to Discover, where ElastAlert's alerters look for them."""
    links: dict[str, Any] = {
        f"{one.product}_discover_url": discover_url(match, one) for one in match.rule.links.discover
    }
    return replace(match, document={**match.document, **links})
