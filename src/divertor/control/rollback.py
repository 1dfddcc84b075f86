"""Taking the last change of weights back: what `alert: release` asks for when a new version does harm.

For each gateway the weights before and after the last change that moved customers are recorded. They are
taken back only while the gateway still has the weights of that change, and for what happened after it, so
that an alarm that comes late, or comes twice, undoes nothing that people decided meanwhile. A change back to
where the last one came from, by whomever, is that one taken back, and no new one to be undone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from divertor.bus import State
from divertor.control.attackers import Told, scope_of
from divertor.errors import ConflictError, DivertorError, NotFoundError
from divertor.model.artifacts import Gateway, IsolationPolicy
from divertor.rules import Match
from divertor.rules.reading.actions import ReleaseOptions

log = logging.getLogger("divertor.control")

KIND = "weights"


class Gateways(Protocol):
    """Where weights are changed."""

    def gateways(self) -> Sequence[Gateway]: ...

    def gateway(self, name: str) -> Gateway: ...

    def policies(self) -> Mapping[str, IsolationPolicy]: ...

    async def update_gateway(self, name: str, data: Any, by: str) -> Gateway: ...


class Rollback:
    """`gateways` is asked when something is to be taken back; `wall` is the time of day, UTC."""

    def __init__(self, state: State, gateways: Callable[[], Gateways], wall: Callable[[], datetime]) -> None:
        self._state = state
        self._gateways = gateways
        self._wall = wall
        self._lock = asyncio.Lock()

    async def note(self, before: Gateway | None, after: Gateway) -> None:
        """A gateway was changed. Not to be able to record that must not undo the change."""
        if before is None or _weights(before) == _weights(after):
            return
        old, new = _weights(before), _weights(after)
        try:
            known = await self._state.get(KIND, after.name)
            taken_back = known is not None and _undoes(known.value, old, new)
            value = {
                "before": old,
                "after": new,
                "taken_back": taken_back,
                "at": self._wall().isoformat(),
            }
            await self._state.put(KIND, after.name, value)
        except DivertorError as problem:
            log.warning("the weights of %s before their change are not recorded: %s", after.name, problem)

    async def roll_back(self, match: Match, options: ReleaseOptions) -> None:
        """Gives a gateway the weights it had before the last change; nothing when that has been done.

        :raises NotFoundError: no such gateway, or its weights were never changed.
        :raises ConflictError: it was changed otherwise meanwhile, or after what the match is about.
        :raises InputError: the event does not tell which application it is about.
        :raises UnavailableError: the broker does not answer.
        """
        async with self._lock:  # two alarms about one release come together
            name = options.gateway or self._gateway_of(match)
            gateway = self._gateways().gateway(name)
            entry = await self._state.get(KIND, name)
            if entry is None:
                raise NotFoundError(f"the weights of gateway {name} were never changed")
            record = entry.value
            if record["taken_back"]:
                return
            if _weights(gateway) != record["after"]:
                raise ConflictError(f"gateway {name} was changed since, by somebody else")
            if match.time < datetime.fromisoformat(record["at"]):
                raise ConflictError(f"gateway {name} was changed after that")
            reason = f": {options.reason}" if options.reason else ""
            await self._take_back(name, record["before"], f"rule {match.rule.name}{reason}")

    async def _take_back(self, name: str, before: Mapping[str, int], by: str) -> None:
        paths = [route.path for route in self._gateways().gateway(name).routes]
        if missing := [path for path in before if path not in paths]:
            raise ConflictError(f"gateway {name} has no route {missing[0]} any more")
        routes = {path: {"weight": f"{before.get(path, 0)}%"} for path in paths}
        await self._gateways().update_gateway(name, {"routes": routes}, by)

    def _gateway_of(self, match: Match) -> str:
        """The gateway of the application the event is about."""
        scope = scope_of(Told.of(match), self._gateways().policies())
        found = [each.name for each in self._gateways().gateways() if each.name.startswith(f"{scope}/")]
        if len(found) != 1:
            raise NotFoundError(f"{len(found)} gateways lead into {scope}; the rule has to name one")
        return found[0]


async def no_history(before: Gateway | None, after: Gateway) -> None:
    """Nobody keeps what weights were."""


#: Is told of each change of a gateway.
Note = Callable[[Gateway | None, Gateway], Awaitable[None]]


def _undoes(record: Mapping[str, Any], old: Mapping[str, int], new: Mapping[str, int]) -> bool:
    """Whether a change from `old` to `new` takes the recorded one back."""
    return not record["taken_back"] and (record["before"], record["after"]) == (new, old)


def _weights(gateway: Gateway) -> dict[str, int]:
    """The routes that customers get: a version that was added and gets nothing has moved nobody."""
    return {route.path: route.weight for route in gateway.routes if route.weight}
