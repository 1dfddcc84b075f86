"""`alert: release`: the last change of a gateway's weights is taken back, so that the release which brought
the trouble gets no more customers. What the weights were is the control plane's to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from divertor.alerts.contract import Delivery, DeliveryError
from divertor.errors import DivertorError, UnavailableError
from divertor.rules.reading.actions import ReleaseOptions
from divertor.rules.rule import Match, Status

#: Takes the last change of weights back before it returns; a second time changes nothing.
RollBack: TypeAlias = Callable[[Match, ReleaseOptions], Awaitable[None]]


class Release:
    """Hands matches to whoever keeps the weights."""

    def __init__(self, roll_back: RollBack) -> None:
        self._roll_back = roll_back

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [options]

    async def deliver(self, delivery: Delivery) -> None:
        """Nothing is done for the notice that an alarm is over: going forward again is for people to decide.

        :raises DeliveryError: the weights could not be taken back.
        """
        if delivery.notification.status is Status.RESOLVED:
            return
        try:
            await self._roll_back(delivery.notification.first, delivery.options["release"])
        except UnavailableError as problem:
            raise DeliveryError(f"not rolled back: {problem}", again=True) from problem
        except DivertorError as problem:
            raise DeliveryError(f"not rolled back: {problem}", again=False) from problem
