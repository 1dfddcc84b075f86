"""Log files of supervised processes: opened for them, kept small, and quoted when something goes wrong.

A process writes to its file directly; nothing it prints passes through the supervisor, so a flood of output
costs the supervisor nothing. What a process prints may hold an attacker's text: `tail` returns it without
control characters.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_log(path: str) -> int:
    """A file descriptor that appends to `path`, readable by its owner only; directories are made.

    :raises OSError: the file cannot be opened.
    """
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def rotate(path: str, limit: int) -> bool:
    """Moves the newest `limit` bytes of `path` to `path.1` when it is longer than that; whether it did.

    The writer keeps its descriptor, so the file is copied and cut, not renamed; what is written in between is
    lost. On a full disk the copy is given up and the file still cut: a bounded log matters more than an old
    one.
    """
    try:
        if os.stat(path).st_size <= limit:
            return False
        _keep_copy(path, limit)
        os.truncate(path, 0)
    except OSError:
        return False
    return True


def _keep_copy(path: str, limit: int) -> None:
    old = f"{path}.1"
    try:
        with open(path, "rb") as source, open(_open_copy(old), "wb") as target:
            source.seek(-limit, os.SEEK_END)
            left = limit
            # Counted, not to the end: the writer may be faster than this copy.
            while left and (chunk := source.read(min(left, 1 << 16))):
                target.write(chunk)
                left -= len(chunk)
    except OSError:
        with contextlib.suppress(OSError):
            Path(old).unlink(missing_ok=True)


def _open_copy(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)


def tail(path: str, lines: int = 10, size: int = 4096) -> str:
    """The last `lines` lines within the last `size` bytes of `path`; empty when there is nothing to read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            data = file.read(size)
    except OSError:
        return ""
    return "\n".join(_printable(line) for line in data.decode("utf-8", "replace").splitlines()[-lines:])


def _printable(line: str) -> str:
    return "".join(
        char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line
    )
