"""What is remembered of each rule and key: the alarm that is open, and what waits to be told.

A track begins with a match and ends when nothing has happened for a while. There are a bounded number of
them, because attackers choose keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from divertor.rules.rule import Severity
from divertor.rules.types.contract import Hit, Key

#: Tracks over all rules; beyond it the longest idle one of the rule with the most is forgotten.
MAX_TRACKS = 200_000
#: Alarms that are over and still shown.
MAX_RECENT = 500
#: Hits over all rules that wait to be told, each with its event.
MAX_WAITING = 10_000
#: Alarms whose last alert is kept, with its event, for the notice that they are over.
MAX_TOLD = 1_000


@dataclass(slots=True)
class Track:
    """One key of a rule. Times are microseconds since the epoch.

    `alarm`: the open alarm's id, empty when none is open; `matches`, `alerts` and `severities` are of that
    alarm. `suppressed`: matches since the last alert that nobody was told of. `since`: when the condition of
    a pending alarm began, `cause` what began it. `waiting`: a hit to be told later; at `due`, or, when that
    is None, once the condition has held for long enough. `good`: since when a measured number is back.
    `told`: what the last alert showed, where its end is to be told, too.
    """

    key: Key
    last: int
    alarm: str = ""
    opened: int = 0
    matches: int = 0
    alerts: int = 0
    suppressed: int = 0
    severities: tuple[Severity, ...] = ()
    since: int | None = None
    cause: str = ""
    waiting: Hit | None = None
    due: int | None = None
    good: int | None = None
    told: Hit | None = None


@dataclass(slots=True)
class RuleTracks:
    """Those of one rule, the longest idle first; `waiting` are the keys for which something waits, `turn`
    those of open alarms that are still to be looked at before all others are again, the next one last.
    """

    ticked: int
    by_key: dict[Key, Track] = field(default_factory=dict)
    waiting: dict[Key, None] = field(default_factory=dict)
    turn: list[Key] = field(default_factory=list)

    def next_open(self, most: int) -> list[Track]:
        """Up to so many of the tracks with an open alarm, all of them in turn."""
        if not self.turn:
            self.turn = [key for key, track in self.by_key.items() if track.alarm]
            self.turn.reverse()
        keys = self.turn[-most:]
        del self.turn[-most:]
        found = (self.by_key.get(key) for key in reversed(keys))
        return [track for track in found if track is not None and track.alarm]


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as it is shown. Times are microseconds since the epoch; `ended` None: it is open. `resolved`:
    it was told that it is over.
    """

    id: str
    rule: str
    key: Key
    severity: Severity
    opened: int
    last: int
    matches: int
    alerts: int
    suppressed: int
    ended: int | None = None
    resolved: bool = False


@dataclass(slots=True)
class Tracks:
    """All of them. `forgotten` counts alarms that were given up for want of room."""

    by_rule: dict[str, RuleTracks] = field(default_factory=dict)
    recent: deque[Alarm] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))
    size: int = 0
    waiting: int = 0
    told: int = 0
    forgotten: int = 0

    def touch(self, rule: str, key: Key, now: int) -> tuple[Track, int]:
        """The track of a match that happens now, and how long (microseconds) nothing had matched."""
        tracks = self.by_rule.get(rule)
        if tracks is None:
            tracks = self.by_rule[rule] = RuleTracks(now)
        # Popped and put back, so that the dict stays in order of the last match.
        track = tracks.by_key.pop(key, None)
        if track is None:
            track = Track(key, now)
            self.size += 1
            if self.size > MAX_TRACKS:
                self._make_room()
        tracks.by_key[key] = track
        idle, track.last = now - track.last, now
        return track, idle

    def wait(self, rule: str, track: Track, hit: Hit, due: int | None) -> bool:
        """Keep a hit to tell later; False when there is no room."""
        if track.waiting is None:
            if self.waiting >= MAX_WAITING:
                return False
            self.waiting += 1
            self.by_rule[rule].waiting[track.key] = None
        track.waiting, track.due = hit, due
        return True

    def release(self, rule: str, track: Track) -> Hit | None:
        """What waited there, which then waits no more."""
        hit = track.waiting
        if hit is not None:
            self.waiting -= 1
            self.by_rule[rule].waiting.pop(track.key, None)
        track.waiting = track.due = None
        return hit

    def keep(self, track: Track, hit: Hit) -> None:
        """Remember what an alert showed, if there is room."""
        if track.told is None:
            if self.told >= MAX_TOLD:
                return
            self.told += 1
        track.told = hit

    def end(self, rule: str, track: Track, now: int, *, resolved: bool) -> None:
        """The alarm, if one is open, is over, and what was remembered of the key goes."""
        if track.alarm:
            self.recent.append(shown(rule, track, now, resolved=resolved))
        self.release(rule, track)
        self.told -= track.told is not None
        track.told = None
        if self.by_rule[rule].by_key.pop(track.key, None) is not None:
            self.size -= 1

    def forget(self, before: int) -> None:
        """Drop rules for which no time has passed since then: they are gone."""
        for rule in [rule for rule, tracks in self.by_rule.items() if tracks.ticked < before]:
            tracks = self.by_rule.pop(rule)
            self.size -= len(tracks.by_key)
            self.waiting -= len(tracks.waiting)
            self.told -= sum(track.told is not None for track in tracks.by_key.values())

    def open(self) -> Iterator[Alarm]:
        for rule, tracks in self.by_rule.items():
            for track in tracks.by_key.values():
                if track.alarm:
                    yield shown(rule, track)

    def _make_room(self) -> None:
        rule, tracks = max(self.by_rule.items(), key=lambda each: len(each[1].by_key))
        oldest = next(iter(tracks.by_key.values()))
        self.forgotten += bool(oldest.alarm)
        self.end(rule, oldest, oldest.last, resolved=False)


def shown(rule: str, track: Track, ended: int | None = None, *, resolved: bool = False) -> Alarm:
    """The alarm of a track, for people."""
    return Alarm(
        id=track.alarm,
        rule=rule,
        key=track.key,
        severity=worst(track.severities),
        opened=track.opened,
        last=track.last,
        matches=track.matches,
        alerts=track.alerts,
        suppressed=track.suppressed,
        ended=ended,
        resolved=resolved,
    )


def worst(severities: tuple[Severity, ...]) -> Severity:
    """The highest; medium when there is none."""
    return max(severities, key=lambda each: each.rank, default=Severity.MEDIUM)
