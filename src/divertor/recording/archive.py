"""The archive: what is kept of each attacker, in one append-only file of JSON lines, within bounds.

A file is named by the isolation of the attacker's first key; keys handed to him later lead to it through
the index. Bounds are of two kinds. Each file: when it has grown beyond its limit, its first exchanges (the
attack itself) stay up to a quarter of the limit, then the newest up to half of it; what lay between goes. All
files together: whole files go, those not heard of for longest first. Not thread-safe: one owner calls it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from divertor.model.isolation import Isolation
from divertor.recording.exchange import Body, Exchange

#: Bytes of all files, and how many there are at most.
MAX_TOTAL = 512 << 20
MAX_FILES = 20_000
#: Keys that lead to a file other than their own, at most.
MAX_MEMBERS = 100_000
#: Files whose exchanges are remembered so that none is stored twice.
_REMEMBERED = 64
_ID = re.compile(r"[0-9a-f]{16}")
_START = re.compile(rb'^\{"n":(\d{1,18}),"id":"([0-9a-f]{1,64})"', re.MULTILINE)


@dataclass(slots=True)
class _File:
    """What is known of one file without reading it. `isolation`: as it was when it was last looked up."""

    size: int
    heard: float
    isolation: Isolation | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in a file: the exchanges, oldest first, and how many have gone from between."""

    exchanges: tuple[Exchange, ...]
    gone: int


class Archive:
    """The files in `directory`, which is made. `total` bounds their bytes.

    Every method raises OSError when the disk refuses; what was there before is then as it was.
    """

    def __init__(self, directory: Path, total: int = MAX_TOTAL) -> None:
        self._directory = directory
        self._total = total
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = directory / "index.ndjson"
        self._files: dict[str, _File] = {}
        self._members: OrderedDict[str, str] = OrderedDict()
        self._seen: OrderedDict[str, set[bytes]] = OrderedDict()
        self._load()
        self._next = self._last_number() + 1

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self._files.values())

    def files(self) -> list[str]:
        """The attackers of whom something is kept, last heard of first."""
        return sorted(self._files, key=lambda id: self._files[id].heard, reverse=True)

    def size_of(self, root: str) -> int:
        """Bytes of one file."""
        return self._files[root].size

    def root(self, id: str) -> str | None:
        """The file in which the exchanges of a key are; None: there is none."""
        id = self._members.get(id, id)
        return id if id in self._files else None

    def isolation(self, root: str) -> Isolation | None:
        """The isolation a file belongs to, as it was last known."""
        return self._files[root].isolation

    def members(self, root: str) -> list[str]:
        """Every key that leads to a file, its own first."""
        return [root, *(id for id, to in self._members.items() if to == root)]

    def related(self, roots: Iterable[str]) -> set[str]:
        """These files and those of the same clients, as far as their isolations tell: of a key, of those it
        continues, and of those that continue the same."""
        found = {root for root in roots if root in self._files}
        parents = {
            id: self.root(known.isolation.parent) or known.isolation.parent
            for id, known in self._files.items()
            if known.isolation is not None and known.isolation.parent
        }
        while True:
            above = {parents[id] for id in found if id in parents}
            more = {id for id in self._files if id in above or parents.get(id) in found | above}
            if more <= found:
                return found
            found |= more

    def join(self, member: str, root: str) -> None:
        """From now on the exchanges of a key go into the file `root`, unless it has one of its own."""
        if member == root or member in self._files or self._members.get(member) == root:
            return
        self._note({"member": member, "of": root})
        self._members[member] = root
        while len(self._members) > MAX_MEMBERS:
            self._members.popitem(last=False)

    def describe(self, root: str, isolation: Isolation) -> None:
        """Who the file is about, for when the isolation has ended."""
        if self._files[root].isolation != isolation:
            self._note({"file": root, "isolation": isolation.to_json()})
            self._files[root].isolation = isolation

    def append(self, root: str, exchanges: Sequence[Exchange], limit: int) -> int:
        """Stores what is new of `exchanges`; answers how many that were. `limit`: bytes of the file."""
        if not _ID.fullmatch(root):
            raise ValueError(f"{root!r} is no file's name")
        seen = self._identities(root)
        lines: list[bytes] = []
        fresh: set[bytes] = set()
        for exchange in exchanges:
            identity = bytes.fromhex(exchange.id)
            if identity in seen or identity in fresh:
                continue
            fresh.add(identity)
            lines.append(_line(replace(exchange, number=self._next + len(lines)), limit // 4))
        if not lines:
            return 0
        heard = max(each.time for each in exchanges).timestamp()
        size = _append(self._path(root), b"".join(lines))
        self._next += len(lines)
        seen |= fresh
        known = self._files.setdefault(root, _File(0, 0.0))
        known.size, known.heard = size, max(heard, known.heard)
        if size > limit:
            self._shorten(root, limit)
        self._make_room(root)
        return len(lines)

    def read(self, root: str) -> Kept:
        """All of a file; lines that are damaged are left out."""
        exchanges, gone = [], 0
        for line in _lines(self._path(root)):
            try:
                data = json.loads(line)
                if "gone" in data:
                    gone += int(data["gone"])
                else:
                    exchanges.append(Exchange.from_json(data))
            except (ValueError, TypeError, RecursionError):
                continue
        return Kept(tuple(exchanges), gone)

    def find(self, root: str, number: int) -> Exchange | None:
        """One exchange, found without reading the others."""
        start = b'{"n":%d,' % number
        for line in _lines(self._path(root)):
            if line.startswith(start):
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    return Exchange.from_json(json.loads(line))
        return None

    def prune(self, cut: float) -> None:
        """Removes what was last heard of before `cut` (seconds since 1970)."""
        for id in [id for id, known in self._files.items() if known.heard < cut]:
            self._remove(id)

    def _path(self, root: str) -> Path:
        return self._directory / f"{root}.ndjson"

    def _load(self) -> None:
        """The files there are; of the index what still leads to one, which is then all that is in it."""
        for path in self._directory.glob("*.ndjson"):
            if _ID.fullmatch(path.stem):
                status = path.stat()
                self._files[path.stem] = _File(status.st_size, status.st_mtime)
        for line in _lines(self._index):
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                self._take(json.loads(line))
        self._rewrite_index()

    def _take(self, entry: Any) -> None:
        if "member" in entry:
            if str(entry["of"]) in self._files:
                self._members[str(entry["member"])] = str(entry["of"])
        elif str(entry["file"]) in self._files:
            self._files[str(entry["file"])].isolation = Isolation.from_json(entry["isolation"])

    def _rewrite_index(self) -> None:
        members = ({"member": id, "of": to} for id, to in self._members.items() if to in self._files)
        about = (
            {"file": id, "isolation": known.isolation.to_json()}
            for id, known in self._files.items()
            if known.isolation is not None
        )
        _replace(self._index, b"".join(_dump(entry) for entry in (*about, *members)))
        self._index_size = self._index.stat().st_size

    def _note(self, entry: Any) -> None:
        size = _append(self._index, _dump(entry))
        if size > 2 * self._index_size + (1 << 20):
            self._rewrite_index()

    def _last_number(self) -> int:
        """The highest number is in one of the files that were written last."""
        newest = sorted(self._files, key=lambda id: self._files[id].heard)[-20:]
        return max((number for id in newest for number, _ in self._starts(id)), default=0)

    def _starts(self, root: str) -> Iterator[tuple[int, bytes]]:
        for line in _lines(self._path(root)):
            found = _START.match(line)
            if found:
                yield int(found[1]), bytes.fromhex(found[2].decode("ascii"))

    def _identities(self, root: str) -> set[bytes]:
        """The exchanges a file holds, so that what the spool tells twice is stored once."""
        if root not in self._seen:
            known = {identity for _, identity in self._starts(root)} if root in self._files else set()
            self._seen[root] = known
        self._seen.move_to_end(root)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return self._seen[root]

    def _shorten(self, root: str, limit: int) -> None:
        lines = [line for line in _lines(self._path(root)) if line.startswith(b'{"n":')]
        gone = sum(int(json.loads(line)["gone"]) for line in _lines(self._path(root)) if _is_gap(line))
        first = _fitting(lines, limit // 4, at_least=1)
        last = _fitting(lines[: first - 1 if first else None : -1], limit // 2)
        gone += len(lines) - first - last
        kept = [*lines[:first], _dump({"gone": gone}), *lines[len(lines) - last :]]
        _replace(self._path(root), b"".join(kept))
        self._files[root].size = self._path(root).stat().st_size

    def _make_room(self, writing: str) -> None:
        """Whole files go, those not heard of for longest first; never the one that is being written."""
        size = self.size
        if size <= self._total and len(self._files) <= MAX_FILES:
            return
        for id in reversed(self.files()):
            if size <= self._total and len(self._files) <= MAX_FILES:
                return
            if id != writing:
                size -= self._files[id].size
                self._remove(id)

    def _remove(self, root: str) -> None:
        self._path(root).unlink(missing_ok=True)
        del self._files[root]
        self._seen.pop(root, None)
        for id in [id for id, to in self._members.items() if to == root]:
            del self._members[id]


def _line(exchange: Exchange, most: int) -> bytes:
    """A line of `most` bytes: beyond that the bodies go, then the headers."""
    line = _dump(exchange.to_json())
    if len(line) <= most:
        return line
    asked, answered = exchange.request_body, exchange.response_body
    why = "it did not fit"
    bare = replace(
        exchange,
        request_body=Body(b"", asked.size, withheld=why if asked.size else asked.withheld),
        response_body=Body(b"", answered.size, withheld=why if answered.size else answered.withheld),
    )
    line = _dump(bare.to_json())
    if len(line) <= most:
        return line
    return _dump(
        replace(bare, path=bare.path[:1000], added=(), request_headers=(), response_headers=()).to_json()
    )


def _fitting(lines: Sequence[bytes], room: int, at_least: int = 0) -> int:
    """How many of the first lines fit."""
    count = 0
    for line in lines:
        room -= len(line)
        if room < 0 and count >= at_least:
            break
        count += 1
    return count


def _is_gap(line: bytes) -> bool:
    return line.startswith(b'{"gone":')


def _dump(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; one that is still being written is left out."""
    try:
        with path.open("rb") as handle:
            yield from (line for line in handle if line.endswith(b"\n"))
    except FileNotFoundError:
        return


def _append(path: Path, data: bytes) -> int:
    """Appends to a private file; answers its size. A write that fails leaves nothing behind."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        if before and os.pread(descriptor, 1, before - 1) != b"\n":
            data = b"\n" + data  # whoever wrote before us was killed in the middle of a line
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        return before + len(data)
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    _append(draft, data)
    draft.replace(path)
