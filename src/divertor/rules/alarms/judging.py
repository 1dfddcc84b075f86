"""The alarms of one engine: what becomes of each hit, and which alarms are over.

A hit passes, in this order: the pending period, acknowledgement and silences, hours, the silence after the
last alert. Whatever stops it is counted, and the next alert says how many there were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from divertor.rules.alarms.controls import Controls
from divertor.rules.alarms.realert import Place, Realerts
from divertor.rules.alarms.routing import acts, severity_of
from divertor.rules.alarms.tracks import Alarm, RuleTracks, Track, Tracks, worst
from divertor.rules.alarms.verdict import Verdict, identity
from divertor.rules.rule import AlarmOptions, Audience, Rule, Severity, Status
from divertor.rules.types.contract import Hit, Measured, threshold_of

#: How long nothing has matched when an alarm without `recovery` ends, without a word.
QUIET = timedelta(hours=1)
#: The same for `recovery` that names neither a number nor a time.
RECOVERED = timedelta(minutes=10)

#: Open alarms of a rule whose number a tick looks at: attackers open many, and a tick holds everybody up.
LOOKED_AT = 2000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Case:
    """A hit to be judged. `cause` is what began it; `waited`: it came earlier, and was held back."""

    rule: Rule
    state: Any
    track: Track
    hit: Hit
    cause: str
    now: int
    waited: bool = False


class Alarms:
    """What is remembered of the alarms of all rules of one engine. It can be pickled.

    `control` says what people silence and acknowledge from now on; `suppressed` counts, by the silence's id,
    the matches that people were not told of because of it.
    """

    def __init__(self) -> None:
        self._realerts = Realerts()
        self._tracks = Tracks()
        self._controls = Controls()
        self.suppressed: dict[str, int] = {}

    def decide(self, rule: Rule, state: Any, hits: Sequence[Hit], now: int) -> list[Verdict]:
        """Which of the hits that an event or a tick caused are alerts. `state` is the rule type's."""
        if not hits:
            return []
        verdicts = [self._take(rule, state, hit, now) for hit in hits]
        return [verdict for verdict in verdicts if verdict is not None]

    def knows(self, rule: str) -> bool:
        """Whether anything is remembered of a rule that a tick may change."""
        return rule in self._tracks.by_rule

    def passed(self, rule: Rule, state: Any, now: int) -> Iterator[Verdict]:
        """What a tick brings besides hits: what waited long enough, and which alarms are over. Nothing else
        may be asked of the rule before this has come to its end.
        """
        tracks = self._tracks.by_rule.get(rule.name)
        if tracks is not None:
            tracks.ticked = now
            yield from self._due(rule, state, tracks, now)
            yield from self._over(rule, state, tracks, now)

    def forget(self, now: int) -> None:
        """Let go of what no longer matters."""
        self._realerts.forget(now)
        self._tracks.forget(now - QUIET // _MICROSECOND)

    def control(self, controls: Controls) -> None:
        """What holds from now on."""
        self._controls = controls
        known = {silence.id for silence in controls.silences}
        self.suppressed = {id: count for id, count in self.suppressed.items() if id in known}

    def open(self) -> list[Alarm]:
        """The alarms that are open, the latest first."""
        return sorted(self._tracks.open(), key=lambda alarm: alarm.opened, reverse=True)

    def recent(self) -> list[Alarm]:
        """Alarms that are over, the latest first; a bounded number."""
        return list(reversed(self._tracks.recent))

    @property
    def controls(self) -> Controls:
        """What people said last."""
        return self._controls

    @property
    def forgotten(self) -> int:
        """Open alarms that were given up for want of room."""
        return self._tracks.forgotten

    # A hit on its way ----------------------------------------------------------------------------------

    def _take(self, rule: Rule, state: Any, hit: Hit, now: int) -> Verdict | None:
        track, idle = self._tracks.touch(rule.name, _key(rule, hit), now)
        cause = hit.cause
        if track.alarm:
            track.matches += 1
            track.good = None
            if self._is_mere_repetition(rule, track, now):
                track.suppressed += 1
                return None
        elif rule.alarm.pending:
            if not self._has_held(rule, track, hit, idle, now):
                return None
            cause = track.cause
        return self._speak(_Case(rule, state, track, hit, cause, now))

    def _is_mere_repetition(self, rule: Rule, track: Track, now: int) -> bool:
        """Whether nothing but the silence after the last alert has a say, and it does: the usual case in a
        flood, decided without the long way that would come to the same.
        """
        controls, options = self._controls, rule.alarm
        if controls.silences or controls.acks or options.hours is not None or options.limit is not None:
            return False
        return self._realerts.covers(_place(rule, track.key), now)

    def _has_held(self, rule: Rule, track: Track, hit: Hit, idle: int, now: int) -> bool:
        """Whether the condition of a pending alarm has held for long enough."""
        pending = rule.alarm.pending // _MICROSECOND
        is_measured = threshold_of(rule.behaviour) is not None
        if track.since is None or (not is_measured and idle > pending):
            track.since, track.cause = now, hit.cause
        if now - track.since >= pending:
            return True
        if is_measured:
            # Time alone may show that it held: then this is what is told.
            self._tracks.wait(rule.name, track, hit, None)
        return False

    def _speak(self, case: _Case) -> Verdict | None:
        """The alert of a hit, unless something holds it back."""
        rule, track, now = case.rule, case.track, case.now
        if self._is_withheld(case):
            return self._suppressed(case)
        is_time = _is_time(rule.alarm, now, case.waited)
        if not is_time and rule.alarm.outside == "hold":
            return self._held(case)
        if not is_time and rule.alarm.outside == "drop":
            return self._suppressed(case)
        place = _place(rule, track.key)
        if self._realerts.covers(place, now):
            track.suppressed += 1
            return None
        self._realerts.begin(place, rule.alarm, now)
        severity = severity_of(rule, case.state, track, case.hit, now)
        if not is_time:
            severity = min(severity, Severity.LOW, key=lambda each: each.rank)
        return self._alert(case, severity)

    def _is_withheld(self, case: _Case) -> bool:
        track = case.track
        if track.alarm and self._controls.is_acknowledged(track.alarm, case.now):
            return True
        silence = self._controls.silence_of(case.rule.name, track.key, case.hit, case.now)
        if silence is None:
            return False
        self.suppressed[silence.id] = self.suppressed.get(silence.id, 0) + 1
        return True

    def _held(self, case: _Case) -> Verdict | None:
        """The first hit waits for its time, the others are counted."""
        track, due = case.track, _next_time(case.rule.alarm, case.now)
        if track.due is not None or due is None:
            return self._suppressed(case)
        if not self._tracks.wait(case.rule.name, track, case.hit, due):
            return self._suppressed(case)
        track.cause = case.cause
        return self._acting(case)

    def _suppressed(self, case: _Case) -> Verdict | None:
        case.track.suppressed += 1
        return self._acting(case)

    def _acting(self, case: _Case) -> Verdict | None:
        """What a rule does apart from telling people, it does all the same, as often as it may."""
        rule, track, hit = case.rule, case.track, case.hit
        if case.waited or not acts(rule):
            return None
        key, value = _place(rule, track.key)
        place = (f"{key}\0{Audience.ACTIONS}", value)
        if self._realerts.covers(place, case.now):
            return None
        self._realerts.begin(place, rule.alarm, case.now)
        return Verdict(
            hit,
            identity(rule.name, hit.key, case.cause, Audience.ACTIONS),
            track.alarm or identity(rule.name, hit.key, case.cause, "opened"),
            severity=severity_of(rule, case.state, track, hit, case.now),
            suppressed=track.suppressed,
            audience=Audience.ACTIONS,
        )

    def _alert(self, case: _Case, severity: Severity) -> Verdict:
        rule, track, hit = case.rule, case.track, case.hit
        if not track.alarm:
            track.alarm = identity(rule.name, hit.key, case.cause, "opened")
            track.opened = case.now if track.since is None else track.since
            track.matches, track.alerts, track.severities, track.good = 1, 0, (), None
        if track.due is not None:
            track.suppressed += 1  # what waited for the hours to begin, and something newer came first
        self._tracks.release(rule.name, track)
        track.since, track.cause = None, ""
        suppressed, track.suppressed = track.suppressed, 0
        track.alerts += 1
        if rule.alarm.recovery is not None:
            self._tracks.keep(track, hit._replace(related=None))
        track.severities = (*(each for each in track.severities if each is not severity), severity)
        return Verdict(
            hit,
            identity(rule.name, hit.key, case.cause),
            track.alarm,
            severity=severity,
            severities=track.severities,
            suppressed=suppressed,
            audience=Audience.PEOPLE if case.waited and acts(rule) else Audience.ALL,
        )

    # Time passes ---------------------------------------------------------------------------------------

    def _due(self, rule: Rule, state: Any, tracks: RuleTracks, now: int) -> Iterator[Verdict]:
        """What waited and may be told now."""
        for key in list(tracks.waiting):
            track = tracks.by_key[key]
            if track.due is not None:
                verdict = self._after_hours(rule, state, track, now)
            else:
                verdict = self._after_pending(rule, state, track, now)
            if verdict is not None:
                yield verdict

    def _after_hours(self, rule: Rule, state: Any, track: Track, now: int) -> Verdict | None:
        if track.due is None or now < track.due:
            return None
        hit, cause = self._tracks.release(rule.name, track), track.cause
        return None if hit is None else self._speak(_Case(rule, state, track, hit, cause, now, waited=True))

    def _after_pending(self, rule: Rule, state: Any, track: Track, now: int) -> Verdict | None:
        if not _is_bad(rule, state, track.key, now):
            self._tracks.release(rule.name, track)
            track.since, track.cause = None, ""
            return None
        if track.since is None or now - track.since < rule.alarm.pending // _MICROSECOND:
            return None
        hit = self._tracks.release(rule.name, track)
        return None if hit is None else self._speak(_Case(rule, state, track, hit, track.cause, now))

    def _over(self, rule: Rule, state: Any, tracks: RuleTracks, now: int) -> Iterator[Verdict]:
        """Alarms that are over, and tracks that nobody needs."""
        bounds = _bounds(rule)
        if bounds is not None:
            for track in tracks.next_open(LOOKED_AT):
                if self._is_back(rule, state, track, bounds, now):
                    yield self._resolved(rule, track, now)
        limit = _idle_limit(rule, bounds is not None)
        for track in _idle(tracks, now - limit):
            if track.alarm and bounds is not None:
                continue
            if track.alarm and rule.alarm.recovery is not None:
                yield self._resolved(rule, track, now)
            elif track.waiting is None:
                self._tracks.end(rule.name, track, now, resolved=False)

    def _is_back(self, rule: Rule, state: Any, track: Track, bounds: tuple[float, float], now: int) -> bool:
        """Whether the number has been between its bounds for as long as is asked."""
        recovery, behaviour = rule.alarm.recovery, rule.behaviour
        assert recovery is not None and isinstance(behaviour, Measured)
        measured = behaviour.measure(state, track.key, _seen_at(rule, now))
        if measured is not None and not bounds[0] < measured < bounds[1]:
            track.good = None
            return False
        track.good = now if track.good is None else track.good
        return now - track.good >= recovery.hold // _MICROSECOND

    def _resolved(self, rule: Rule, track: Track, now: int) -> Verdict:
        """Shows what the last alert showed, so that its subject and text can be said again."""
        told = track.told or Hit(track.key, now, "")
        fields = {
            **told.fields,
            "alarm_lasted": (now - track.opened) // 1_000_000,
            "alarm_matches": track.matches,
            "alarm_alerts": track.alerts,
        }
        verdict = Verdict(
            Hit(track.key, now, f"{track.alarm} over", told.event, fields),
            identity(track.alarm, "over"),
            track.alarm,
            Status.RESOLVED,
            worst(track.severities),
            track.severities,
            track.suppressed,
        )
        self._tracks.end(rule.name, track, now, resolved=True)
        return verdict


def _seen_at(rule: Rule, now: int) -> int:
    """The time that the rule's type sees."""
    return now - rule.clock.query_delay // _MICROSECOND


def _key(rule: Rule, hit: Hit) -> str | None:
    return hit.key if rule.query_key else None


def _place(rule: Rule, key: str | None) -> Place:
    return (rule.alarm.realert_key, key)


def _is_time(options: AlarmOptions, now: int, waited: bool) -> bool:
    """Whether people may be told now. What waited for one of the minutes of `limit` may be told although
    that minute has passed meanwhile.
    """
    if options.hours is not None and not options.hours.contains(now):
        return False
    return options.limit is None or waited or options.limit.contains(now)


def _next_time(options: AlarmOptions, now: int) -> int | None:
    """When it may be time again; None: never."""
    if options.hours is not None and not options.hours.contains(now):
        return options.hours.next(now)
    return now if options.limit is None else options.limit.next(now)


def _is_bad(rule: Rule, state: Any, key: str | None, now: int) -> bool:
    behaviour, threshold = rule.behaviour, threshold_of(rule.behaviour)
    if threshold is None or not isinstance(behaviour, Measured):
        return True
    measured = behaviour.measure(state, key, _seen_at(rule, now))
    if measured is None:
        return False
    return measured >= threshold if behaviour.side == "above" else measured <= threshold


def _bounds(rule: Rule) -> tuple[float, float] | None:
    """Between which numbers an alarm is over (both left out); None: it does not go by a number."""
    recovery, behaviour = rule.alarm.recovery, rule.behaviour
    if recovery is None or recovery.after is not None or not isinstance(behaviour, Measured):
        return None
    low, high = recovery.above, recovery.below
    if low is None and high is None:
        threshold = threshold_of(rule.behaviour)
        if threshold is None:
            return None
        low, high = (None, threshold) if behaviour.side == "above" else (threshold, None)
    return (float("-inf") if low is None else low, float("inf") if high is None else high)


def _idle_limit(rule: Rule, is_measured: bool) -> int:
    """How long, in microseconds, nothing has matched when a track goes."""
    options = rule.alarm
    if options.recovery is None or is_measured:
        limit = max(QUIET, options.realert)
    else:
        limit = options.recovery.after or RECOVERED
    return max(limit, options.pending) // _MICROSECOND


def _idle(tracks: RuleTracks, until: int) -> list[Track]:
    """The tracks that have not matched since then."""
    found: list[Track] = []
    for track in tracks.by_key.values():
        if track.last > until:
            break
        found.append(track)
    return found
