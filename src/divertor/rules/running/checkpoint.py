"""A checkpoint: what an engine remembers, as bytes, and back.

Pure: the file is `control.checkpoints`'s. Each part (a rule's state, the alarms) is pickled by itself, so
that one that cannot be read costs only itself. Pickles can name any code there is; these are read by a reader
that knows plain values and those classes of this package that only hold some, and refuses everything else: a
file that somebody put there can spoil windows, and run nothing.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from hashlib import blake2b
from math import inf
from typing import Any

from divertor.rules.alarms import Alarms
from divertor.rules.running.engine import Saved, Snapshot

#: Changes whenever what is written changes its meaning; another version's file is not read.
FORMAT = 3
_MAGIC = b"divertor rules checkpoint\n"
_ALARMS = "alarms"
_RULE = "rule:"

_PACKAGE = "divertor.rules."
_PLAIN = {
    "builtins": {"set", "frozenset", "bytearray"},
    "collections": {"deque", "OrderedDict", "defaultdict", "Counter"},
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "array": {"array", "_array_reconstructor"},
    "ipaddress": {"IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"},
    "divertor.model.events": {"Event"},
}


class DamagedError(ValueError):
    """Bytes that are no checkpoint of this version, or not as they were written."""


class LargeError(Exception):
    """There is more to write than was asked for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where in the stream a checkpoint was taken: everything up to `seq` of the stream `epoch` was judged.

    `now` and `ticked` are the engine's time and its last tick, in microseconds since the epoch; `gathered` is
    what `Gatherer.dump` gave, `tally` what was counted, as JSON has it.
    """

    epoch: str
    seq: int
    now: int = 0
    ticked: int = 0
    gathered: list[dict[str, Any]] = field(default_factory=list)
    tally: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was read: `snapshot` has the rules that could be read, `alarms` says whether those could be."""

    mark: Mark
    snapshot: Snapshot
    alarms: bool


def parts_of(snapshot: Snapshot, most: float = inf) -> Iterator[tuple[str, bytes]]:
    """Each part's name and bytes. One that cannot be pickled (a custom type's) is left out.

    :raises LargeError: they have more than about `most` bytes, which shows before they are all written.
    """
    data = _pickled(snapshot.alarms, most)
    yield _ALARMS, data
    most -= len(data)
    for name, saved in snapshot.rules.items():
        try:
            data = _pickled(saved, most)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
            continue
        yield _RULE + name, data
        most -= len(data)


def _pickled(value: object, most: float) -> bytes:
    file = _Bounded(most)
    pickle.Pickler(file, 5).dump(value)
    return file.getvalue()


class _Bounded(io.BytesIO):
    """Takes up to `most` bytes, and no more."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any) -> int:
        """:raises LargeError: it is more."""
        if self.tell() + len(data) > self._most:
            raise LargeError
        return super().write(data)


def packed(mark: Mark, parts: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The file's content, piece by piece."""
    found = list(parts)
    header = {
        "format": FORMAT,
        "python": _python(),
        "mark": [mark.epoch, mark.seq, mark.now, mark.ticked, mark.gathered, mark.tally],
        "parts": [[name, len(data), _digest(data)] for name, data in found],
    }
    line = json.dumps(header).encode()
    yield _MAGIC
    yield f"{_digest(line)} {len(line)}\n".encode()
    yield line
    for _name, data in found:
        yield data


def unpacked(content: bytes) -> Checkpoint:
    """The checkpoint in a file.

    :raises DamagedError: it is none, or of another version. Single parts that cannot be read are left out.
    """
    header, rest = _header(content)
    rules: dict[str, Saved] = {}
    alarms: Alarms | None = None
    for name, size, digest in header["parts"]:
        data, rest = rest[:size], rest[size:]
        value = _loaded(bytes(data), digest)
        if name == _ALARMS and isinstance(value, Alarms):
            alarms = value
        elif isinstance(value, Saved):
            rules[str(name).removeprefix(_RULE)] = value
    mark = _mark(header["mark"])
    return Checkpoint(mark, Snapshot(rules, alarms or Alarms()), alarms is not None)


def _header(content: bytes) -> tuple[Mapping[str, Any], memoryview]:
    if not content.startswith(_MAGIC):
        raise DamagedError("no checkpoint")
    first, _newline, _rest = content[len(_MAGIC) : len(_MAGIC) + 100].partition(b"\n")
    try:
        digest, size = first.decode("ascii").split(" ")
        begin = len(_MAGIC) + len(first) + 1
        if not 0 < int(size) <= len(content) - begin:  # matches that wait are many, or large
            raise DamagedError("no checkpoint")
        line = content[begin : begin + int(size)]
        if _digest(line) != digest:
            raise DamagedError("not as it was written")
        header = json.loads(line)
        if header["format"] != FORMAT or header["python"] != _python():
            raise DamagedError("of another version")
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise DamagedError(str(problem)) from problem
    return header, memoryview(content)[begin + int(size) :]


def _mark(found: Any) -> Mark:
    try:
        epoch, seq, now, ticked, gathered, tally = found
        return Mark(str(epoch), int(seq), int(now), int(ticked), list(gathered), dict(tally))
    except (ValueError, TypeError) as problem:
        raise DamagedError(str(problem)) from problem


def _loaded(data: bytes, digest: str) -> Any:
    """What a part holds; None when it cannot be read."""
    if _digest(data) != digest:
        return None
    try:
        return Reader(io.BytesIO(data)).load()
    except Exception:
        # A boundary: pickles of another version fail in as many ways as there are classes.
        return None


class Reader(pickle.Unpickler):
    """Reads plain values and the classes of this package that hold them."""

    def find_class(self, module: str, name: str) -> Any:
        """:raises UnpicklingError: it is neither."""
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.startswith(_PACKAGE) and "." not in name and module in sys.modules:
            found = getattr(sys.modules[module], name, None)
            # A class that was made there: neither a function nor what the module imports for itself.
            if isinstance(found, type) and found.__module__ == module and _is_plain(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no business in a checkpoint")

    def persistent_load(self, pid: Any) -> Any:
        """:raises UnpicklingError: nothing is kept outside."""
        raise pickle.UnpicklingError("nothing is kept outside of a checkpoint")


def _is_plain(found: type) -> bool:
    """Whether the class only holds values. Others may do something when they are made: a template's
    environment imports what it is told to.
    """
    return found is Alarms or is_dataclass(found) or issubclass(found, tuple | Enum)


def _digest(data: bytes | memoryview) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _python() -> list[int]:
    return list(sys.version_info[:2])
