"""Isolations → the shared table Envoy reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache, partial

from divertor.isolation.layout import expiry_second, fingerprint, readings, scope_key
from divertor.isolation.table import Recent, Table
from divertor.layout import Layout
from divertor.model.isolation import Isolation

#: Isolations hashed in one go.
TURN = 1000


class TableSink:
    """Puts isolations in effect: a store into shared memory, seen by the next request.

    :raises UnavailableError: at creation, when another process writes the table.
    """

    def __init__(self, layout: Layout, secret: bytes, wall: Callable[[], datetime]) -> None:
        self._table = Table.open(layout.table)
        self._recent = Recent(layout.recent)
        self._key = lru_cache(maxsize=256)(partial(scope_key, secret))
        self._wall = wall

    def close(self) -> None:
        self._table.close()
        self._recent.close()

    @property
    def trouble(self) -> str:
        """What keeps the table from growing; empty when all is well."""
        return self._table.trouble

    def put(self, isolation: Isolation) -> None:
        now = int(self._wall().timestamp())
        for digest in self._fingerprints(isolation):
            self._table.put(digest, expiry_second(isolation.expires), now)
            # Kept for good now: its place among the recent ones is free again.
            self._recent.forget(digest)

    async def extend(self, isolations: Sequence[Isolation]) -> None:
        """Many at once; others have their turn while the keys are hashed."""
        now = int(self._wall().timestamp())
        entries: dict[int, int] = {}
        for at in range(0, len(isolations), TURN):
            entries.update(self._entries(isolations[at : at + TURN]))
            await asyncio.sleep(0)
        self._table.extend(entries.items(), now)
        self._recent.forget_all(entries)

    def remove(self, isolation: Isolation) -> None:
        for digest in self._fingerprints(isolation):
            self._table.remove(digest)
            self._recent.forget(digest)

    def replace(self, isolations: Iterable[Isolation]) -> None:
        self._table.replace(self._entries(isolations))

    def __len__(self) -> int:
        """Fingerprints in the table: one for each way an isolated key may be read."""
        return len(self._table)

    def _fingerprints(self, isolation: Isolation) -> list[int]:
        key = self._key(isolation.scope, isolation.selector)
        return [fingerprint(key, value) for value in readings(isolation.selector, isolation.value)]

    def _entries(self, isolations: Iterable[Isolation]) -> Iterator[tuple[int, int]]:
        """Fingerprints with the second they expire; many isolations share their expiry, and their scope."""
        second = lru_cache(maxsize=64)(expiry_second)
        for each in isolations:
            expiry = second(each.expires)
            for digest in self._fingerprints(each):
                yield digest, expiry
