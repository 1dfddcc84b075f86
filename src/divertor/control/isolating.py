"""What rules and the gateway decide about clients, put into effect by the isolation service.

A rule's match names an event, the gateway's log names keys: here they become isolations, or, for somebody on
the allowlist, a record that he stayed. A rule that isolates too many is stopped until somebody has looked;
what the gateway isolates by itself, within the attacker's own request, goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from types import EllipsisType

from divertor.bus import State
from divertor.control.attackers import Told, attackers_of, reason_of
from divertor.errors import InputError, LimitError, NotFoundError, UnavailableError
from divertor.gateway.access import Seen
from divertor.isolation.allowing import AllowedError
from divertor.isolation.service import IsolationService
from divertor.model.isolation import KeySelector
from divertor.rules import IsolateOptions, Match
from divertor.rules.limits import Limiter

log = logging.getLogger("divertor")

#: Kinds of records: the rules that were stopped, and how often a client has been isolated.
STOPPED = "stopped-rules"
OFFENCES = "offences"
#: Clients whose offences are remembered at hand; the others are read when they come again.
MAX_OFFENDERS = 10_000
#: How long offences are remembered after the last one.
FORGIVEN = timedelta(days=90)
#: Seconds that an isolation waits for what is known of earlier ones: it must not wait for a broker.
PATIENCE = 0.5


class Isolating:
    """Decisions on their way to `isolations`; none is made where isolation is switched off.

    `share` gives the part of a scope's requests that isolated clients make, `trouble` records what people
    should know, `page` tells those whom a rule alerts.
    """

    def __init__(
        self,
        isolations: IsolationService,
        enabled: bool,
        state: State | None = None,
        share: Callable[[str], float | None] = lambda _scope: None,
        trouble: Callable[[str], None] = lambda _message: None,
        wall: Callable[[], datetime] | None = None,
        page: Callable[[Match, str], None] = lambda _match, _message: None,
    ) -> None:
        self._isolations = isolations
        self._enabled = enabled
        self._state = state
        self._share = share
        self._trouble = trouble
        self._wall = wall
        self._page = page
        self._limiter = Limiter()
        self._recorded: set[str] = set()
        self._offences: dict[str, int] = {}

    async def load(self) -> None:
        """Reads which rules were stopped.

        :raises UnavailableError: the broker does not answer.
        """
        if self._state is not None:
            for rule, entry in (await self._state.list(STOPPED)).items():
                self._limiter.stopped[rule] = str(entry.value.get("why", ""))
                self._recorded.add(rule)

    @property
    def stopped(self) -> dict[str, str]:
        """The rules that may not isolate any more, and why."""
        return dict(self._limiter.stopped)

    async def resume(self, rule: str, by: str) -> None:
        """Lets a stopped rule isolate again; `by` is who has looked.

        :raises NotFoundError: it was not stopped.
        :raises UnavailableError: the broker does not answer; it stays stopped.
        """
        if rule not in self._limiter.stopped:
            raise NotFoundError(f"rule {rule!r} is not stopped")
        if self._state is not None:
            await self._state.delete(STOPPED, rule)
        self._recorded.discard(rule)
        self._limiter.resume(rule)
        self._trouble(f"{by} lets rule {rule!r} isolate again")

    async def by_rule(self, match: Match, options: IsolateOptions) -> None:
        """A rule decided so.

        :raises InputError: the match does not tell who, or where.
        :raises LimitError: the rule has isolated too many, and isolates nobody until somebody has looked.
        """
        if not self._enabled:
            return
        told, by = Told.of(match), f"rule {match.rule.name}"
        found = attackers_of(told, self._isolations.scopes(), options.keys, options.every, options.fields)
        if not found:
            return
        reason = options.reason or reason_of(told)
        try:
            ids = [self._isolations.id_of(each.scope, each.selector, each.value) for each in found]
        except AllowedError as allowed:
            await self._isolations.tell_allowed(allowed, by, reason, told.id)
            return
        new = not self._are_held(ids)
        await self._check_limit(match, options, found[0].scope, new)
        try:
            times = await self._times(ids[0], options)
            await self._isolations.add_all(
                scope=found[0].scope,
                keys=[(each.selector, each.value) for each in found],
                target=options.to or "",
                duration=_duration(options, times),
                by=by,
                reason=reason,
                cause=told.id,
            )
        finally:
            if new and not self._are_held(ids):
                self._limiter.give_back(match.rule.name)
        await self._remember(ids[0], times)

    def _are_held(self, ids: Iterable[str]) -> bool:
        return all(map(self._isolations.holds, ids))

    async def _check_limit(self, match: Match, options: IsolateOptions, scope: str, new: bool) -> None:
        """Who is isolated already, by all of these keys, does not count: it changes nothing."""
        if self._wall is None:
            return
        rule = match.rule.name
        before = rule in self._limiter.stopped
        now = self._wall()
        why = self._limiter.why_not(rule, options.limit, int(new), self._share(scope), now.timestamp())
        if not why:
            return
        if not before:
            message = (
                f"rule {rule!r} isolates nobody any more: {why}; look at it, then `divertor rules resume`"
            )
            self._trouble(message)
            self._page(match, message)
        if self._state is not None and rule not in self._recorded:
            await self._state.put(STOPPED, rule, {"why": why, "since": now.isoformat()})
            self._recorded.add(rule)
        raise LimitError(f"rule {rule!r} was stopped: {why}")

    async def _times(self, id: str, options: IsolateOptions) -> int:
        """How often a client has offended, this time included; 0 where that does not matter. One who is
        isolated still has not offended anew.
        """
        if len(options.durations) < 2:
            return 0
        times = await self._known_times(id)
        return times if times and self._isolations.holds(id) else times + 1

    async def _known_times(self, id: str) -> int:
        if id in self._offences or self._state is None:
            return self._offences.get(id, 0)
        try:
            async with asyncio.timeout(PATIENCE):
                entry = await self._state.get(OFFENCES, id)
        except (TimeoutError, UnavailableError):
            return 0  # better isolated for too short a time than not at all
        return int(entry.value.get("times", 0)) if entry is not None else 0

    async def _remember(self, id: str, times: int) -> None:
        if not times or self._offences.get(id) == times:
            return
        self._offences.pop(id, None)
        self._offences[id] = times
        if len(self._offences) > MAX_OFFENDERS:
            del self._offences[next(iter(self._offences))]
        if self._state is None:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._state.put(OFFENCES, id, {"times": times}, ttl=FORGIVEN)
        except (TimeoutError, UnavailableError):
            log.warning("it is not recorded that isolation %s was the client's number %d", id, times)

    async def by_gateway(self, seen: Seen) -> None:
        """The gateway isolated keys by itself: they are made lasting."""
        old = None if seen.by is None else (KeySelector(seen.by.kind, seen.by.name), seen.by.value)
        first = ""
        for added in seen.added:
            new = KeySelector(added.kind, added.name), added.value
            try:
                if old is not None:
                    await self._isolations.renew(seen.scope, old, new)
                else:
                    id = await self._attacked(seen, new, first)
                    first = first or id
            except (InputError, UnavailableError) as problem:
                log.warning("the gateway isolated somebody nobody can be told about: %s", problem)

    async def _attacked(self, seen: Seen, key: tuple[KeySelector, str], first: str) -> str:
        """All keys of the request, and of its answer, are one client. Answers with the isolation's id."""
        method, path = seen.fields.get("method"), str(seen.fields.get("path") or "").partition("?")[0]
        isolation = await self._isolations.add(
            scope=seen.scope,
            selector=key[0],
            value=key[1],
            by="gateway",
            reason=f"attacked with {method} {path[:200]}",
            cause=str(seen.fields.get("request_id") or ""),
            parent=first,
        )
        return isolation.id


def _duration(options: IsolateOptions, times: int) -> timedelta | EllipsisType | None:
    """How long; `times` counts this isolation of the client, too."""
    if not options.durations:
        return ...
    return options.durations[min(max(times, 1), len(options.durations)) - 1]
