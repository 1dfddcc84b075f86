"""A log that Envoy writes, followed as it grows: one record per line, none lost over restarts and rotation.

The position is kept in a file beside the log, so that a restarted control plane goes on where the last one
stopped: a line is told at least once. The log is put aside when it has grown and Envoy has been told to
reopen it; what was written in between is still read. What a line means is for others: `access`, `requests`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

Record = TypeVar("Record")

#: Seconds between looks at the log; Envoy writes it every 50 ms.
INTERVAL = 0.05
#: Bytes after which the log is put aside.
ROTATE = 8 << 20
#: Bytes read at once, and the longest line: Envoy bounds what a request can put there.
CHUNK = 1 << 20


class LogFile(Generic[Record]):
    """Follows the log at `path`; what was not `confirm`ed is told again after a restart.

    `parse` makes a record of a line and its position; None: a damaged line. With a `backlog`, of a log in
    which more bytes than that are unread the older ones are given up (`skipped`).
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes, int], Record | None],
        interval: float = INTERVAL,
        backlog: int | None = None,
    ) -> None:
        self._path = path
        self._line = parse
        self._interval = interval
        self._backlog = backlog
        #: Bytes of lines that were given up.
        self.skipped = 0
        self._aside = path.with_suffix(".old")
        self._mark = path.with_suffix(".position")
        self._inode, self._offset, self._before = self._read_mark()

    async def follow(self) -> AsyncIterator[list[Record]]:
        """New records, in batches, for ever."""
        while True:
            batch = self._read()
            if batch:
                yield batch
            else:
                await asyncio.sleep(self._interval)

    def confirm(self) -> None:
        """Everything told so far is dealt with."""
        # Not synced: after a power cut some requests are told twice, which is what "at least once" means.
        draft = self._mark.with_suffix(".new")
        draft.write_text(f"{self._inode} {self._offset} {self._before}\n")
        draft.replace(self._mark)
        if self._inode and self._inode == _inode(self._path):
            self._aside.unlink(missing_ok=True)  # we are past it, and that is recorded

    def is_large(self) -> bool:
        """Whether it is time to put the log aside."""
        return self._offset > ROTATE

    def put_aside(self) -> None:
        """Renames the log, to be called before Envoy reopens it; the rest of it is read first."""
        if self._path.exists() and not self._aside.exists():
            self._path.rename(self._aside)

    def _read(self) -> list[Record]:
        # Asked before reading: once Envoy has begun a new log it writes no more to the old one.
        renewed = _inode(self._path)
        if self._aside.exists() and self._inode != renewed:
            found = self._read_file(self._aside)
            if found or not renewed:
                return found
        return self._read_file(self._path) if renewed else []

    def _read_file(self, path: Path) -> list[Record]:
        """The next whole lines of a file: from its start, unless it is the one we were in."""
        while True:
            with path.open("rb") as handle:
                status = os.fstat(handle.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                self._give_up(status.st_size)
                handle.seek(self._offset)
                data = handle.read(CHUNK)
            complete = data[: data.rfind(b"\n") + 1]
            if not complete:
                return []
            if found := self._parse(complete):
                return found

    def _give_up(self, size: int) -> None:
        """Leaves out what nobody could catch up with; it may tear a line, which then is a damaged one."""
        unread = size - self._offset
        if self._backlog is not None and unread > self._backlog:
            self.skipped += unread - self._backlog
            self._offset = size - self._backlog

    def _parse(self, data: bytes) -> list[Record]:
        found = []
        for line in data.splitlines(keepends=True):
            record = self._line(line.rstrip(b"\n"), self._offset)
            self._offset += len(line)
            self._before = _digest(line)
            if record is not None:
                found.append(record)
        return found

    def _read_mark(self) -> tuple[int, int, str]:
        """Which file we were in, how far, and what its last line was. A copied or restored state directory
        holds the same log under another inode: what was dealt with there must not happen again.
        """
        try:
            inode, offset, before = self._mark.read_text().split()
            mark = int(inode), int(offset), before
        except (OSError, ValueError):
            return 0, 0, ""
        for path in (self._path, self._aside):
            if _inode(path) not in (0, mark[0]) and _last_line(path, mark[1]) == before:
                return _inode(path), mark[1], before
        return mark


def _digest(line: bytes) -> str:
    return blake2b(line, digest_size=8).hexdigest()


def _last_line(path: Path, end: int) -> str:
    """The digest of the line that ends at byte `end`."""
    with path.open("rb") as handle:
        handle.seek(max(0, end - CHUNK))
        data = handle.read(min(end, CHUNK))
    return _digest(data[data.rfind(b"\n", 0, -1) + 1 :])


def _inode(path: Path) -> int:
    """What file is under a path; 0: none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
