"""How bad a match is, and which entries of a rule's `alert` are told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from divertor.rules.alarms.tracks import Track
from divertor.rules.alerters import ACTIONS
from divertor.rules.document import Document
from divertor.rules.notification import Notification
from divertor.rules.rule import AlertSpec, Audience, Match, Route, Rule, Severity, Status, When
from divertor.rules.types.contract import Hit, Measured

#: What is not undone when an alarm is over: an isolation ends by itself, people decide about going forward.
_BEGIN_ONLY = frozenset({"isolate", "release"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def acts(rule: Rule) -> bool:
    """Whether a rule does more than tell people: no silence, mute, acknowledgement or hour of the day holds
    that back.
    """
    return any(alert.name in ACTIONS for alert in rule.alerts)


def severity_of(rule: Rule, state: Any, track: Track, hit: Hit, now: int) -> Severity:
    """The first tier that holds, else the rule's own severity."""
    for tier in rule.alarm.tiers:
        if _holds(tier.when, rule, state, track, hit, now):
            return tier.level
    return rule.alarm.severity


def _holds(when: When, rule: Rule, state: Any, track: Track, hit: Hit, now: int) -> bool:
    matches = track.matches if track.alarm else track.suppressed + 1
    since = track.opened if track.alarm else now
    if matches < when.matches or now - since < when.open_for // _MICROSECOND:
        return False
    if when.hours is not None and not when.hours.contains(now):
        return False
    if when.filter is not None and (hit.event is None or not when.filter.test(Document.of(hit.event))):
        return False
    return _is_beyond(when, rule, state, hit, now)


def _is_beyond(when: When, rule: Rule, state: Any, hit: Hit, now: int) -> bool:
    if when.above is None and when.below is None:
        return True
    behaviour: Any = rule.behaviour
    seen_at = now - rule.clock.query_delay // _MICROSECOND
    measured = behaviour.measure(state, hit.key, seen_at) if isinstance(behaviour, Measured) else None
    if measured is None:
        return False
    return (when.above is None or measured > when.above) and (when.below is None or measured < when.below)


def concerns(alert: AlertSpec, match: Match, now: datetime) -> bool:
    """Whether that entry of `alert` is told of a match at the time `now` (aware)."""
    is_action = alert.name in ACTIONS
    if is_action and match.audience is Audience.PEOPLE:
        return False
    if alert.name in _BEGIN_ONLY and match.status is Status.RESOLVED:
        return False
    if not is_action and match.audience is Audience.ACTIONS:
        return False
    return alert.when is None or _lets_through(alert.when, match, now)


def _lets_through(route: Route, match: Match, now: datetime) -> bool:
    if route.statuses and match.status not in route.statuses:
        return False
    if route.severities and not route.severities & _told(match):
        return False
    if route.keys and not fits_any(route.keys, match.key or ""):
        return False
    # Whoever was told that an alarm began is told that it is over, at any hour.
    resolved = match.status is Status.RESOLVED
    return route.hours is None or resolved or route.hours.contains((now - _EPOCH) // _MICROSECOND)


def _told(match: Match) -> frozenset[Severity]:
    """What counts as its severity: for the notice that it is over, every one it was told under."""
    if match.status is Status.RESOLVED and match.severities:
        return frozenset(match.severities)
    return frozenset({match.severity})


def routed(alert: AlertSpec, notification: Notification, now: datetime) -> Notification | None:
    """What that entry of `alert` is told of a notification; None: nothing."""
    matches = tuple(match for match in notification.matches if concerns(alert, match, now))
    if len(matches) == len(notification.matches):
        return notification
    return replace(notification, matches=matches) if matches else None


def fits_any(patterns: Iterable[str], text: str) -> bool:
    """Whether a text fits one of the patterns; `*` stands for any characters."""
    # Only the star: fnmatch would read brackets and question marks too.
    return any(fnmatchcase(text, each.replace("[", "[[]").replace("?", "[?]")) for each in patterns)
