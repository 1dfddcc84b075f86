"""All isolations that hold, found by what is asked of them: id, client, when they expire; newest first.

Every operation but a listing by a rare filter costs the same with ten isolations and with a million. Nothing
is decided, recorded or told here; times are arguments.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from divertor.model.isolation import Isolation


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which isolations are asked for; an empty text leaves it open."""

    scope: str = ""
    kind: str = ""
    by: str = ""

    def takes(self, isolation: Isolation) -> bool:
        return (
            self.scope in ("", isolation.scope)
            and self.kind in ("", isolation.selector.kind)
            and self.by in ("", isolation.by)
        )

    def covers(self, scope: str, kind: str, by: str) -> bool:
        return self.scope in ("", scope) and self.kind in ("", kind) and self.by in ("", by)


@dataclass(slots=True)
class Known:
    """The isolations by id, in the order in which they were made."""

    _all: dict[str, Isolation] = field(default_factory=dict)
    _children: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: Ids by the second in which they may expire; one that was prolonged stands in two.
    _due: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    _seconds: list[int] = field(default_factory=list)
    _overdue: dict[str, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Isolation]:
        return iter(self._all.values())

    def get(self, id: str) -> Isolation | None:
        return self._all.get(id)

    def put(self, isolation: Isolation) -> None:
        """Enters an isolation, or a newer state of one; that keeps its place."""
        before = self._all.get(isolation.id)
        if before is not None:
            self._forget(before)
        self._all[isolation.id] = isolation
        self._counts[_group(isolation)] += 1
        if isolation.parent:
            self._children[isolation.parent].add(isolation.id)
        if isolation.expires is not None and (before is None or before.expires != isolation.expires):
            self._schedule(isolation.id, int(isolation.expires.timestamp()))

    def pop(self, id: str) -> Isolation | None:
        """Takes an isolation out."""
        found = self._all.pop(id, None)
        if found is not None:
            self._forget(found)
            self._overdue.pop(id, None)
        return found

    def load(self, isolations: Iterable[Isolation]) -> None:
        """Enters what was recorded, before all that is here already and wins over it."""
        newer = list(self._all.values())
        self._all.clear()
        self._counts.clear()
        self._children.clear()
        for each in sorted(isolations, key=lambda each: each.created):
            self.put(each)
        for each in newer:
            self.put(each)

    def family(self, isolation: Isolation) -> list[Isolation]:
        """All keys of one client: handed out one after the other, or given together, from the first on."""
        waiting, found = [self._first(isolation).id], dict[str, Isolation]()
        while waiting:
            id = waiting.pop()
            if id not in found and id in self._all:
                found[id] = self._all[id]
                waiting.extend(self._children.get(id, ()))
        return list(found.values())

    def members(self, id: str) -> list[Isolation]:
        """The isolations that continue this one directly."""
        return [self._all[child] for child in self._children.get(id, ())]

    def expired(self, now: datetime, most: int) -> list[Isolation]:
        """Up to `most` isolations that no longer hold; those that were known to be `expired` stay until they
        are taken out.
        """
        self._advance(now)
        found = (self._all[id] for id in self._overdue)
        return list(islice((each for each in found if _is_over(each, now)), most))

    def page(self, wanted: Wanted, now: datetime, offset: int, limit: int) -> list[Isolation]:
        """Those that hold, newest first."""
        found = (each for each in reversed(self._all.values()) if not _is_over(each, now))
        chosen: Iterator[Isolation] = found if wanted == Wanted() else filter(wanted.takes, found)
        return list(islice(chosen, offset, offset + limit))

    def count(self, wanted: Wanted, now: datetime) -> int:
        """How many hold."""
        total = sum(number for group, number in self._counts.items() if wanted.covers(*group))
        return total - sum(1 for each in self.expired(now, len(self)) if wanted.takes(each))

    def _first(self, isolation: Isolation) -> Isolation:
        seen = {isolation.id}
        while (parent := self._all.get(isolation.parent)) is not None and parent.id not in seen:
            seen.add(parent.id)
            isolation = parent
        return isolation

    def _forget(self, isolation: Isolation) -> None:
        group = _group(isolation)
        self._counts[group] -= 1
        if not self._counts[group]:
            del self._counts[group]
        if isolation.parent:
            siblings = self._children[isolation.parent]
            siblings.discard(isolation.id)
            if not siblings:
                del self._children[isolation.parent]

    def _schedule(self, id: str, second: int) -> None:
        if second not in self._due:
            heapq.heappush(self._seconds, second)
        self._due[second].append(id)

    def _advance(self, now: datetime) -> None:
        """Moves the ids whose second has come to the overdue ones; those that were prolonged wait on."""
        reached = now.timestamp()
        while self._seconds and self._seconds[0] <= reached:
            second = heapq.heappop(self._seconds)
            for id in self._due.pop(second):
                each = self._all.get(id)
                if each is not None and each.expires is not None and each.expires.timestamp() < second + 1:
                    self._overdue[id] = None


def _is_over(isolation: Isolation, now: datetime) -> bool:
    return isolation.expires is not None and isolation.expires <= now


def _group(isolation: Isolation) -> tuple[str, str, str]:
    return isolation.scope, isolation.selector.kind, isolation.by
