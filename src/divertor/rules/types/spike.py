"""`type: spike`: the events of the last `timeframe` are `spike_height` times as many, or as few, as those of
the `timeframe` before.

The current window ends at the moment it is judged at, and the reference window is the `timeframe` before it.
A rise is shown by an event and judged at its time; a fall is shown by events leaving the current window, so
ticks judge it, at each moment when one left. An empty window is taken as one event: nothing against nothing
never fires, `spike_height` events after silence do, and so does silence after `spike_height` events. A key is
judged from 2 * timeframe after its first event (with `alert_on_new_data`: after the rule's first), and again
2 * timeframe after a hit, when its reference is made of what came since.

With `field_value` the means of a field are compared, exactly to six decimals; a window without a value, or
with the mean 0, never fires. A window of more than MAX_ENTRIES events lets neighbours share the later one's
time. Compatible mode is ElastAlert's reading (`polling.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.reading.options import Option, boolean, integer, number, span, text
from divertor.rules.types.aggregates import number_of
from divertor.rules.types.contract import Hit, Key, Observation, RuleType, Settings, Side, TypeDeclaration
from divertor.rules.types.deadlines import Deadlines, grain_of
from divertor.rules.types.polling import Entry, PolledSpikes, SpikeJudge, mean, times_of, total
from divertor.rules.types.readers import choice
from divertor.rules.types.remembered import MAX_KEYS, longest_idle
from divertor.rules.types.tracks import (
    SINCE,
    SLOT,
    TIMES,
    TOUCHED,
    Cursor,
    Few,
    Load,
    Track,
    Tracks,
    cut,
    few_of,
    join,
    moved,
    plus,
    track_of,
)

#: Entries of one key; beyond it neighbours are joined.
MAX_ENTRIES = 65_536

#: Events up to which a key that cannot have risen yet is kept as bare numbers.
MOST_FEW = 16

_MILLIONTHS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Spike:
    """`timeframe` in microseconds; `field`: the means of this field are compared."""

    timeframe: int
    height: float
    up: bool
    down: bool
    threshold_ref: int = 0
    threshold_cur: int = 0
    keyed: bool = False
    new_data: bool = False
    field: str | None = None
    max_keys: int = MAX_KEYS
    max_entries: int = MAX_ENTRIES
    side: Side = "above"

    @property
    def threshold(self) -> float:
        return self.height

    def start(self) -> Tracks:
        return Tracks(Deadlines(grain_of(self.timeframe)))

    def span(self) -> timedelta:
        return timedelta(microseconds=2 * self.timeframe)

    def step(self, state: Tracks, seen: Observation, now: int) -> list[Hit]:
        moment = seen.micros
        track = state.by_key.get(seen.key)
        if not isinstance(track, Track):
            return self._step_of_few(state, track, seen, now)
        if track.loads is not None or moment <= track.times[-1]:
            return self._step_slowly(state, seen, now)
        # What nearly every event is: the newest of a known key, one among others.
        if now - track.touched > self.timeframe:
            self._put_last(state, seen.key, track)
        track.touched = now
        track.times.append(moment)
        cursor = track.rise
        if cursor is None:
            if not self.up:
                return []
            cursor = track.rise = Cursor(moment)
        if not self._has_risen(track, cursor, moment):
            return []
        return self._judge_rise(state, track, cursor, seen)

    def _step_of_few(self, state: Tracks, few: Few | None, seen: Observation, now: int) -> list[Hit]:
        """An event of a key that is new, or had too few events for a rise."""
        if few is None and self._can_be_few():
            since, slot = self._meet(state, seen.key, seen.micros)
            state.by_key[seen.key] = few_of(since, now, slot, seen.micros)
            return []
        if few is not None:
            if seen.micros >= few[-1] and len(few) - TIMES + 1 < min(self.height, MOST_FEW):
                if now - few[TOUCHED] > self.timeframe:
                    self._put_last(state, seen.key, few)
                few[TOUCHED] = now
                few.append(seen.micros)
                return []
            state.by_key[seen.key] = track_of(few)
        return self._step_slowly(state, seen, now)

    def _can_be_few(self) -> bool:
        """Whether less than `height` events say nothing. Means may rise with any, and a fall is looked for
        from the first on."""
        return self.field is None and not self.down and self.height > 1

    def _step_slowly(self, state: Tracks, seen: Observation, now: int) -> list[Hit]:
        load = None if self.field is None else self._load(seen)
        if self.field is not None and load is None:
            return []
        track = state.by_key.get(seen.key)
        if not isinstance(track, Track):
            track = self._new_track(state, seen.key, seen.micros, now)
        self._put_last(state, seen.key, track)
        track.touched = now
        if not self._insert(track, seen.micros, load):
            return []
        cursor = track.rise
        if cursor is None:
            # One event is no rise: nothing more is kept of the many keys that are seen once.
            if not self.up or (len(track.times) == 1 and self.height > 1):
                return []
            cursor = track.rise = Cursor(min(seen.micros, track.times[0]) - 1)
        self._move(track, cursor, max(seen.micros, track.times[-1], cursor.moment))
        return self._judge_rise(state, track, cursor, seen)

    def _has_risen(self, track: Track, cursor: Cursor, moment: int) -> bool:
        """`_move` to the newest event of a track without loads; whether it may be a rise."""
        times, mid, old = track.times, cursor.mid, cursor.old
        edge = moment - self.timeframe
        while times[mid] <= edge:
            mid += 1
        edge -= self.timeframe
        while times[old] <= edge:
            old += 1
        end = len(times)
        cursor.moment, cursor.old, cursor.mid, cursor.end = moment, old, mid, end
        if old > 64 and old * 2 > end:
            cut(track)
        if end > self.max_entries:
            self._join(track)
        return end - mid >= (mid - old or 1) * self.height

    def _judge_rise(self, state: Tracks, track: Track, cursor: Cursor, seen: Observation) -> list[Hit]:
        if not self._is_judged(state, track, cursor.moment):
            return []
        current, reference = self._numbers(track, cursor)
        if not self._is_rise(current, reference):
            return []
        track.quiet = cursor.moment + 2 * self.timeframe
        return [Hit.of(seen, fields=_fields(current, reference))]

    def _put_last(self, state: Tracks, key: Key, track: Track | Few) -> None:
        """Keep keys in order of last use, near enough: one in use is moved once a timeframe."""
        state.by_key.pop(key, None)
        state.by_key[key] = track

    def tick(self, state: Tracks, now: int) -> list[Hit]:
        if state.since is None:
            state.since = now
        hits: list[Hit] = []
        for key in state.deadlines.due(now):
            track = state.by_key.get(key)
            if track is None:
                continue
            if not isinstance(track, Track):
                self._look_at_few(state, key, track, now)
                continue
            hits += self._falls(state, key, track, now)
            if track.touched + 2 * self.timeframe <= now:
                self._forget(state, key, track.since)
            else:
                track.slot = state.deadlines.set(key, self._deadline(track, now))
        hits.sort(key=lambda hit: hit.micros)
        return hits

    def measure(self, state: Tracks, key: Key, now: int) -> float | None:
        track = state.by_key.get(key)
        if track is None:
            return None if self.field is not None else 1.0
        if not isinstance(track, Track):
            track = track_of(track)
        cursor = Cursor(now - 3 * self.timeframe)
        self._move(track, cursor, now)
        current, reference = self._numbers(track, cursor)
        if self.field is not None and not (current and reference):
            return None
        if current is None or reference is None:
            return None
        if self.field is None:
            return times_of(current, reference, self.up, self.down)
        rise = current / reference
        return max(rise if self.up else 0.0, 1 / rise if self.down else 0.0)

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        return spike_summary(document, time, self.timeframe, self.field)

    def _load(self, seen: Observation) -> Load | None:
        value = number_of(next(iter(seen.document.values(self.field or "")), None))
        return None if value is None else (1, round(value * _MILLIONTHS))

    def _new_track(self, state: Tracks, key: Key, moment: int, now: int) -> Track:
        since, slot = self._meet(state, key, moment)
        track = state.by_key[key] = Track(since, now, 0, slot)
        if self.down:
            track.fall = Cursor(moment - 1)
        if self.field is not None:
            track.loads = []
        return track

    def _meet(self, state: Tracks, key: Key, moment: int) -> tuple[int, int]:
        """Make room for a new key; its first event, and the slot of its deadline."""
        if state.since is None:
            state.since = moment
        if len(state.by_key) >= self.max_keys:
            for one in longest_idle(state.by_key):
                track = state.by_key.pop(one)
                state.deadlines.drop(one, track.slot if isinstance(track, Track) else track[SLOT])
                state.forgotten += 1
        return state.idle.pop(key, moment), state.deadlines.set(key, moment + self.timeframe)

    def _insert(self, track: Track, moment: int, load: Load | None) -> bool:
        """Put an event in its place; False when it is too old to be in any window."""
        times = track.times
        if not times or moment >= times[-1]:
            times.append(moment)
            if track.loads is not None:
                track.loads.append(load or (1, 0))
        else:
            if moment <= times[-1] - 2 * self.timeframe:
                return False
            place = bisect_right(times, moment)
            times.insert(place, moment)
            if track.loads is not None:
                track.loads.insert(place, load or (1, 0))
        for cursor in (track.rise, track.fall):
            if cursor is not None and moment <= cursor.moment:
                self._count_late(track, cursor, moment, load or (1, 0))
        if len(times) > self.max_entries:
            self._join(track)
        return True

    def _count_late(self, track: Track, cursor: Cursor, moment: int, load: Load) -> None:
        """An entry came in at a time the cursor has passed."""
        cursor.end += 1
        if moment > cursor.moment - self.timeframe:
            cursor.current = plus(cursor.current, load)
            return
        cursor.mid += 1
        if moment > cursor.moment - 2 * self.timeframe:
            cursor.reference = plus(cursor.reference, load)
        else:
            cursor.old += 1

    def _move(self, track: Track, cursor: Cursor, moment: int) -> None:
        times, loads, size = track.times, track.loads, len(track.times)
        old, mid, end = cursor.old, cursor.mid, cursor.end
        while end < size and times[end] <= moment:
            end += 1
        edge = moment - self.timeframe
        while mid < end and times[mid] <= edge:
            mid += 1
        edge -= self.timeframe
        while old < mid and times[old] <= edge:
            old += 1
        if loads is not None:
            cursor.current = moved(cursor.current, loads, cursor.mid, mid, cursor.end, end)
            cursor.reference = moved(cursor.reference, loads, cursor.old, old, cursor.mid, mid)
        cursor.moment, cursor.old, cursor.mid, cursor.end = moment, old, mid, end
        if old > 64 and old * 2 > size:
            cut(track)

    def _numbers(self, track: Track, cursor: Cursor) -> tuple[float | None, float | None]:
        """Current and reference: counts, or means."""
        if track.loads is None:
            return cursor.end - cursor.mid, cursor.mid - cursor.old
        if self.field is None:
            return cursor.current[0], cursor.reference[0]
        return _mean(cursor.current), _mean(cursor.reference)

    def _is_judged(self, state: Tracks, track: Track, moment: int) -> bool:
        since = track.since if self.keyed and not self.new_data else state.since
        return moment >= track.quiet and since is not None and moment - since >= 2 * self.timeframe

    def _is_rise(self, current: float | None, reference: float | None) -> bool:
        if current is None or reference is None:
            return False
        if self.field is not None:
            return bool(current and reference) and current >= reference * self.height
        if current < self.threshold_cur or reference < self.threshold_ref:
            return False
        return current > 0 and current >= max(reference, 1) * self.height

    def _is_fall(self, current: float | None, reference: float | None) -> bool:
        if current is None or reference is None:
            return False
        if self.field is not None:
            return bool(current and reference) and current * self.height <= reference
        if current < self.threshold_cur or reference < self.threshold_ref:
            return False
        return reference > 0 and max(current, 1) * self.height <= reference

    def _falls(self, state: Tracks, key: Key, track: Track, now: int) -> list[Hit]:
        """What the moments until now, at which an event left the current window, show."""
        cursor, hits = track.fall, []
        while cursor is not None and self._has_fallen(track, cursor, now):
            moment = cursor.moment
            current, reference = self._numbers(track, cursor)
            if self._is_judged(state, track, moment) and self._is_fall(current, reference):
                track.quiet = moment + 2 * self.timeframe
                hits.append(Hit.at(key, moment, fields=_fields(current, reference)))
        return hits

    def _has_fallen(self, track: Track, cursor: Cursor, now: int) -> bool:
        """Move to the next moment at which an event left and there may be a fall; False when there is none
        until now."""
        if track.loads is not None:
            moment = self._next_leaving(track, cursor)
            if moment is None or moment > now:
                return False
            self._move(track, cursor, moment)
            return True
        times, size, moment = track.times, len(track.times), cursor.moment
        mid, old, end, found = cursor.mid, cursor.old, cursor.end, False
        while mid < size and not found:
            left = times[mid]
            if left + self.timeframe > now:
                break
            moment = left + self.timeframe
            while end < size and times[end] <= moment:
                end += 1
            while mid < end and times[mid] <= left:
                mid += 1
            while old < mid and times[old] <= left - self.timeframe:
                old += 1
            found = mid - old >= (end - mid or 1) * self.height
        cursor.moment, cursor.old, cursor.mid, cursor.end = moment, old, mid, end
        if old > 64 and old * 2 > size:
            cut(track)
        return found

    def _next_leaving(self, track: Track, cursor: Cursor) -> int | None:
        return track.times[cursor.mid] + self.timeframe if cursor.mid < len(track.times) else None

    def _deadline(self, track: Track, now: int) -> int:
        forget = track.touched + 2 * self.timeframe
        leaving = None if track.fall is None else self._next_leaving(track, track.fall)
        return forget if leaving is None else min(forget, leaving)

    def _look_at_few(self, state: Tracks, key: Key, few: Few, now: int) -> None:
        forget = few[TOUCHED] + 2 * self.timeframe
        if forget <= now:
            self._forget(state, key, few[SINCE])
        else:
            few[SLOT] = state.deadlines.set(key, forget)

    def _forget(self, state: Tracks, key: Key, since: int) -> None:
        del state.by_key[key]
        if not self.keyed or self.new_data:
            return
        state.idle[key] = since
        if len(state.idle) > self.max_keys:
            for one in longest_idle(state.idle):
                del state.idle[one]

    def _join(self, track: Track) -> None:
        """Let entries that are near each other be one, at the last one's time."""
        join(track, self.max_entries * 3 // 4, max(1, 4 * self.timeframe // self.max_entries))
        for cursor in (track.rise, track.fall):
            if cursor is not None:
                moment = cursor.moment
                cursor.old = cursor.mid = cursor.end = 0
                cursor.current = cursor.reference = (0, 0)
                self._move(track, cursor, moment)


def _mean(load: Load) -> float | None:
    return load[1] / (load[0] * _MILLIONTHS) if load[0] else None


def _fields(current: float | None, reference: float | None) -> dict[str, Any]:
    return {"spike_count": current, "reference_count": reference}


def spike_summary(document: Mapping[str, Any], time: datetime, timeframe: int, what: str | None) -> str:
    """The sentence for a spike; `what` names the number that is compared if it is no count of events."""
    current, reference = document.get("spike_count"), document.get("reference_count")
    kind = "number of events" if what is None else f"value of {what}"
    length = timedelta(microseconds=timeframe)
    return (
        f"An abnormal {kind} ({_short(current)}) around {time:%Y-%m-%d %H:%M %Z}; in the {length} before"
        f" it was {_short(reference)}"
    )


def _short(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class PolledSpike:
    """Compatible mode: each event is judged when it comes, and each key once more when the batch ends."""

    judge: SpikeJudge
    field: str | None = None
    side: Side = "above"

    @property
    def threshold(self) -> float:
        return self.judge.height

    def start(self) -> PolledSpikes:
        return PolledSpikes()

    def span(self) -> timedelta:
        return timedelta(microseconds=2 * self.judge.timeframe)

    def step(self, state: PolledSpikes, seen: Observation, now: int) -> list[Hit]:
        amount: int | None = 1
        if self.field is not None:
            amount = _whole(seen.document.fields.get(self.field))
        if amount is None:
            return []
        return self.judge.take(state, seen.key, Entry(seen.micros, amount, seen.event))

    def tick(self, state: PolledSpikes, now: int) -> list[Hit]:
        return self.judge.poll(state, now)

    def measure(self, state: PolledSpikes, key: Key, now: int) -> float | None:
        return self.judge.measure(state, key)

    def summary(self, document: Mapping[str, Any], time: datetime) -> str:
        return spike_summary(document, time, self.judge.timeframe, self.field)


def _whole(value: Any) -> int | None:
    """A field's value without its fraction, as ElastAlert takes it."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def make(options: Mapping[str, Any], settings: Settings) -> RuleType[Any]:
    kind, keyed, name = options["spike_type"], bool(settings.query_key), options["field_value"]
    shared: dict[str, Any] = {
        "timeframe": options["timeframe"] // _MICROSECOND,
        "height": options["spike_height"],
        "up": kind in ("up", "both"),
        "down": kind in ("down", "both"),
        "threshold_ref": options["threshold_ref"],
        "threshold_cur": options["threshold_cur"],
        "keyed": keyed,
        "new_data": keyed and options["alert_on_new_data"],
    }
    if not settings.compatible:
        return Spike(**shared, field=name)
    reading = total if name is None else mean
    return PolledSpike(SpikeJudge(**shared, reading=reading, values=name is not None), name)


DECLARATION: TypeDeclaration[Any] = TypeDeclaration(
    "spike",
    (
        Option("spike_height", number(1, 1e9), required=True),
        Option("spike_type", choice("up", "down", "both"), required=True),
        Option("timeframe", span(), required=True),
        Option("threshold_ref", integer(0, 1_000_000_000), default=0),
        Option("threshold_cur", integer(0, 1_000_000_000), default=0),
        Option("alert_on_new_data", boolean, default=False),
        Option("field_value", text),
    ),
    make,
)
