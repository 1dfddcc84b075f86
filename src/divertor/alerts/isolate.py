"""`alert: isolate`: the match as a decision to divert whoever caused it. Who and where to is the isolation
service's to work out; this only carries the match and the rule's wishes to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from divertor.alerts.contract import Delivery, DeliveryError
from divertor.errors import DivertorError, UnavailableError
from divertor.rules.rule import IsolateOptions, Match, Status

#: Puts an isolation into effect before it returns.
Isolator: TypeAlias = Callable[[Match, IsolateOptions], Awaitable[None]]


class Isolate:
    """Hands matches to the isolation service."""

    def __init__(self, isolate: Isolator) -> None:
        self._isolate = isolate

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """The notice that an alarm is over releases nobody: isolations end by themselves.

        :raises DeliveryError: the isolation could not be put into effect.
        """
        if delivery.notification.status is Status.RESOLVED:
            return
        try:
            for match in delivery.notification.matches:
                await self._isolate(match, delivery.options["isolate"])
        except UnavailableError as problem:
            raise DeliveryError(f"not isolated: {problem}", again=True) from problem
        except DivertorError as problem:
            # The match does not tell who it was, or the rule was stopped: later that is no better.
            raise DeliveryError(f"not isolated: {problem}", again=False) from problem
