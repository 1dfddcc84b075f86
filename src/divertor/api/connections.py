"""Connections to the API: whoever says nothing, or takes nothing, cannot keep others out.

A sensor's report must get through although somebody without a token holds as many connections as he likes. So
places are bounded, and a newcomer who finds none left takes that of whoever has been idle longest; a request
head must arrive in time, and an answer must be taken. Requests under way are left alone. What a request asks
is none of this module's business.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Connections at most; each may hold 64 KiB of an unfinished head.
MOST = 1024
#: Seconds in which a request's head must arrive.
HEAD = 5.0
#: Seconds for which a client may take nothing of what he is sent.
STALL = 30.0


def places(limit: int = MOST) -> int:
    """How many connections to hold: `limit`, or half of what this process may open."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit if may_open == resource.RLIM_INFINITY else max(1, min(limit, may_open // 2))


@dataclass(eq=False)
class Places:
    """The places of one server: at most `most` connections, and who of them waits, longest first.

    `head` and `stall` are in seconds, as `HEAD` and `STALL`.
    """

    most: int
    head: float = HEAD
    stall: float = STALL
    idle: dict[Connection, None] = field(default_factory=dict)


class Connection(H11Protocol):
    """One connection. It is idle from its beginning, and again after each answer, until a head is whole."""

    def __init__(self, places: Places, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._places.most:
            self._displace()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._places.idle.pop(self, None)
        self._unset_head()
        self._unset_stalled()
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self._places.stall, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_stalled()

    def _displace(self) -> None:
        """Ends the connection that has been idle longest; when all are busy, uvicorn refuses with 503."""
        longest = next(iter(self._places.idle), None)
        if longest is not None:
            del self._places.idle[longest]
            self.connections.discard(longest)  # its place is free now, not when the loop comes round to it
            longest.transport.abort()

    def _note(self) -> None:
        """Takes down whether this connection is idle, and until when it may be."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._places.idle.pop(self, None)
            self._unset_head()
            return
        self._places.idle.setdefault(self)
        # After an answer uvicorn's own timer runs; it ends with the first byte of what comes next.
        if self._head is None and self.timeout_keep_alive_task is None:
            self._head = self.loop.call_later(self._places.head, self.transport.abort)

    def _unset_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _unset_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
