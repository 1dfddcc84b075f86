"""What a judge has counted: matches by rule, and when each kind of event last came. Pure.

It is written into checkpoints, so that it goes on over a restart: after one it is as if there had been none.
It decides nothing; people see by it that a rule is alive, and that what it looks at still arrives.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from divertor.rules.running.engine import fits_index

#: Sets of index names that are remembered; beyond twice as many those that are longest silent are forgotten.
MAX_SEEN = 256
#: Rules whose matches are counted.
MAX_RULES = 50_000


@dataclass(slots=True)
class Tally:
    """Times are microseconds since the epoch, of the stream; 0: never.

    `matches` holds each rule's number and the time of the last one, counted from `since` on; `seen` when an
    event with these index names last came, complete from `watched` on.
    """

    since: int = 0
    watched: int = 0
    matches: dict[str, tuple[int, int]] = field(default_factory=dict)
    seen: dict[tuple[str, ...], int] = field(default_factory=dict)

    def begin(self, now: int) -> None:
        """Counting begins, unless it has."""
        self.since = self.since or now
        self.watched = self.watched or now

    def match(self, rule: str, at: int) -> None:
        """A rule matched."""
        if rule in self.matches or len(self.matches) < MAX_RULES:
            self.matches[rule] = self.matches.get(rule, (0, 0))[0] + 1, at

    def forget(self, rule: str) -> None:
        """A rule was removed; should another of its name come, it begins with nothing."""
        self.matches.pop(rule, None)

    def keep(self, rules: Container[str]) -> None:
        """Only these rules are there."""
        self.matches = {name: counted for name, counted in self.matches.items() if name in rules}

    def bound(self) -> None:
        """Senders may name as many indices as they like; those that are longest silent are forgotten."""
        if len(self.seen) > 2 * MAX_SEEN:
            latest = sorted(self.seen.items(), key=lambda one: one[1], reverse=True)
            self.seen = dict(latest[:MAX_SEEN])
            self.watched = max(self.watched, latest[MAX_SEEN][1])

    def last_event(self, patterns: tuple[str, ...]) -> int:
        """When the last event came that these index patterns fit; 0: none since `watched`."""
        return max((at for names, at in self.seen.items() if fits_index(patterns, names)), default=0)

    def seen_by(self, other: Tally) -> None:
        """Take over when events came that another judge saw."""
        for names, at in other.seen.items():
            self.seen[names] = max(at, self.seen.get(names, 0))

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint and the state hold it."""
        return {
            "since": self.since,
            "watched": self.watched,
            "matches": [[name, count, last] for name, (count, last) in self.matches.items()],
            "seen": [[list(names), at] for names, at in self.seen.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tally:
        """:raises ValueError: it is not what `to_json` gave."""
        try:
            return cls(
                int(data["since"]),
                int(data["watched"]),
                {str(name): (int(count), int(last)) for name, count, last in data["matches"]},
                {tuple(map(str, names)): int(at) for names, at in data["seen"]},
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"no tally: {problem}") from problem
