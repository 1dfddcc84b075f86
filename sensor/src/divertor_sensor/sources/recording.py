"""Keeps what an app has read of a request's body, bounded.

The first `MAX_BODY` bytes are kept whole. Of what follows only the heads of a multipart form's parts, with
the beginning of their content: enough for the names of uploaded files and for short fields, so that a large
upload does not hide what comes after it.
"""

from __future__ import annotations

import re
from collections import deque

#: How much of a body is recorded whole, in bytes; an app may read more.
MAX_BODY = 1024 * 1024
#: Bytes kept from the head of a late part on.
LATE_PART = 4096
#: Messages of a web socket that are kept, and bytes of all of them together.
MAX_MESSAGES = 64
MAX_HEARD = 256 * 1024
_MAX_LATE = 64
_PORTION = 64 * 1024
_HEAD = re.compile(rb"content-disposition", re.IGNORECASE)


class Body:
    """What the app has read of a body: `size` is all of it in bytes, kept or not.

    `late` holds the heads of parts that began after the first `MAX_BODY` bytes; `late_missed` is True when
    there were too many of them.
    """

    __slots__ = ("_pieces", "_unscanned", "late", "late_missed", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._unscanned = b""
        self.late: list[bytes] = []
        self.late_missed = False
        self.size = 0

    def record(self, piece: bytes) -> None:
        """Take note of a piece the app has just read."""
        room = MAX_BODY - self.size
        self.size += len(piece)
        if room > 0:
            self._pieces.append(piece[:room])
        if room < len(piece):
            self._scan(piece[max(room, 0) :])

    def content(self) -> bytes:
        """What was kept of the beginning."""
        return b"".join(self._pieces)

    def late_parts(self) -> list[bytes]:
        """The late parts, up to what was read so far; the last ones may still grow."""
        window = self._unscanned
        return [*self.late, *(window[at.start() : at.start() + LATE_PART] for at in _HEAD.finditer(window))]

    def _scan(self, piece: bytes) -> None:
        if not self._unscanned and not self.late:
            # A head may stand across the bound.
            self._unscanned = self.content()[-LATE_PART:]
        self._unscanned += piece
        if len(self._unscanned) < _PORTION:
            return
        window, end = self._unscanned, len(self._unscanned) - LATE_PART
        for head in _HEAD.finditer(window):
            if head.start() >= end:
                break
            if len(self.late) >= _MAX_LATE:
                self.late_missed = True
                break
            self.late.append(window[head.start() : head.start() + LATE_PART])
        self._unscanned = window[end:]


class Messages(Body):
    """What came over a web socket: the last `MAX_MESSAGES` messages, as far as they fit into `MAX_HEARD`.

    A socket lives long; what it said once and the app kept is a stored value. `size` is what is kept, in
    bytes.
    """

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        super().__init__()
        self._messages: deque[bytes] = deque()

    def record(self, piece: bytes) -> None:
        """Take note of a message; the oldest make room."""
        self._messages.append(piece[:MAX_HEARD])
        self.size += len(self._messages[-1])
        while len(self._messages) > MAX_MESSAGES or self.size > MAX_HEARD:
            self.size -= len(self._messages.popleft())

    def messages(self) -> tuple[bytes, ...]:
        """What is kept, the oldest first."""
        return tuple(self._messages)

    def content(self) -> bytes:
        """All that is kept, as one text."""
        return b"\n".join(self._messages)
