"""What is delivered: one match or, where a rule gathers them, several at once."""

from __future__ import annotations

from dataclasses import dataclass

from divertor.rules.rule import Match, Rule, Status


@dataclass(frozen=True, slots=True)
class Notification:
    """`id` is the same when the same events are judged once more: who is told it twice tells it once.
    `matches` are of one rule and one status, the oldest first, at least one.
    """

    id: str
    rule: Rule
    matches: tuple[Match, ...]

    @classmethod
    def of(cls, match: Match) -> Notification:
        """A match on its own."""
        return cls(match.id, match.rule, (match,))

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
