"""When which key is to be looked at again, so that a tick does not walk over all keys.

Keys lie in slots of time; a tick takes the slots that have passed. A key is in one slot at most, and can be
taken out when it is forgotten. What is to happen then is for the rule type to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from divertor.rules.types.contract import Key


@dataclass(slots=True)
class Deadlines:
    """`grain`: the width of a slot in microseconds. A key may be due up to one slot before its moment:
    whoever takes it looks, and sets it again if it was too early.
    """

    grain: int
    slots: dict[int, dict[Key, None]] = field(default_factory=dict)
    #: Slots before this one are empty.
    first: int = 0
    #: The slot that was set last.
    latest: int = 0

    def set(self, key: Key, moment: int) -> int:
        """Have the key looked at when `moment` has come; returns its slot, for `drop`."""
        slot = moment // self.grain
        if slot == self.latest:
            slot = self.latest  # many keys keep their slot: let it be one number, not one for each
        self.latest = slot
        if not self.slots or slot < self.first:
            self.first = slot
        self.slots.setdefault(slot, {})[key] = None
        return slot

    def drop(self, key: Key, slot: int) -> None:
        """Forget a key in this slot, if it is there."""
        keys = self.slots.get(slot)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self.slots[slot]

    def due(self, now: int) -> list[Key]:
        """The keys of all slots that began by `now`, taken out, the earliest slot first."""
        last = now // self.grain
        if not self.slots or last < self.first:
            return []
        if last - self.first < len(self.slots):
            passed = [slot for slot in range(self.first, last + 1) if slot in self.slots]
        else:
            passed = sorted(slot for slot in self.slots if slot <= last)
        self.first = last
        return [key for slot in passed for key in self.slots.pop(slot)]


def grain_of(timeframe: int) -> int:
    """A width of slots that suits deadlines about `timeframe` ahead."""
    return max(1000, timeframe // 256)
