"""Alerts that wait to be delivered, as people see them: which, where to, why not yet; dropped, or tried now.

What waits is the outbox's, and whichever process holds a delivery sends it. Here it is looked up and told in
words, and what a person decides is written into the outbox, where every process that delivers learns of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any

from divertor.alerts import Dispatcher
from divertor.alerts.lanes import Lane, Waiting
from divertor.alerts.shown import MOST_DROPPED, MOST_TRIED, Done, Shown, State, Wanted
from divertor.control.audit import archive_event
from divertor.errors import NotFoundError, UnavailableError
from divertor.model.events import Event
from divertor.rules import Rule

#: Deliveries that the event of a request names.
_NAMED = 20
#: Deliveries that are looked at before others may do something.
_AT_ONCE = 5_000


class Deliveries:
    """What the API and the command line ask of what waits.

    `rule_named` is the rule of that name that runs now; `publish` takes events of what was changed, by whom.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        rule_named: Callable[[str], Rule | None],
        publish: Callable[[list[Event]], Awaitable[None]],
        wall: Callable[[], datetime],
    ) -> None:
        self._dispatcher = dispatcher
        self._rule_named = rule_named
        self._publish = publish
        self._wall = wall

    async def page(self, wanted: Wanted, offset: int, limit: int) -> tuple[Sequence[Shown], int]:
        """So many of them from `offset` on, the longest waiting first, and how many there are in all.

        :raises UnavailableError: what waits is not known yet, or the broker does not answer.
        """
        found = await self._found(wanted)
        page = nsmallest(offset + limit, found, key=_age)[offset:]
        targets: dict[Lane, str] = {}
        for waiting in page:
            if waiting.lane not in targets:
                targets[waiting.lane] = await self._dispatcher.destination(waiting)
        return [self._shown(waiting, targets[waiting.lane]) for waiting in page], len(found)

    async def get(self, id: str) -> Shown:
        """One of them.

        :raises NotFoundError: it does not wait, or no longer.
        """
        waiting = self._known(id)
        return self._shown(waiting, await self._dispatcher.destination(waiting))

    async def drop(self, wanted: Wanted, by: str) -> Done:
        """Give up the longest waiting of them, at most `MOST_DROPPED`.

        :raises UnavailableError: as for `page`; some may be given up.
        """
        found = await self._found(wanted)
        chosen = nsmallest(MOST_DROPPED, found, key=_age)
        count = await self._dispatcher.drop(chosen)
        await self._tell("drop", str(wanted), chosen, by)
        return Done(count, len(found) - len(chosen))

    async def retry(self, wanted: Wanted, by: str) -> Done:
        """Try the longest waiting of them now, at most `MOST_TRIED`, and what has to arrive before them.

        :raises UnavailableError: as for `page`; some may be tried.
        """
        found = await self._found(wanted)
        chosen = nsmallest(MOST_TRIED, found, key=_age)
        await self._dispatcher.hurry(chosen)
        await self._tell("retry", str(wanted), chosen, by)
        return Done(len(chosen), len(found) - len(chosen))

    async def drop_one(self, id: str, by: str) -> None:
        """Give one up.

        :raises NotFoundError: it does not wait, or no longer.
        """
        waiting = self._known(id)
        await self._dispatcher.drop([waiting])
        await self._tell("drop", waiting.key, [waiting], by)

    async def retry_one(self, id: str, by: str) -> Shown:
        """Try one now, and what has to arrive before it.

        :raises NotFoundError: it does not wait, or no longer.
        """
        waiting = self._known(id)
        await self._dispatcher.hurry([waiting])
        await self._tell("retry", waiting.key, [waiting], by)
        waiting = self._dispatcher.known(id) or waiting  # what it was, should it have arrived
        return self._shown(waiting, await self._dispatcher.destination(waiting))

    async def _found(self, wanted: Wanted) -> list[Waiting]:
        self._require_synced()
        found: list[Waiting] = []
        for number, waiting in enumerate(self._dispatcher.waiting(), 1):
            if self._fits(waiting, wanted):
                found.append(waiting)
            if not number % _AT_ONCE:
                await asyncio.sleep(0)  # hundreds of thousands may wait, and attacks do not
        return found

    def _fits(self, waiting: Waiting, wanted: Wanted) -> bool:
        lane = waiting.lane
        return (
            wanted.rule in ("", lane.rule)
            and wanted.alerter in ("", lane.alerter)
            and wanted.alarm in ("", waiting.alarm)
            and (wanted.state is None or wanted.state == self._state(waiting))
        )

    def _known(self, id: str) -> Waiting:
        self._require_synced()
        waiting = self._dispatcher.known(id)
        if waiting is None:
            raise NotFoundError(f"no alert {id[:80]!r} is waiting to be delivered")
        return waiting

    def _require_synced(self) -> None:
        if not self._dispatcher.is_synced:
            raise UnavailableError("what waits to be delivered is still being read")

    def _state(self, waiting: Waiting) -> State:
        if self._dispatcher.progress(waiting)[0]:
            return "sending"
        return "failing" if waiting.attempts else "waiting"

    def _shown(self, waiting: Waiting, target: str) -> Shown:
        lane, rule = waiting.lane, self._rule_named(waiting.lane.rule)
        _sending, next_try = self._dispatcher.progress(waiting)
        created = datetime.fromtimestamp(waiting.created, UTC)
        return Shown(
            id=waiting.key,
            rule=lane.rule,
            is_gone=rule is None,
            alerter=lane.alerter,
            target=target,
            alarm=waiting.alarm,
            state=self._state(waiting),
            attempts=waiting.attempts,
            error=waiting.error,
            created=created,
            next_try=None if next_try is None else datetime.fromtimestamp(next_try, UTC),
            until=None if rule is None else _end(created, rule.retry_for),
        )

    async def _tell(self, verb: str, name: str, chosen: Sequence[Waiting], by: str) -> None:
        """Who decided what about which; nothing when there was nothing to decide about."""
        if not chosen:
            return
        first: list[Any] = [
            {"id": one.key, "rule": one.lane.rule, "alerter": one.lane.alerter, "error": one.error}
            for one in chosen[:_NAMED]
        ]
        revision = {"count": len(chosen), "first": first}
        what = f"{len(chosen):,} alerts: {name}" if len(chosen) > 1 else f"the alert {chosen[0].key}"
        await self._publish([archive_event(self._wall(), "alerts", name, verb, by, revision, what=what)])


def _age(waiting: Waiting) -> tuple[float, str]:
    return waiting.created, waiting.key


def _end(created: datetime, span: timedelta) -> datetime | None:
    try:
        return created + span
    except OverflowError:
        return None
