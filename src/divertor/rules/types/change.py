"""`type: change`: an event in which a `compare_key` differs from the previous event of the same
`query_key`.

The first event of a key never matches. With `timeframe`, only a change within that time of the previous
event does. With `ignore_null`, an event in which a compared field is missing, null or empty is not looked
at. An event without the query_key belongs to nobody and one older than the last of its key says nothing
about the present: neither is looked at. The match has `old_value` and `new_value`, lists with a value for
each compare key.

In compatible mode events count in the order in which they come, those without the query_key are one key,
and `ignore_null` also means 0 and empty lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from divertor.rules.reading.options import Option, boolean, span, texts
from divertor.rules.running.projection import plain
from divertor.rules.types.contract import Hit, Key, Observation, Settings, TypeDeclaration
from divertor.rules.types.remembered import MAX_KEYS, compact, idle, is_long, longest_idle

#: How far back values are read again after a loss, without a timeframe.
_LOOK_BACK = timedelta(days=1)

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Last:
    """The last event of each key: its time and its values, the longest idle key first."""

    by_key: dict[Key, tuple[int, tuple[Any, ...]]] = field(default_factory=dict)
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """`timeframe` and `late` in microseconds; no `timeframe`: however long ago."""

    fields: tuple[str, ...]
    timeframe: int | None = None
    ignore_null: bool = False
    max_keys: int = MAX_KEYS
    compatible: bool = False
    late: int = 0

    def start(self) -> Last:
        return Last()

    def span(self) -> timedelta:
        return _LOOK_BACK if self.timeframe is None else timedelta(microseconds=self.timeframe + self.late)

    def step(self, state: Last, seen: Observation, now: int) -> list[Hit]:
        if seen.key is None and not self.compatible:
            return []
        values = tuple([remembered(seen.document.get(name)) for name in self.fields])
        if self.ignore_null and any(map(self._is_null, values)):
            return []
        before = state.by_key.get(seen.key)
        if before is not None and seen.micros < before[0] and not self.compatible:
            return []
        self._remember(state, seen, values)
        if before is None or values == before[1]:
            return []
        if self.timeframe is not None and seen.micros - before[0] > self.timeframe:
            return []
        return [Hit.of(seen, fields={"old_value": list(before[1]), "new_value": list(values)})]

    def tick(self, state: Last, now: int) -> list[Hit]:
        if self.timeframe is not None and not self.compatible:
            life = self.timeframe + self.late
            for key in idle(state.by_key, lambda last: now - last[0] > life):
                del state.by_key[key]
        return []

    def summary(self, _document: Mapping[str, Any], _time: datetime) -> str:
        return ""

    def _remember(self, state: Last, seen: Observation, values: tuple[Any, ...]) -> None:
        # Taken out and put back, so that the dict stays in order of last use.
        state.by_key.pop(seen.key, None)
        state.by_key[seen.key] = (seen.micros, values)
        if len(state.by_key) > self.max_keys:
            for key in longest_idle(state.by_key):
                del state.by_key[key]
                state.forgotten += 1

    def _is_null(self, value: Any) -> bool:
        if self.compatible:
            return not value and not isinstance(value, bool)
        return value is None or value in ("", [], {})


def remembered(value: Any) -> Any:
    """A value as it is compared and shown: itself, or a short text that stands for what is long."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | dict) and not is_long(value):
        return plain(value)
    return compact(value)


def make(options: Mapping[str, Any], settings: Settings) -> Change:
    if not settings.query_key:
        raise ValueError("a change needs a query_key: whose value is to change")
    timeframe = options["timeframe"]
    return Change(
        fields=options["compare_key"],
        timeframe=None if timeframe is None else timeframe // _MICROSECOND,
        ignore_null=options["ignore_null"],
        compatible=settings.compatible,
        late=settings.late // _MICROSECOND,
    )


DECLARATION: TypeDeclaration[Last] = TypeDeclaration(
    "change",
    (
        Option("compare_key", texts, required=True),
        Option("ignore_null", boolean, default=False),
        Option("timeframe", span()),
    ),
    make,
)
