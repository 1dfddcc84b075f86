"""`type: whitelist`: every event whose `compare_key` has a value that is not on the list.

As `blacklist` the other way round: each element of a list has to be on it, and so has the value of each
compare key. An event without a value matches unless `ignore_null` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.document import Document
from divertor.rules.reading.lists import Listed, entries
from divertor.rules.reading.options import Option, boolean, texts
from divertor.rules.types.contract import Hit, Observation, Settings, TypeDeclaration


@dataclass(frozen=True, slots=True)
class Whitelist:
    """`listed` holds the entries in use: its edge may exchange them. No state."""

    fields: tuple[str, ...]
    listed: Listed
    ignore_null: bool = False
    compatible: bool = False

    def start(self) -> None:
        return None

    def step(self, _state: None, seen: Observation, now: int) -> list[Hit]:
        strange = self._is_strange_literally if self.compatible else self._is_strange
        return [Hit.of(seen)] if any(strange(seen.document, name) for name in self.fields) else []

    def tick(self, _state: None, now: int) -> list[Hit]:
        return []

    def span(self) -> timedelta:
        return timedelta(0)

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        return ""

    def _is_strange(self, document: Document, name: str) -> bool:
        values = document.values(name)
        if not values:
            return not self.ignore_null
        return not all(self.listed.entries.has(value) for value in values)

    def _is_strange_literally(self, document: Document, name: str) -> bool:
        value = document.get(name)
        if value is None:
            return not self.ignore_null
        return not (isinstance(value, str) and self.listed.entries.has(value))


def make(options: Mapping[str, Any], settings: Settings) -> Whitelist:
    listed = Listed.of(options["whitelist"], literal=settings.compatible)
    return Whitelist(options["compare_key"], listed, options["ignore_null"], settings.compatible)


DECLARATION: TypeDeclaration[None] = TypeDeclaration(
    "whitelist",
    (
        Option("compare_key", texts, required=True),
        Option("whitelist", entries, required=True),
        Option("ignore_null", boolean, default=False),
        Option("filter_by_list", boolean, default=True),
    ),
    make,
)
