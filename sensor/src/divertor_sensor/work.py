"""What judging one request may cost, counted in character steps and not in time, so that it is the same on
every machine.

Every search, decoding and tokenisation pays for the characters it may look at. When nothing is left,
`Spent` ends the judging; what that means for the call about to run is `divertor_sensor.guard`'s decision.
"""

from __future__ import annotations

#: Character steps per request, over all its guarded calls: some tens of milliseconds at worst.
BUDGET = 2_000_000


class Spent(Exception):
    """The request has used up its budget: there is too much input to judge."""


class Work:
    """A budget that only shrinks."""

    __slots__ = ("left",)

    def __init__(self, steps: int = BUDGET) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Pay for `steps` characters.

        :raises Spent: they are not left, now or for anything that follows.
        """
        self.left -= steps
        if self.left < 0:
            raise Spent
