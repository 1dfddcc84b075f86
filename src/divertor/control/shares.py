"""Which part of an application's requests isolated clients make, over the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from divertor.gateway.access import Seen
from divertor.rules.limits import MINUTE

#: Requests in a minute below which a share means nothing: of three clients, one attacker is a third.
ENOUGH = 100
#: Isolated requests of one application that are counted; more of them are a flood either way.
MAX_COUNTED = 100_000


class Shares:
    """`requests` gives how many requests a scope got in the last minute; `clock` is in seconds."""

    def __init__(self, requests: Callable[[str], int], clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._seen: dict[str, deque[float]] = {}

    def take(self, batch: Iterable[Seen]) -> None:
        """The gateway saw these requests of isolated clients."""
        now = self._clock()
        for seen in batch:
            if seen.kind in ("isolated", "diverted"):
                self._seen.setdefault(seen.scope, deque(maxlen=MAX_COUNTED)).append(now)

    def of(self, scope: str) -> float | None:
        """The share, 0 to 1; None when there were too few requests to tell."""
        seen = self._seen.get(scope)
        if not seen:
            return 0.0
        now = self._clock()
        while seen and now - seen[0] >= MINUTE:
            seen.popleft()
        requests = self._requests(scope)
        return min(1.0, len(seen) / requests) if requests >= ENOUGH else None
