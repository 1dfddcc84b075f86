"""What is delivered: one match or, where a rule gathers them, several; and both as JSON, for keeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from divertor.model.events import Event
from divertor.rules.rule import Audience, Match, Rule, Severity, Status, TextOptions


@dataclass(frozen=True, slots=True)
class Notification:
    """`id` is the same when the same events are judged once more: who is told it twice tells it once.
    `matches` are of one rule and one status, the oldest first, at least one. `base` is the address at which
    people reach this installation, for links; empty: there is none.
    """

    id: str
    rule: Rule
    matches: tuple[Match, ...]
    base: str = ""

    @classmethod
    def of(cls, match: Match) -> Notification:
        """A match on its own."""
        return cls(match.id, match.rule, (match,))

    def worded(self, words: TextOptions | None) -> Notification:
        """The same in other words; None: in its rule's."""
        return self if words is None else replace(self, rule=replace(self.rule, words=words))

    @property
    def first(self) -> Match:
        """The match that subject and single fields are taken from."""
        return self.matches[0]

    @property
    def status(self) -> Status:
        return self.matches[0].status

    @property
    def alarm(self) -> str:
        """What keeps the messages about one alarm together (a thread, an incident)."""
        return self.matches[0].alarm


def match_to_json(match: Match) -> dict[str, Any]:
    """All of a match but its rule; `match_from_json` reads it back."""
    return {
        "id": match.id,
        "document": dict(match.document),
        "event": None if match.event is None else match.event.to_json(),
        "num_hits": match.num_hits,
        "num_matches": match.num_matches,
        "time": match.time.isoformat(),
        "key": match.key,
        "alarm": match.alarm,
        "status": match.status.value,
        "severity": match.severity.value,
        "severities": [severity.value for severity in match.severities],
        "suppressed": match.suppressed,
        "audience": match.audience.value,
    }


def match_from_json(data: Mapping[str, Any], rule: Rule) -> Match:
    """:raises ValueError: it is not what `match_to_json` made."""
    try:
        return Match(
            id=str(data["id"]),
            rule=rule,
            document=dict(data["document"]),
            event=None if data["event"] is None else Event.from_json(data["event"]),
            num_hits=int(data["num_hits"]),
            num_matches=int(data["num_matches"]),
            time=datetime.fromisoformat(data["time"]),
            key=data["key"],
            alarm=str(data["alarm"]),
            status=Status(data["status"]),
            severity=Severity(data["severity"]),
            severities=tuple(Severity(severity) for severity in data["severities"]),
            suppressed=int(data["suppressed"]),
            audience=Audience(data["audience"]),
        )
    except (KeyError, TypeError) as problem:
        raise ValueError(f"no match: {problem}") from problem


def notification_to_json(notification: Notification) -> dict[str, Any]:
    """All of a notification but its rule."""
    return {"id": notification.id, "matches": [match_to_json(match) for match in notification.matches]}


def notification_from_json(data: Mapping[str, Any], rule: Rule) -> Notification:
    """:raises ValueError: it is not what `notification_to_json` made."""
    try:
        matches = tuple(match_from_json(one, rule) for one in data["matches"])
        if not matches:
            raise ValueError("a notification of nothing")
        return Notification(str(data["id"]), rule, matches)
    except (KeyError, TypeError) as problem:
        raise ValueError(f"no notification: {problem}") from problem
