"""The isolation table: a hash table in a shared file that Envoy's workers read while one writer changes it.

Open addressing with linear probing. A slot's fingerprint is written once and never changes; taking a key out
only clears its expiry. So a reader needs no lock, and a writer killed at any instruction leaves either the
old or the new answer: the expiry is stored before the fingerprint that makes it visible. When the table is
three quarters used up it is written anew (without the dead), renamed over the path, and the old file is
marked superseded, which makes readers reopen the path. Where the disk refuses that, the old file is changed
in place, as long as it has room: an isolation counts for more than the order of the table.

One process writes (`Table.open` takes an exclusive lock). Times are arguments.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from array import array
from collections.abc import Collection, Container, Iterable
from pathlib import Path

from divertor.errors import UnavailableError
from divertor.isolation.layout import (
    CAPACITY,
    COUNT,
    GENERATION,
    HEADER_WORDS,
    MAGIC,
    RECENT_MAGIC,
    SLOT_WORDS,
    SUPERSEDED,
    TABLE_MAGIC,
    WAYS,
    WORD_BYTES,
    meta,
)

log = logging.getLogger("divertor.isolation")

#: Slots of a new table: 64 KiB.
SMALLEST = 4096
#: Places in the recent file: 1 MiB.
RECENT_SLOTS = 65536
#: A table that cannot be written anew is filled up to this share; searches end at a slot never used.
FULLEST = 15 / 16
#: Keys that are put one after the other rather than by writing the table anew.
FEW = 1024
_LOW = 0xFFFFFFFF


class _Words:
    """A mapped file as an array of 64-bit words. A store of one word is one machine store."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), 0)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        self.words.release()
        self._map.close()


def _size(capacity: int) -> int:
    return (HEADER_WORDS + capacity * SLOT_WORDS) * WORD_BYTES


def _create(
    path: Path, magic: int, capacity: int, generation: int, fill: Collection[tuple[int, int]] = ()
) -> int:
    """Writes a whole new file beside `path`, syncs it and renames it over; answers how many keys it holds."""
    draft = path.with_name(path.name + ".new")
    head = array("Q", bytes(HEADER_WORDS * WORD_BYTES))
    head[MAGIC], head[CAPACITY], head[COUNT], head[GENERATION] = magic, capacity, len(fill), generation
    try:
        with draft.open("wb") as handle:
            os.fchmod(handle.fileno(), 0o600)
            os.posix_fallocate(handle.fileno(), 0, _size(capacity))
            handle.write(head)
            handle.write(_slots(capacity, fill))
            handle.flush()
            os.fsync(handle.fileno())
        draft.rename(path)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: cannot write the isolation table: {problem.strerror}") from problem
    return len(fill)


def _slots(capacity: int, entries: Iterable[tuple[int, int]]) -> array[int]:
    """The slots of a new table. As `_store` does it, but on plain memory and in one go: a million keys take
    a third of a second. The fingerprints are all different.
    """
    slots = array("Q", bytes(capacity * SLOT_WORDS * WORD_BYTES))
    mask = len(slots) - 1
    for fingerprint, expiry in entries:
        at = fingerprint * SLOT_WORDS & mask
        while slots[at]:
            at = at + SLOT_WORDS & mask
        slots[at] = fingerprint
        slots[at + 1] = expiry << 32
    return slots


def _store(words: memoryview, capacity: int, fingerprint: int, expiry: int) -> bool:
    """Sets a key's expiry; answers whether it took a slot that was never used."""
    mask = capacity - 1
    slot = fingerprint & mask
    while True:
        at = HEADER_WORDS + slot * SLOT_WORDS
        found = words[at]
        if found == fingerprint:
            words[at + 1] = meta(expiry)
            return False
        if found == 0:
            words[at + 1] = meta(expiry)
            words[at] = fingerprint
            return True
        slot = (slot + 1) & mask


def _readable(path: Path, magic: int) -> bool:
    """Whether the file is whole and ours; a damaged one is rebuilt from the recorded state.

    :raises UnavailableError: it cannot be read at all.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(HEADER_WORDS * WORD_BYTES)
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise UnavailableError(f"{path}: cannot read the isolation table: {problem.strerror}") from problem
    if len(head) < HEADER_WORDS * WORD_BYTES:
        return False
    words = memoryview(head).cast("Q")
    capacity = words[CAPACITY]
    return (
        words[MAGIC] == magic and capacity > 0 and capacity & (capacity - 1) == 0 and size == _size(capacity)
    )


def _is_sound(path: Path) -> bool:
    """Whether the slots of a table whose header is right hold what a writer can have left there."""
    file = _Words(path)
    words = file.words
    heads, metas = words[HEADER_WORDS::SLOT_WORDS].tolist(), words[HEADER_WORDS + 1 :: SLOT_WORDS].tolist()
    del words
    file.close()
    used = sum(1 for head in heads if head)
    return used <= len(heads) * FULLEST and not any(each & _LOW for each in metas)


class Table:
    """The writer's end. `close` it to let another process write.

    `trouble` says what is wrong with it, for a person; "" when nothing is.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self.trouble = ""
        self._file = _Words(path)
        self._used = sum(1 for at in self._slots() if self._file.words[at])
        # A writer that was killed may have counted a key that it did not put.
        self._file.words[COUNT] = sum(1 for at in self._slots() if self._file.words[at + 1])

    @classmethod
    def open(cls, path: Path) -> Table:
        """Opens the table at `path` for writing, making an empty one where none (or a damaged one) is.

        :raises UnavailableError: another process writes it, or the disk refuses.
        """
        lock = _locked(path)
        try:
            if not (_readable(path, TABLE_MAGIC) and _is_sound(path)):
                _create(path, TABLE_MAGIC, SMALLEST, 1)
            return cls(path, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        self._file.close()
        os.close(self._lock)

    @property
    def capacity(self) -> int:
        return self._file.words[CAPACITY]

    def __len__(self) -> int:
        """Keys that were put and not removed; an expired one counts until the table is next rewritten."""
        return self._file.words[COUNT]

    def put(self, fingerprint: int, expiry: int, now: int) -> None:
        """Isolates a key until the second `expiry`; `now` only decides what a growing table leaves behind.

        :raises UnavailableError: the table is full, and the disk refuses a larger one.
        """
        if (self._used + 1) * 4 > self.capacity * 3:
            try:
                self._rewrite(now)
            except UnavailableError as problem:
                self._require_room(fingerprint, problem)
        words = self._file.words
        # Counted first: a reader skips a table whose count is 0, so dying here must not leave it low.
        if self.get(fingerprint) is None:
            words[COUNT] += 1
        if _store(words, self.capacity, fingerprint, expiry):
            self._used += 1

    def extend(self, entries: Collection[tuple[int, int]], now: int) -> None:
        """Isolates many keys: every reader sees them in one step when there are more than `FEW`.

        :raises UnavailableError: as for `put`; some may have been put.
        """
        if len(entries) > FEW:
            kept = ((fingerprint, expiry) for fingerprint, expiry in self.entries() if expiry > now)
            self.replace((*kept, *entries))
            return
        for fingerprint, expiry in entries:
            self.put(fingerprint, expiry, now)

    def remove(self, fingerprint: int) -> None:
        """Takes a key out; one that is not there is nothing to do."""
        at = self._find(fingerprint)
        words = self._file.words
        if at is not None and words[at + 1]:
            words[at + 1] = 0
            words[COUNT] -= 1

    def get(self, fingerprint: int) -> int | None:
        """The second a key expires, or None: not put, or removed."""
        at = self._find(fingerprint)
        if at is None:
            return None
        expiry: int = self._file.words[at + 1] >> 32
        return expiry or None

    def replace(self, entries: Iterable[tuple[int, int]]) -> None:
        """Makes the table hold exactly these (fingerprint, expiry) pairs, in one step for every reader.

        Where the disk refuses: one after the other, those that come before those that go.

        :raises UnavailableError: the disk refuses, and the old table has no room for all of them; it holds
            those it had, and as many as there was room for.
        """
        wanted = dict(entries)
        try:
            self._switch(wanted)
        except UnavailableError as problem:
            self._degrade(problem)
            self._replace_in_place(wanted)

    def _replace_in_place(self, wanted: dict[int, int]) -> None:
        for fingerprint, expiry in wanted.items():
            self.put(fingerprint, expiry, 0)
        for fingerprint, _ in self.entries():
            if fingerprint not in wanted:
                self.remove(fingerprint)

    def _require_room(self, fingerprint: int, problem: UnavailableError) -> None:
        """:raises UnavailableError: the table cannot take this key as it is."""
        if self._find(fingerprint) is None and self._used + 1 > self.capacity * FULLEST:
            raise problem
        self._degrade(problem)

    def _degrade(self, problem: UnavailableError) -> None:
        if not self.trouble:
            log.error("the isolation table is changed in place: %s", problem)
        self.trouble = str(problem)

    def entries(self) -> list[tuple[int, int]]:
        """Every (fingerprint, expiry) that was put and not removed."""
        words = self._file.words
        return [(words[at], words[at + 1] >> 32) for at in self._slots() if words[at + 1]]

    def _slots(self) -> range:
        return range(HEADER_WORDS, HEADER_WORDS + self._file.words[CAPACITY] * SLOT_WORDS, SLOT_WORDS)

    def _find(self, fingerprint: int) -> int | None:
        words, mask = self._file.words, self.capacity - 1
        slot = fingerprint & mask
        while True:
            at = HEADER_WORDS + slot * SLOT_WORDS
            found = words[at]
            if found == fingerprint:
                return at
            if found == 0:
                return None
            slot = (slot + 1) & mask

    def _rewrite(self, now: int) -> None:
        self._switch({fingerprint: expiry for fingerprint, expiry in self.entries() if expiry > now})

    def _switch(self, entries: dict[int, int]) -> None:
        capacity = SMALLEST
        while capacity < len(entries) * 2 + 2:
            capacity *= 2
        generation = self._file.words[GENERATION] + 1
        _create(self._path, TABLE_MAGIC, capacity, generation, entries.items())
        # Only now: whoever reads this flag finds the new file under the path.
        self._file.words[SUPERSEDED] = 1
        self._file.close()
        self._file = _Words(self._path)
        self._used = self._file.words[COUNT]
        self.trouble = ""


def _locked(path: Path) -> int:
    """A descriptor that holds the writer's lock.

    :raises UnavailableError: another process holds it, or the disk refuses.
    """
    lock = -1
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if lock >= 0:
            os.close(lock)
        if isinstance(problem, BlockingIOError):
            raise UnavailableError(f"{path}: another process writes this isolation table") from problem
        raise UnavailableError(f"{path}: cannot write the isolation table: {problem.strerror}") from problem
    return lock


class Recent:
    """The file Envoy's filter writes: who attacked moments ago. The agent only makes it and forgets keys."""

    def __init__(self, path: Path) -> None:
        if not _readable(path, RECENT_MAGIC):
            _create(path, RECENT_MAGIC, RECENT_SLOTS, 1)
        self._file = _Words(path)

    def close(self) -> None:
        self._file.close()

    def forget(self, fingerprint: int) -> None:
        """Releases a key at once."""
        for at in self._ways(fingerprint):
            if self._file.words[at] == fingerprint:
                self._file.words[at + 1] = 0
                self._file.words[at] = 0

    def forget_all(self, fingerprints: Container[int]) -> None:
        """Releases many keys: one look at every place costs less than a search for each."""
        for fingerprint in self._file.words[HEADER_WORDS::SLOT_WORDS].tolist():
            if fingerprint and fingerprint in fingerprints:
                self.forget(fingerprint)

    def get(self, fingerprint: int) -> int | None:
        """The second a key expires, or None."""
        for at in self._ways(fingerprint):
            if self._file.words[at] == fingerprint:
                expiry: int = self._file.words[at + 1] >> 32
                return expiry
        return None

    def _ways(self, fingerprint: int) -> range:
        groups = self._file.words[CAPACITY] // WAYS
        base = HEADER_WORDS + (fingerprint & (groups - 1)) * WAYS * SLOT_WORDS
        return range(base, base + WAYS * SLOT_WORDS, SLOT_WORDS)
