"""Aggregation: matches gathered into one message, for a time after the first or until a time of the day.

Pure. Between the engine, which makes matches, and the outbox, which keeps notifications. A match opens a
window of its rule and `aggregation_key`; whatever else matches before the window ends joins it. Windows go by
when events arrived, not by when they are judged, so that judging the same events once more makes the same
notifications, with the same ids. Nothing is ever thrown away: where a bound is reached, a window ends early.

What a rule does (isolates, releases, says an event) cannot wait for a window: its actions are told each match
at once, people when the window ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from cronsim import CronSim, CronSimError

from divertor.model.documents import Node
from divertor.model.fields import fail, text_of
from divertor.rules.alarms import identity
from divertor.rules.alerters import ACTIONS
from divertor.rules.document import lookup, scalar_text
from divertor.rules.notification import Notification, match_from_json, match_to_json
from divertor.rules.reading.options import Given, Option, OptionGroup, boolean, integer, span, texts
from divertor.rules.rule import Audience, GatherOptions, Match, Rule

#: Matches that wait in all windows together; beyond it the oldest window ends early.
MAX_WAITING = 20_000
#: Characters of one window, which is to fit into a message, and of all windows together; beyond it a window
#: ends early. Attackers decide how large events are.
MAX_WINDOW_SIZE = 1_500_000
MAX_SIZE = 64_000_000
#: A value of an aggregation key is cut here: events choose them.
MAX_KEY_LENGTH = 1024

#: Rule, status, and the values of `aggregation_key`.
_Place: TypeAlias = tuple[str, str, tuple[str, ...]]


@dataclass(slots=True)
class _Window:
    """Matches that wait together until `due`; in the order in which they came, at least one. `saved` are the
    first of them as JSON: windows are saved every few seconds, and matches do not change. `size`: about how
    many characters they have.
    """

    due: datetime
    matches: list[Match]
    saved: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0

    def to_json(self) -> list[dict[str, Any]]:
        self.saved += [match_to_json(match) for match in self.matches[len(self.saved) :]]
        return list(self.saved)


class Gatherer:
    """The windows of all rules of one engine.

    `take` is given every match of the engine, `due` is called about once a second. Matches of rules without
    `aggregation` pass through at once. `dump` and `restore` carry the windows over a restart.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        # In the order in which windows were opened.
        self._windows: dict[_Place, _Window] = {}
        self._waiting = 0
        self._size = 0
        self._max_waiting = max_waiting

    def __len__(self) -> int:
        """How many matches wait."""
        return self._waiting

    def take(self, match: Match, now: datetime) -> list[Notification]:
        """What is to be told now that this match came; often nothing. `now` (aware) is for matches that do
        not say themselves when they came about.
        """
        options = match.rule.gather
        if options is None or match.audience is Audience.ACTIONS:
            return [Notification.of(match)]
        place = _place(match, options)
        ended = self._ended_by(place, match, options, now)
        if match.audience is Audience.ALL and _acts(match.rule):
            ended.insert(0, Notification.of(replace(match, audience=Audience.ACTIONS)))
            match = replace(match, audience=Audience.PEOPLE)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = _Window(_due(match, options, now), [])
        self._add(window, match)
        if len(window.matches) >= options.limit or window.size >= MAX_WINDOW_SIZE:
            ended.append(self._end(place))
        while self._waiting > self._max_waiting or self._size > MAX_SIZE:
            ended.append(self._end(next(iter(self._windows))))
        return ended

    def due(self, now: datetime) -> list[Notification]:
        """The notifications of windows that have ended, the ones that ended first before the others."""
        over = [(window.due, place) for place, window in self._windows.items() if now > window.due]
        return [self._end(place) for _due, place in sorted(over, key=lambda one: one[0])]

    def next_due(self) -> datetime | None:
        """When the next window ends; None while nothing waits."""
        return min((window.due for window in self._windows.values()), default=None)

    def dump(self) -> list[dict[str, Any]]:
        """What waits, as JSON has it."""
        return [
            {
                "rule": place[0],
                "status": place[1],
                "key": list(place[2]),
                "due": window.due.isoformat(),
                "matches": window.to_json(),
            }
            for place, window in self._windows.items()
        ]

    def restore(self, saved: Iterable[Mapping[str, Any]], rule_named: Callable[[str], Rule | None]) -> int:
        """Take up what `dump` gave; how many matches are left out because their rule is gone.

        :raises ValueError: it is not what `dump` gave.
        """
        lost = 0
        try:
            for one in saved:
                rule = rule_named(one["rule"])
                if rule is None:
                    lost += len(one["matches"])
                    continue
                matches = [match_from_json(data, rule) for data in one["matches"]]
                place = (rule.name, str(one["status"]), tuple(map(str, one["key"])))
                window = self._windows[place] = _Window(datetime.fromisoformat(one["due"]), [])
                for match in matches:
                    self._add(window, match)
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"no windows: {problem}") from problem
        return lost

    def _ended_by(
        self, place: _Place, match: Match, options: GatherOptions, now: datetime
    ) -> list[Notification]:
        """The window that this match comes too late for."""
        window = self._windows.get(place)
        compared = match.time if options.joins_by_match_time else _arrival(match, now)
        return [self._end(place)] if window is not None and compared > window.due else []

    def _add(self, window: _Window, match: Match) -> None:
        size = len(repr(match.document))
        window.matches.append(match)
        window.size += size
        self._size += size
        self._waiting += 1

    def _end(self, place: _Place) -> Notification:
        window = self._windows.pop(place)
        matches = tuple(window.matches)
        self._waiting -= len(matches)
        self._size -= window.size
        name = identity("gathered", *place[:2], *place[2], *(match.id for match in matches))
        return Notification(name, matches[-1].rule, matches)


def _acts(rule: Rule) -> bool:
    return any(alert.name in ACTIONS for alert in rule.alerts)


def _place(match: Match, options: GatherOptions) -> _Place:
    values = (lookup(match.document, field) for field in options.key)
    key = tuple("None" if value is None else scalar_text(value)[:MAX_KEY_LENGTH] for value in values)
    return (match.rule.name, match.status.value, key)


def _arrival(match: Match, now: datetime) -> datetime:
    """When a match came about: when its event arrived, or what only time shows, when it was so."""
    return match.event.received if match.event is not None else min(match.time, now)


def _due(match: Match, options: GatherOptions, now: datetime) -> datetime:
    if options.schedule:
        return next(CronSim(options.schedule, _arrival(match, now).astimezone(UTC)))
    return (match.time if options.by_match_time else _arrival(match, now)) + options.window


def _aggregation(node: Node, what: str) -> timedelta | str:
    """A length of time, or `{schedule: cron expression}`."""
    given = Given.of(node, what)
    if "schedule" not in given.entries:
        length: timedelta = span(zero=True)(node, what)
        return length
    for name, (key, _item) in given.entries.items():
        if name != "schedule":
            fail(key, f"{name[:40]!r} beside a schedule in {what}", "either schedule or units of time")
    schedule = given.node("schedule")
    if schedule is None:
        fail(node, "an empty schedule", "a cron expression, such as '0 8 * * *'")
    expression = text_of(schedule, "schedule")
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        fail(schedule, f"{expression[:80]!r} is no cron expression", "five fields, such as '0 8 * * *'")
    return expression


def _read(_given: Given, values: Mapping[str, Any]) -> GatherOptions | None:
    when = values["aggregation"]
    if not when:
        return None
    return GatherOptions(
        window=when if isinstance(when, timedelta) else timedelta(0),
        schedule=when if isinstance(when, str) else "",
        key=values["aggregation_key"],
        by_match_time=values["aggregate_by_match_time"],
        joins_by_match_time=values["aggregation_alert_time_compared_with_timestamp_field"],
        limit=values["max_aggregation"],
    )


GROUP: OptionGroup = OptionGroup(
    "gather",
    (
        Option("aggregation", _aggregation),
        Option("aggregation_key", texts, default=()),
        Option("aggregate_by_match_time", boolean, default=False),
        Option("aggregation_alert_time_compared_with_timestamp_field", boolean, default=False),
        Option("max_aggregation", integer(1, 100_000), default=10_000),
    ),
    _read,
)
