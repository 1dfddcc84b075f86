"""What rule types need to judge as ElastAlert does when it polls: its windows, and its spikes over them.

Only compatible mode uses this. A window hangs on its newest entry, which may be the mark a poll left, and not
on the present; a spike is whatever two such windows say, zero against zero included, because those who ask
for the mode want the same alerts as before. What made ElastAlert disable a rule (odd values) is passed over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from divertor.model.events import Event
from divertor.rules.types.contract import Hit, Key
from divertor.rules.types.remembered import longest_idle


class Entry(NamedTuple):
    """Something in a window: its number (None: a poll's mark, which counts 0) and the event, if any."""

    micros: int
    amount: float | None
    event: Event | None = None


@dataclass(slots=True)
class EventWindow:
    """Entries by time, from newest - timeframe (not included) to the newest; `total` is what they count."""

    timeframe: int
    entries: list[Entry] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    total: float = 0

    def append(self, entry: Entry) -> list[Entry]:
        """Take an entry in, behind those of its time; returns what fell out, the oldest first."""
        place = bisect_right(self.times, entry.micros)
        self.times.insert(place, entry.micros)
        self.entries.insert(place, entry)
        self.total += entry.amount or 0
        gone = bisect_right(self.times, self.times[-1] - self.timeframe)
        fallen = self.entries[:gone]
        del self.entries[:gone], self.times[:gone]
        for one in fallen:
            self.total -= one.amount or 0
        return fallen

    def clear(self) -> None:
        self.entries.clear()
        self.times.clear()
        self.total = 0

    def total_after(self, moment: int) -> float:
        return sum(one.amount or 0 for one in self.entries[bisect_right(self.times, moment) :])

    def amounts(self) -> list[float]:
        """Marks count 0."""
        return [one.amount or 0 for one in self.entries]

    def mean(self) -> float | None:
        """Marks are left out."""
        known = [one.amount for one in self.entries if one.amount is not None]
        return sum(known) / len(known) if known else None


#: The number of a window that a spike compares.
Reading: TypeAlias = Callable[[EventWindow], float | None]


def total(window: EventWindow) -> float | None:
    return window.total


def mean(window: EventWindow) -> float | None:
    return window.mean()


def least(window: EventWindow) -> float | None:
    return min(window.amounts(), default=None)


def most(window: EventWindow) -> float | None:
    return max(window.amounts(), default=None)


@dataclass(slots=True)
class Pair:
    """One key's windows. `first` is when its first event since the last match was, `skip` until when a match
    keeps new keys from matching.
    """

    current: EventWindow
    reference: EventWindow
    first: int | None = None
    skip: int | None = None
    live: bool = True


@dataclass(slots=True)
class PolledSpikes:
    """The state: windows by key, and whether any key's reference was ever full."""

    by_key: dict[Key, Pair] = field(default_factory=dict)
    filled: bool = False
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class SpikeJudge:
    """ElastAlert's spike. `values`: the windows' numbers are means of a field, of which nothing and 0 never
    match and to which thresholds do not apply.
    """

    timeframe: int
    height: float
    up: bool
    down: bool
    threshold_ref: float = 0
    threshold_cur: float = 0
    keyed: bool = False
    new_data: bool = False
    reading: Reading = total
    values: bool = False
    max_keys: int = 100_000

    def take(self, state: PolledSpikes, key: Key, entry: Entry) -> list[Hit]:
        """An event or a sample."""
        pair = self._pair(state, key)
        if pair.first is None:
            pair.first = entry.micros
        for one in pair.current.append(entry):
            pair.reference.append(one)
        if not self._is_ready(state, pair, entry.micros):
            return []
        reference, current = self.reading(pair.reference), self.reading(pair.current)
        if reference is None or current is None or not self._is_spike(reference, current):
            return []
        shown = self._shown(pair)
        pair.reference.clear()
        pair.first, pair.skip = None, shown.micros + 2 * self.timeframe
        fields = {"spike_count": current, "reference_count": reference}
        cause = f"@{shown.micros}" if shown.event is None else shown.event.id
        return [Hit(key, shown.micros, cause, shown.event, fields)]

    def wait(self, state: PolledSpikes, key: Key, micros: int) -> None:
        """A sample without a number: there is nothing to compare, but the wait for full windows begins."""
        pair = self._pair(state, key)
        if pair.first is None:
            pair.first = micros

    def poll(self, state: PolledSpikes, now: int) -> list[Hit]:
        """A run ended: each window gets a mark, and keys without anything are forgotten."""
        hits = []
        for key, pair in list(state.by_key.items()):
            if not pair.live:
                continue
            if self.keyed and key != "all" and not pair.reference.total and not pair.current.total:
                # What is remembered of the key's first event stays.
                pair.live = False
                pair.current.clear()
                pair.reference.clear()
                continue
            hits += self.take(state, key, Entry(now, None))
        return hits

    def measure(self, state: PolledSpikes, key: Key) -> float | None:
        """How many times the height of the reference the current window has, in the bad direction."""
        pair = state.by_key.get(key)
        if pair is None:
            return None
        reference, current = self.reading(pair.reference), self.reading(pair.current)
        return (
            None if reference is None or current is None else times_of(current, reference, self.up, self.down)
        )

    def _pair(self, state: PolledSpikes, key: Key) -> Pair:
        pair = state.by_key.get(key)
        if pair is not None:
            pair.live = True
            return pair
        if len(state.by_key) >= self.max_keys:
            gone = longest_idle(state.by_key)
            for one in gone:
                del state.by_key[one]
            state.forgotten += len(gone)
        pair = state.by_key[key] = Pair(EventWindow(self.timeframe), EventWindow(self.timeframe))
        return pair

    def _is_ready(self, state: PolledSpikes, pair: Pair, moment: int) -> bool:
        if pair.first is None or moment - pair.first >= 2 * self.timeframe:
            state.filled = True
            return True
        if not state.filled or not (self.keyed and self.new_data):
            return False
        return pair.skip is None or moment >= pair.skip

    def _is_spike(self, reference: float, current: float) -> bool:
        if self.values and (not reference or not current):
            return False
        if not self.values and (current < self.threshold_cur or reference < self.threshold_ref):
            return False
        rises = self.up and current >= reference * self.height
        return rises or (self.down and current <= reference / self.height)

    def _shown(self, pair: Pair) -> Entry:
        """The oldest entry that counts; the newest mark if none does."""
        for entry in pair.current.entries:
            if entry.amount is not None if self.values else entry.amount:
                return entry
        return pair.current.entries[-1]


def times_of(current: float, reference: float, up: bool, down: bool) -> float:
    """By what factor the number rose or fell, whichever of them is looked at and more. An empty window is
    taken as one event, so the factor is finite.
    """
    rise = max(current, 1) / max(reference, 1)
    return max(rise if up else 0.0, 1 / rise if down else 0.0)
