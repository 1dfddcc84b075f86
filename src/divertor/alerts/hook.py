"""An alerter that is one HTTP request per message: a function says which, the rest is the same for all.

What a module of a simple service holds is that function and `make`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from logging import Logger
from typing import Any, TypeAlias

from divertor.alerts.contract import Delivery, DeliveryError, Receipt
from divertor.alerts.http import Answer, Request, Transport, WebClient, send


@dataclass(frozen=True, slots=True)
class Tools:
    """What alerters work with. `wall` is the time of day, UTC."""

    client: WebClient
    log: Logger
    wall: Callable[[], datetime]


#: Which request a message is; None: there is nothing to send.
Build: TypeAlias = Callable[[Delivery], Request | None]
#: What to remember of the answer; refuses one that is a failure all the same.
Keep: TypeAlias = Callable[[Delivery, Answer], Receipt | None]


def nothing(_delivery: Delivery, _answer: Answer) -> Receipt | None:
    """There is nothing to remember."""
    return None


def spread(options: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    """The options of each delivery: one for every combination of the values of the options `names`."""
    out: list[Mapping[str, Any]] = [options]
    for name in names:
        values = options[name] or ("",)
        out = [{**one, name: value} for one in out for value in values]
    return out


class Hook:
    """Sends the request that `build` makes, the way that the options beginning with `prefix` say.

    `spread` names options with several values: each is a destination that succeeds or fails by itself.
    """

    def __init__(
        self,
        client: WebClient,
        prefix: str,
        build: Build,
        *,
        keep: Keep = nothing,
        spread: tuple[str, ...] = (),
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._build = build
        self._keep = keep
        self._spread = spread

    def targets(self, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return spread(options, *self._spread)

    async def deliver(self, delivery: Delivery) -> Receipt | None:
        """:raises DeliveryError: the service did not take it."""
        request = self._build(delivery)
        if request is None:
            return delivery.receipt
        answer = await send(self._client, request, Transport.of(delivery.options, self._prefix))
        return self._keep(delivery, answer)


def accepted_by(name: str, busy: frozenset[int] = frozenset()) -> Keep:
    """For services that answer 200 to everything: the number `name` of their JSON must be 0; after one of
    `busy` another attempt may succeed.
    """

    def keep(_delivery: Delivery, answer: Answer) -> Receipt | None:
        code = answer.get(name)
        if code not in (None, 0):
            known = code if isinstance(code, int) else "no number"
            raise DeliveryError(f"refused by the service ({name} {known})", again=code in busy)
        return None

    return keep


def uuid_of(key: str) -> str:
    """A delivery's key as a UUID, for services that tell repetitions by one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"divertor:{key}"))
