"""What rules and the gateway decide about clients, put into effect by the isolation service.

A rule's match names an event, the gateway's log names keys: here they become isolations, or, for somebody on
the allowlist, a record that he stayed.
"""

from __future__ import annotations

import logging

from divertor.control.attackers import attackers_of, reason_of
from divertor.errors import InputError, UnavailableError
from divertor.gateway.access import Seen
from divertor.isolation.allowing import AllowedError
from divertor.isolation.service import IsolationService
from divertor.model.isolation import KeySelector
from divertor.rules import IsolateOptions, Match

log = logging.getLogger("divertor")


class Isolating:
    """Decisions on their way to `isolations`; none is made where isolation is switched off."""

    def __init__(self, isolations: IsolationService, enabled: bool) -> None:
        self._isolations = isolations
        self._enabled = enabled

    async def by_rule(self, match: Match, options: IsolateOptions) -> None:
        """A rule decided so.

        :raises InputError: the event does not tell who, or where.
        """
        if not self._enabled:
            return
        event, by = match.event, f"rule {match.rule.name}"
        if event is None:
            return  # only time showed it: there is nobody to isolate
        found = attackers_of(event, self._isolations.scopes(), options.keys, options.every)
        if not found:
            return
        reason = options.reason or reason_of(event)
        try:
            await self._isolations.add_all(
                scope=found[0].scope,
                keys=[(each.selector, each.value) for each in found],
                target=options.to or "",
                duration=None if options.forever else (options.duration or ...),
                by=by,
                reason=reason,
                cause=event.id,
            )
        except AllowedError as allowed:
            await self._isolations.tell_allowed(allowed, by, reason, event.id)

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
