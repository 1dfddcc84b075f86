"""Envoy's access log of isolated and diverted requests, read as it grows: one `Seen` per request.

The position is kept in a file beside the log, so that a restarted control plane goes on where the last one
stopped: a request is told at least once. The log is put aside when it has grown and Envoy has been told to
reopen it; what was written in between is still read.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from divertor.model.events import Event, parse_time
from divertor.model.isolation import KeyKind

#: Seconds between looks at the log; Envoy writes it every 50 ms.
INTERVAL = 0.05
#: Bytes after which the log is put aside.
ROTATE = 8 << 20
#: Bytes read at once, and the longest line: Envoy bounds what a request can put there.
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Added:
    """A key the gateway has isolated by itself."""

    kind: KeyKind
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One isolated, diverted or refused request as the gateway saw it; times in UTC."""

    id: str
    kind: str
    time: datetime
    scope: str
    added: tuple[Added, ...]
    #: The isolated key of the client, when it is his own.
    by: Added | None
    fields: dict[str, Any]

    def event(self, received: datetime, target: str) -> Event:
        """The event: what was asked, what was answered, by whom. The isolated key itself is not in it."""
        get = self.fields.get
        body = {
            "http": {
                "request": {"method": get("method"), "id": get("request_id")},
                "response": {"status_code": get("status")},
                "host": get("host"),
            },
            "url": {"path": str(get("path") or "").partition("?")[0], "original": get("path")},
            "client": {"address": get("client")},
            "user_agent": {"original": get("user_agent")},
            "divertor": {
                "scope": self.scope,
                "served_by": _service(get("upstream")) or target,
                "route": get("route"),
                "key": get("key") or (self.added[0].kind if self.added else None),
                "milliseconds": get("milliseconds"),
            },
            "envoy": {"flags": get("flags")},
        }
        deployment = self.scope.partition("/")[0]
        tags = (f"request:{self.kind}", f"deployment:{deployment}")
        return Event(self.id, "request", self.time, received, ("divertor-request",), tags, None, body)


def _service(upstream: Any) -> str:
    parts = str(upstream or "").split("/")
    return parts[2] if len(parts) > 2 else ""


def parse_line(line: bytes, position: int) -> Seen | None:
    """A line of the log; None for one that is damaged (the disk was full, Envoy was killed)."""
    try:
        fields = json.loads(line)
        route = str(fields["route"] or "")
        time = parse_time(fields["time"])
        scope = str(fields["scope"])
    except (ValueError, KeyError, TypeError):
        return None
    if route.endswith("#divert"):
        kind = "diverted"
    elif route.endswith("#isolated"):
        kind = "isolated"
    else:
        kind = "refused"
    added = tuple(_added(item) for item in str(fields.get("added") or "").split())
    identity = blake2b(line + position.to_bytes(8, "little"), digest_size=16).hexdigest()
    by = _added(str(fields.get("by") or ""))
    return Seen(identity, kind, time, scope, tuple(each for each in added if each), by, fields)


def _added(text: str) -> Added | None:
    """`kind|name|value`, percent-encoded; None for one that is cut short."""
    parts = [unquote_to_bytes(part).decode("utf-8", "surrogateescape") for part in text.split("|")]
    if len(parts) != 3 or parts[0] not in set(KeyKind):
        return None
    return Added(KeyKind(parts[0]), parts[1] if parts[0] != KeyKind.ADDRESS else "", parts[2])


class AccessLog:
    """Follows the log at `path`; what was not `confirm`ed is told again after a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_suffix(".old")
        self._mark = path.with_suffix(".position")
        self._inode, self._offset, self._before = self._read_mark()

    async def follow(self) -> AsyncIterator[list[Seen]]:
        """New requests, in batches, for ever."""
        while True:
            batch = self._read()
            if batch:
                yield batch
            else:
                await asyncio.sleep(INTERVAL)

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

    def _read(self) -> list[Seen]:
        # Asked before reading: once Envoy has begun a new log it writes no more to the old one.
        renewed = _inode(self._path)
        if self._aside.exists() and self._inode != renewed:
            found = self._read_file(self._aside)
            if found or not renewed:
                return found
        return self._read_file(self._path) if renewed else []

    def _read_file(self, path: Path) -> list[Seen]:
        """The next whole lines of a file: from its start, unless it is the one we were in."""
        while True:
            with path.open("rb") as handle:
                status = os.fstat(handle.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                handle.seek(self._offset)
                data = handle.read(CHUNK)
            complete = data[: data.rfind(b"\n") + 1]
            if not complete:
                return []
            if found := self._parse(complete):
                return found

    def _parse(self, data: bytes) -> list[Seen]:
        found = []
        for line in data.splitlines(keepends=True):
            seen = parse_line(line.rstrip(b"\n"), self._offset)
            self._offset += len(line)
            self._before = _digest(line)
            if seen is not None:
                found.append(seen)
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
