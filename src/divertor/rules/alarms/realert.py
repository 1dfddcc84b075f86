"""The silence after an alert: `realert`, shared through `realert_key`, growing with `exponential_realert`.

As ElastAlert has it: by the clock, not by the events' time; for each value of the query_key apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from divertor.rules.rule import AlarmOptions
from divertor.rules.types.contract import Key

#: Silences that are remembered over all rules; beyond it the oldest goes, which at worst alerts once too
#: often.
MAX_SILENCES = 200_000

_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000

#: A realert_key, and the query_key's value.
Place: TypeAlias = tuple[str, Key]


@dataclass(slots=True)
class Quiet:
    """A silence until `until`. `exponent` is how often it has doubled; nobody needs it after `stale`."""

    until: int
    exponent: int
    stale: int


@dataclass(slots=True)
class Realerts:
    """The silences, in the order in which they began."""

    by_place: dict[Place, Quiet] = field(default_factory=dict)

    def covers(self, place: Place, now: int) -> bool:
        """Whether an alert went out there too recently for another."""
        quiet = self.by_place.get(place)
        return quiet is not None and now < quiet.until

    def begin(self, place: Place, options: AlarmOptions, now: int) -> None:
        """An alert goes out."""
        realert = options.realert // _MICROSECOND
        if realert <= 0:
            return
        # Taken out first, so that the dict stays in the order in which silences began.
        before = self.by_place.pop(place, None)
        self.by_place[place] = _quiet(options, realert, before, now)
        if len(self.by_place) > MAX_SILENCES:
            del self.by_place[next(iter(self.by_place))]

    def forget(self, now: int) -> None:
        """Let go of silences that change nothing any more."""
        if any(quiet.stale <= now for quiet in self.by_place.values()):
            self.by_place = {place: quiet for place, quiet in self.by_place.items() if quiet.stale > now}


def _quiet(options: AlarmOptions, realert: int, before: Quiet | None, now: int) -> Quiet:
    if options.exponential_realert is None:
        return Quiet(now + realert, 0, now + realert)
    longest = options.exponential_realert // _MICROSECOND
    exponent = 0 if before is None else _exponent(realert, before, now)
    wait = realert * 2**exponent
    if wait >= longest:
        wait, exponent = longest, max(0, exponent - 1)
    # A second after that the decay below has come down to nothing.
    return Quiet(now + wait, exponent, now + wait + realert * 2 ** (exponent + 1) + _SECOND)


def _exponent(realert: int, before: Quiet, now: int) -> int:
    """One more when the alarm comes soon after the last silence; less and less the longer it stayed away,
    which ElastAlert counts in whole seconds.
    """
    away, exponent = (now - before.until) // _SECOND * _SECOND, before.exponent
    if away < realert * 2**exponent:
        return exponent + 1
    while away > realert * 2**exponent and exponent > 0:
        away -= realert * 2**exponent
        exponent -= 1
    return exponent
