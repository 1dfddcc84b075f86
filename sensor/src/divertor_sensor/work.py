"""What judging one request may cost, counted in character steps and not in time, so that it is the same on
every machine.

Every search, decoding and tokenisation pays for the characters it may look at. When nothing is left,
`Spent` ends the judging; what that means for the call about to run is `divertor_sensor.guard`'s decision.
"""

from __future__ import annotations

#: Character steps per request, over all its guarded calls: some tens of milliseconds at worst.
BUDGET = 2_000_000
#: What each guarded call adds, beside its length: many calls are not much input, and the app pays more for
#: them than judging costs.
A_CALL = 4096


class Spent(Exception):
    """The request has used up its budget: there is too much input to judge."""


class Work:
    """A budget; it grows with the calls that are judged, and never above what it was."""

    __slots__ = ("_most", "left")

    def __init__(self, steps: int = BUDGET) -> None:
        self.left = self._most = steps

    def earn(self, length: int) -> None:
        """One more call is to be judged, of so many characters."""
        if self.left < self._most:
            self.left = min(self._most, self.left + A_CALL + length)

    def spend(self, steps: int) -> None:
        """Pay for `steps` characters.

        :raises Spent: they are not left; what could not be paid is owed.
        """
        self.left -= steps
        if self.left < 0:
            raise Spent
