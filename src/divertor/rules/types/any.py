"""`type: any`: every event that passes the filter is a match. `query_key` only keeps silences apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.types.contract import Hit, Observation, TypeDeclaration


@dataclass(frozen=True, slots=True)
class AnyEvent:
    """No options and no state."""

    def start(self) -> None:
        return None

    def step(self, _state: None, seen: Observation, now: int) -> list[Hit]:
        return [Hit.of(seen)]

    def tick(self, _state: None, now: int) -> list[Hit]:
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        return ""


DECLARATION: TypeDeclaration[None] = TypeDeclaration("any", (), lambda _options, _settings: AnyEvent())
