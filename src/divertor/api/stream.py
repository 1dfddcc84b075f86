"""Server-sent events: what happens, as it happens.

A comment every few seconds keeps idle connections open. A client that comes back with `Last-Event-ID` first
gets what it missed from the store; an event may then come twice, never not at all, unless the client was so
slow that the oldest were dropped, which a comment says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from divertor.api.answers import to_json
from divertor.api.services import Events, Watcher
from divertor.errors import UnavailableError
from divertor.model.events import Event
from divertor.store.query import MAX_LIMIT, EventQuery

#: Seconds of silence before a comment is sent.
KEEP_ALIVE = 15.0
#: Streams at one time.
MAX_STREAMS = 64


class Streams:
    """Counts the open streams; one per application."""

    def __init__(self) -> None:
        self._open = 0

    def admit(self) -> None:
        """:raises UnavailableError: too many are open."""
        if self._open >= MAX_STREAMS:
            raise UnavailableError(f"{MAX_STREAMS} event streams are open already")

    async def stream(
        self, events: Events, fits: Callable[[Event], bool], last_id: str, keep_alive: float = KEEP_ALIVE
    ) -> AsyncIterator[str]:
        """The text of the stream: the events that `fits` accepts, from after `last_id` ("": from now) on."""
        self._open += 1
        try:
            with events.live.watch() as watcher:
                yield ": here is what happens\n\n"
                for event in await missed(events, last_id):
                    if fits(event):
                        yield message(event)
                async for text in _live(watcher, fits, keep_alive):
                    yield text
        finally:
            self._open -= 1


async def missed(events: Events, last_id: str) -> list[Event]:
    """What is stored from the time of the event `last_id` on, without that one; oldest first, bounded."""
    last = await events.store.get(last_id) if last_id else None
    if last is None:
        return []
    newest = await events.store.query(EventQuery(since=last.timestamp, limit=MAX_LIMIT))
    return [event for event in reversed(newest) if event.id != last_id]


async def _live(watcher: Watcher, fits: Callable[[Event], bool], keep_alive: float) -> AsyncIterator[str]:
    """What comes, and a comment whenever nothing does for a while."""
    coming = aiter(watcher)
    dropped = 0
    following = asyncio.ensure_future(anext(coming))
    try:
        while True:
            done, _ = await asyncio.wait([following], timeout=keep_alive)
            if watcher.dropped != dropped:
                dropped = watcher.dropped
                yield f": {dropped} events came too fast for this client\n\n"
            if not done:
                yield ": still here\n\n"
                continue
            event = following.result()
            following = asyncio.ensure_future(anext(coming))
            if fits(event):
                yield message(event)
    finally:
        following.cancel()


def message(event: Event) -> str:
    """One event of the stream. Its JSON is one line of ASCII; id and type are kept to one line as well."""
    return f"id: {_line(event.id)}\nevent: {_line(event.type)}\ndata: {to_json(event.to_json())}\n\n"


def _line(text: str) -> str:
    return "".join(letter for letter in text[:200] if letter.isprintable())
