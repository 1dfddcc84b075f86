"""`type: blacklist`: every event whose `compare_key` has a value of the list.

Values are compared as they are and as they are spelled, networks and patterns are understood (`lists.py`),
and each element of a list counts. Several compare keys are alternatives. In compatible mode only a text
that equals an entry, letter by letter, or that a regular expression covers, is on the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.reading.lists import Listed, entries
from divertor.rules.reading.options import Option, boolean, texts
from divertor.rules.types.contract import Hit, Observation, Settings, TypeDeclaration


@dataclass(frozen=True, slots=True)
class Blacklist:
    """`listed` holds the entries in use: its edge may exchange them. No state."""

    fields: tuple[str, ...]
    listed: Listed
    compatible: bool = False

    def start(self) -> None:
        return None

    def step(self, _state: None, seen: Observation, now: int) -> list[Hit]:
        return [Hit.of(seen)] if self._is_listed(seen) else []

    def tick(self, _state: None, now: int) -> list[Hit]:
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        return ""

    def _is_listed(self, seen: Observation) -> bool:
        has, document = self.listed.entries.has, seen.document
        if self.compatible:
            values = [document.get(name) for name in self.fields]
            return any(isinstance(value, str) and has(value) for value in values)
        for name in self.fields:
            for value in document.values(name):
                if has(value):
                    return True
        return False


def make(options: Mapping[str, Any], settings: Settings) -> Blacklist:
    listed = Listed.of(options["blacklist"], literal=settings.compatible)
    return Blacklist(options["compare_key"], listed, settings.compatible)


DECLARATION: TypeDeclaration[None] = TypeDeclaration(
    "blacklist",
    (
        Option("compare_key", texts, required=True),
        Option("blacklist", entries, required=True),
        Option("filter_by_list", boolean, default=True),
    ),
    make,
)
