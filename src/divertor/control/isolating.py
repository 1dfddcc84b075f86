"""What rules and the gateway decide about clients, put into effect by the isolation service.

A rule's match names an event, the gateway's log names keys: here they become isolations, or, for somebody on
the allowlist, a record that he stayed. A rule that isolates too many is stopped until somebody has looked;
what the gateway isolates by itself, within the attacker's own request, goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from types import EllipsisType

from divertor.bus import State
from divertor.control.attackers import Attacker, Told, attackers_of, reason_of
from divertor.errors import InputError, LimitError, NotFoundError, UnavailableError
from divertor.gateway.access import Seen
from divertor.isolation.allowing import AllowedError
from divertor.isolation.identity import isolation_id
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


class Isolating:
    """Decisions on their way to `isolations`; none is made where isolation is switched off.

    `share` gives the part of a scope's requests that isolated clients make, `trouble` tells people.
    """

    def __init__(
        self,
        isolations: IsolationService,
        enabled: bool,
        state: State | None = None,
        share: Callable[[str], float | None] = lambda _scope: None,
        trouble: Callable[[str], None] = lambda _message: None,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self._isolations = isolations
        self._enabled = enabled
        self._state = state
        self._share = share
        self._trouble = trouble
        self._wall = wall
        self._limiter = Limiter()
        self._offences: dict[str, int] = {}

    async def load(self) -> None:
        """Reads which rules were stopped.

        :raises UnavailableError: the broker does not answer.
        """
        if self._state is not None:
            for rule, entry in (await self._state.list(STOPPED)).items():
                self._limiter.stopped[rule] = str(entry.value.get("why", ""))

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
        scopes = self._isolations.scopes()
        found = attackers_of(told, scopes, options.keys, options.every, options.fields)
        if not found:
            return
        await self._check_limit(match.rule.name, options, found)
        reason = options.reason or reason_of(told)
        id = isolation_id(found[0].scope, found[0].selector, found[0].value)
        try:
            await self._isolations.add_all(
                scope=found[0].scope,
                keys=[(each.selector, each.value) for each in found],
                target=options.to or "",
                duration=await self._duration(id, options),
                by=by,
                reason=reason,
                cause=told.id,
            )
        except AllowedError as allowed:
            await self._isolations.tell_allowed(allowed, by, reason, told.id)

    async def _check_limit(self, rule: str, options: IsolateOptions, found: tuple[Attacker, ...]) -> None:
        """Who is isolated already does not count: to be caught again changes nothing."""
        if self._wall is None:
            return
        new = not any(self._holds(isolation_id(each.scope, each.selector, each.value)) for each in found)
        before = rule in self._limiter.stopped
        share = self._share(found[0].scope)
        why = self._limiter.why_not(rule, options.limit, int(new), share, self._wall().timestamp())
        if not why:
            return
        if not before:
            self._trouble(
                f"rule {rule!r} isolates nobody any more: {why}; look at it, then `divertor rules resume`"
            )
            if self._state is not None:
                await self._state.put(STOPPED, rule, {"why": why, "since": self._wall().isoformat()})
        raise LimitError(f"rule {rule!r} was stopped: {why}")

    def _holds(self, id: str) -> bool:
        try:
            self._isolations.get(id)
        except NotFoundError:
            return False
        return True

    async def _duration(self, id: str, options: IsolateOptions) -> timedelta | EllipsisType | None:
        """How long this time: one who is isolated still has not offended anew."""
        if not options.durations:
            return ...
        if len(options.durations) == 1:
            return options.durations[0]
        times = await self._times(id)
        if not self._holds(id) or not times:
            times += 1
            await self._remember(id, times)
        return options.durations[min(times, len(options.durations)) - 1]

    async def _times(self, id: str) -> int:
        """How often a client was isolated before."""
        if id not in self._offences and self._state is not None:
            entry = await self._state.get(OFFENCES, id)
            self._offences[id] = int(entry.value.get("times", 0)) if entry is not None else 0
        return self._offences.get(id, 0)

    async def _remember(self, id: str, times: int) -> None:
        self._offences.pop(id, None)
        self._offences[id] = times
        if len(self._offences) > MAX_OFFENDERS:
            del self._offences[next(iter(self._offences))]
        if self._state is not None:
            await self._state.put(OFFENCES, id, {"times": times})

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
