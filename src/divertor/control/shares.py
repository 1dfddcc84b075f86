"""Which part of an application's requests isolated clients make, over the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from divertor.gateway.access import Seen
from divertor.rules.limits import MINUTE

#: Requests in a minute below which a share means nothing: of three clients, one attacker is a third.
ENOUGH = 100


class Shares:
    """`requests` gives how many requests a scope got in the last minute; `clock` is in seconds."""

    def __init__(self, requests: Callable[[str], int], clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        #: By scope, seconds and how many isolated requests each saw: a flood takes no more room than one.
        self._seen: dict[str, deque[tuple[int, int]]] = {}

    def take(self, batch: Iterable[Seen]) -> None:
        """The gateway saw these requests of isolated clients."""
        second = int(self._clock())
        for seen in batch:
            if seen.kind in ("isolated", "diverted"):
                known = self._seen.setdefault(seen.scope, deque())
                before = known.pop()[1] if known and known[-1][0] == second else 0
                known.append((second, before + 1))
                _forget(known, second)

    def of(self, scope: str) -> float | None:
        """The share, 0 to 1; None when there were too few requests to tell."""
        seen = self._seen.get(scope)
        if seen is None:
            return 0.0
        _forget(seen, int(self._clock()))
        requests = self._requests(scope)
        return min(1.0, sum(count for _second, count in seen) / requests) if requests >= ENOUGH else None


def _forget(seen: deque[tuple[int, int]], second: int) -> None:
    while seen and second - seen[0][0] >= MINUTE:
        seen.popleft()
