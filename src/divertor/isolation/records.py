"""Isolations as they are recorded: each by itself, or many in one batch; written again until they are stored.

What is written is always what is `Known` at that moment, so that a late write cannot bring back what has
changed meanwhile. Of two control planes that change one batch in the same moment, the later one's state of it
stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from divertor.bus import Change, State
from divertor.errors import UnavailableError
from divertor.isolation.batches import from_document, to_document
from divertor.isolation.known import Known
from divertor.model.isolation import Isolation

KIND = "isolations"
BATCHES = "isolation-batches"
#: Seconds before a record that could not be written is tried again.
PAUSE = 1.0
#: Documents under way to the broker at once.
ABREAST = 16


@dataclass(frozen=True, slots=True)
class Document:
    """Where something is recorded: `kind` is `KIND` (name: an isolation's id) or `BATCHES`."""

    kind: str
    name: str


def document_of(isolation: Isolation) -> Document:
    return Document(BATCHES, isolation.batch) if isolation.batch else Document(KIND, isolation.id)


class Records:
    """What is known, on its way to the broker and back."""

    def __init__(self, state: State, known: Known) -> None:
        self._state = state
        self._known = known
        #: The ids that each batch holds, or held.
        self._members: dict[str, list[str]] = {}
        #: The revision of each batch that was written here.
        self._written: dict[str, int] = {}
        self._unsaved: dict[Document, object] = {}
        self._turns: WeakValueDictionary[Document, asyncio.Lock] = WeakValueDictionary()
        self._work = asyncio.Event()

    @property
    def unsaved(self) -> int:
        """Documents that are not written as they should be."""
        return len(self._unsaved)

    def begin_batch(self, name: str, isolations: Iterable[Isolation]) -> Document:
        """These are recorded together from now on."""
        self._members[name] = [each.id for each in isolations]
        return Document(BATCHES, name)

    async def save(self, documents: Iterable[Document]) -> None:
        """Returns when what is known now is recorded, or when the broker does not answer: then it is tried
        again until it does.
        """
        waiting = list(dict.fromkeys(documents))
        for document in waiting:
            self._unsaved[document] = object()
        queue = iter(waiting)

        async def work() -> None:
            for document in queue:
                if not await self._save(document):
                    return  # the others will not fare better

        await asyncio.gather(*(work() for _ in range(min(ABREAST, len(waiting)))))

    async def retry(self) -> None:
        """Writes what could not be written, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            await asyncio.sleep(PAUSE)
            await self.save(self._unsaved)

    def read(self, change: Change) -> list[Isolation]:
        """The isolations that a document holds now; none when it is gone, or nobody can read it."""
        if change.value is None:
            self._members.pop(change.name, None)
            return []
        # A record nobody can read isolates nobody; it must not stop the others.
        with contextlib.suppress(ValueError):
            if change.kind == KIND:
                return [Isolation.from_json(change.value)]
            found = from_document(change.value, change.name)
            self.begin_batch(change.name, found)
            return found
        return []

    def held(self, change: Change) -> list[Isolation]:
        """The isolations that are known to be recorded in the document that changed."""
        ids = [change.name] if change.kind == KIND else self._members.get(change.name, ())
        batch = "" if change.kind == KIND else change.name
        found = (self._known.get(id) for id in ids)
        return [each for each in found if each is not None and each.batch == batch]

    def is_outdated(self, change: Change) -> bool:
        """Whether a newer decision of our own about this document is on its way, or this is our own."""
        own = self._written.get(change.name, -1) if change.kind == BATCHES else -1
        return Document(change.kind, change.name) in self._unsaved or change.revision <= own

    async def _save(self, document: Document) -> bool:
        """Writes a document, unless somebody who came later has done so; False without the broker."""
        turn = self._turns.setdefault(document, asyncio.Lock())
        async with turn:
            wanted = self._unsaved.get(document)
            if wanted is None:
                return True
            try:
                await self._store(document)
            except UnavailableError:
                self._work.set()
                return False
            if self._unsaved.get(document) is wanted:
                del self._unsaved[document]
            return True

    async def _store(self, document: Document) -> None:
        if document.kind == KIND:
            isolation = self._known.get(document.name)
            if isolation is not None and not isolation.batch:
                await self._state.put(KIND, document.name, isolation.to_json())
            else:
                await self._state.delete(KIND, document.name)
            return
        members = (self._known.get(id) for id in self._members.get(document.name, ()))
        kept = [each for each in members if each is not None and each.batch == document.name]
        if kept:
            self._written[document.name] = await self._state.put(BATCHES, document.name, to_document(kept))
        else:
            self._members.pop(document.name, None)
            self._written.pop(document.name, None)
            await self._state.delete(BATCHES, document.name)
