"""Rule types as users write them: one for ElastAlert, one for this package, and one that fails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from divertor.rules.types.contract import Hit, Observation, Settings
from divertor.rules.types.custom import RuleType


class AwesomeRule(RuleType):
    """Matches the users it is told, and says how long it has been quiet."""

    required_options: ClassVar[frozenset[str]] = frozenset({"usernames"})

    def add_data(self, data: list[dict[str, Any]]) -> None:
        for document in data:
            if document.get("user") in self.rules["usernames"]:
                document["hour"] = document["@timestamp"].hour
                document["batch"] = len(data)
                self.add_match(document)

    def get_match_str(self, match: dict[str, Any]) -> str:
        return f"{match['user']} is one of {len(self.rules['usernames'])}"

    def garbage_collect(self, timestamp: Any) -> None:
        if self.rules.get("tell_time"):
            self.add_match({"@timestamp": timestamp, "user": "nobody"})


class FailingRule(RuleType):
    """Trips over an event that lacks a user."""

    def add_data(self, data: list[dict[str, Any]]) -> None:
        for document in data:
            if document["user"]:
                self.add_match(document)


class UnmakeableRule(RuleType):
    def __init__(self, rules: dict[str, Any], args: Any = None) -> None:
        raise KeyError("odd")


class EveryOther:
    """This package's own interface."""

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        self.every = int(options["every"])

    def start(self) -> list[int]:
        return [0]

    def step(self, state: list[int], seen: Observation, now: int) -> list[Hit]:
        state[0] += 1
        return [Hit.of(seen)] if state[0] % self.every == 0 else []

    def tick(self, state: list[int], now: int) -> list[Hit]:
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, document: Mapping[str, Any], time: Any) -> str:
        return "one of several"


class NoRule:
    pass
