"""How many clients a rule may isolate before it has to stop.

A rule that suddenly isolates everybody is wrong, or is being used by an attacker who wants that. Counting and
stopping is here; what a stopped rule means for people is `control.isolating`'s. Pure: `now` is seconds since
the epoch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from divertor.rules.rule import Limit

#: Seconds over which isolations are counted.
MINUTE = 60.0


@dataclass(slots=True)
class Limiter:
    """The new isolations of each rule in the last minute, and the rules that have to stop."""

    _recent: dict[str, deque[float]] = field(default_factory=dict)
    #: Why each stopped rule was stopped.
    stopped: dict[str, str] = field(default_factory=dict)

    def why_not(self, rule: str, limit: Limit, wanted: int, share: float | None, now: float) -> str:
        """Why a rule may not isolate `wanted` more clients; "" when it may, and then they are counted.

        `share` is the part (0 to 1) of all requests that isolated clients make; None: not known, or too few
        requests for it to mean anything. Once stopped, a rule stays so until `resume`.
        """
        if rule in self.stopped:
            return self.stopped[rule]
        recent = self._recent.setdefault(rule, deque())
        while recent and now - recent[0] >= MINUTE:
            recent.popleft()
        if len(recent) + wanted > limit.per_minute:
            return self._stop(rule, f"more than {limit.per_minute} new isolations within a minute")
        if limit.traffic is not None and share is not None and share * 100 > limit.traffic:
            return self._stop(rule, f"more than {limit.traffic}% of all requests are isolated")
        recent.extend([now] * wanted)
        return ""

    def give_back(self, rule: str) -> None:
        """The isolation that was counted last has not come about."""
        if recent := self._recent.get(rule):
            recent.pop()

    def resume(self, rule: str) -> bool:
        """Lets a rule isolate again, counting from nothing; False when it was not stopped."""
        self._recent.pop(rule, None)
        return self.stopped.pop(rule, None) is not None

    def _stop(self, rule: str, why: str) -> str:
        self.stopped[rule] = why
        self._recent.pop(rule, None)
        return why
