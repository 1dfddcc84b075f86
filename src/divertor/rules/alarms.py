"""Alarms: which hits of a rule become alerts, and when an alarm is over.

Between a rule type, which says what fired, and the alerters, which tell people: silences after an alert.
Pure: `now` is an argument, in microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from divertor.rules.rule import Rule, Status
from divertor.rules.types.contract import Hit, Key

#: Silences that are remembered over all rules; beyond it the oldest goes, which at worst alerts once too
#: often.
MAX_SILENCES = 200_000

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A hit that is to be told to people. `id` and `alarm` are `Match.id` and `Match.alarm`."""

    hit: Hit
    id: str
    alarm: str
    status: Status = Status.FIRING


class Alarms:
    """What is remembered of the alarms of all rules of one engine."""

    def __init__(self) -> None:
        self._silences: dict[tuple[str, Key], int] = {}

    def decide(self, rule: Rule, state: Any, hits: Sequence[Hit], now: int) -> list[Verdict]:
        """Which of the hits that an event caused are alerts. `state` is the rule type's."""
        return [_verdict(rule, hit) for hit in hits if not self._is_silenced(rule, hit, now)]

    def tick(self, rule: Rule, state: Any, hits: Sequence[Hit], now: int) -> list[Verdict]:
        """Which of the hits that a tick caused are alerts, and which alarms are over."""
        return self.decide(rule, state, hits, now)

    def forget(self, now: int) -> None:
        """Let go of what no longer matters."""
        self._silences = {key: until for key, until in self._silences.items() if until > now}

    def _is_silenced(self, rule: Rule, hit: Hit, now: int) -> bool:
        """Whether to keep quiet; if not, the silence that this alert starts begins."""
        key = (rule.alarm.realert_key, hit.key if rule.query_key else None)
        if now < self._silences.get(key, now):
            return True
        duration = rule.alarm.realert // _MICROSECOND
        if duration > 0:
            # Taken out first, so that the dict stays in the order in which silences began.
            self._silences.pop(key, None)
            self._silences[key] = now + duration
            if len(self._silences) > MAX_SILENCES:
                del self._silences[next(iter(self._silences))]
        return False


def _verdict(rule: Rule, hit: Hit) -> Verdict:
    return Verdict(hit, identity(rule.name, hit.key, hit.cause), identity(rule.name, hit.key))


def identity(*parts: str | None) -> str:
    """A short name for these texts together, the same in every process."""
    digest = blake2b(digest_size=16)
    for part in parts:
        data = b"\xff" if part is None else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()
