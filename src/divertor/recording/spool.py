"""The spool, read as it grows: what the gateway's filter has just appended, as exchanges.

The position is kept in a file beside it, so that a restarted control plane goes on where the last one
stopped: a record is told at least once. A spool that has grown is renamed; the filter, which opens it anew
for each record, begins another. What is damaged is skipped and counted.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from divertor.recording.exchange import Exchange
from divertor.recording.frames import MAX_RECORD, split

#: Bytes after which the spool is put aside, and bytes read at once.
ROTATE = 4 << 20
CHUNK = 1 << 20
#: Seconds an unfinished record is waited for, and a spool that was put aside is kept for a late one.
PATIENCE = 2.0


class Spool:
    """Follows the spool at `path`. `clock` counts seconds, steadily; `wall` is the time of day, UTC."""

    def __init__(self, path: Path, clock: Callable[[], float], wall: Callable[[], datetime]) -> None:
        self._path = path
        self._aside = path.with_suffix(".old")
        self._mark = path.with_suffix(".position")
        self._clock, self._wall = clock, wall
        #: Where we are in each file, by inode.
        self._offsets = self._read_mark()
        self._confirmed = dict(self._offsets)
        self._put_aside_at = clock()
        #: Unfinished records: offset and since when, by inode.
        self._stuck: dict[int, tuple[int, float]] = {}
        #: Bytes that were no records, and records the filter had no room for since it started.
        self.damaged = 0
        self.lost = 0

    def is_waiting(self) -> bool:
        """Whether there may be something to do; costs two looks at the directory."""
        return self._aside.exists() or _size(self._path) > self._offsets.get(_inode(self._path), 0)

    def read(self) -> list[Exchange]:
        """The next exchanges, in batches; none: all are told. Call `confirm` when they are dealt with.

        :raises OSError: the disk refuses.
        """
        if self._aside.exists():
            if found := self._read_file(self._aside):
                return found
            if self._clock() - self._put_aside_at >= PATIENCE and _inode(self._aside) not in self._stuck:
                self._offsets.pop(_inode(self._aside), None)
                self._aside.unlink(missing_ok=True)
        return self._read_file(self._path)

    def confirm(self) -> None:
        """Everything told so far is dealt with.

        :raises OSError: the disk refuses; some of it will be told again after a restart.
        """
        # Not synced: after a power cut some records are told twice, which is what "at least once" means.
        draft = self._mark.with_suffix(".new")
        draft.write_text(json.dumps({str(inode): offset for inode, offset in self._offsets.items()}))
        draft.replace(self._mark)
        self._confirmed = dict(self._offsets)
        if self._offsets.get(_inode(self._path), 0) > ROTATE and not self._aside.exists():
            self._path.rename(self._aside)
            self._put_aside_at = self._clock()

    def rewind(self) -> None:
        """What was read since `confirm` is told again."""
        self._offsets = dict(self._confirmed)

    def skip(self) -> None:
        """What is there now is not told."""
        for path in (self._aside, self._path):
            self._offsets[_inode(path)] = _size(path)
        self._offsets.pop(0, None)
        self._stuck.clear()

    def _read_file(self, path: Path) -> list[Exchange]:
        size = CHUNK
        while True:
            try:
                with path.open("rb") as handle:
                    status = os.fstat(handle.fileno())
                    offset = self._offsets.get(status.st_ino, 0)
                    offset = offset if offset <= status.st_size else 0
                    handle.seek(offset)
                    data = handle.read(size)
            except FileNotFoundError:
                return []
            if not data:
                return []
            at_end = offset + len(data) >= status.st_size
            found = split(data, final=at_end and self._is_stuck(status.st_ino, offset), now=self._wall())
            if found.used:
                self._stuck.pop(status.st_ino, None)
                self._offsets[status.st_ino] = offset + found.used
                self.damaged += found.skipped
                self.lost = max(self.lost, found.lost)
                if found.exchanges:
                    return list(found.exchanges)
                size = CHUNK
            elif at_end:
                self._wait(status.st_ino, offset)
                return []
            else:
                size = min(2 * size, MAX_RECORD + CHUNK)

    def _is_stuck(self, inode: int, offset: int) -> bool:
        """Whether the record at `offset` has been unfinished for too long."""
        where, since = self._stuck.get(inode, (-1, 0.0))
        return where == offset and self._clock() - since >= PATIENCE

    def _wait(self, inode: int, offset: int) -> None:
        if self._stuck.get(inode, (-1, 0.0))[0] != offset:
            self._stuck[inode] = offset, self._clock()

    def _read_mark(self) -> dict[int, int]:
        """Only of files that are there: an inode is used again. A restored copy is read from its start."""
        try:
            data = json.loads(self._mark.read_text())
            found = {int(inode): max(0, int(offset)) for inode, offset in data.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}
        there = {_inode(self._path), _inode(self._aside)}
        return {inode: offset for inode, offset in found.items() if inode in there}


def _inode(path: Path) -> int:
    """What file is under a path; 0: none."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino
    return 0


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
