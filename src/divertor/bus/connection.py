"""The bus: events in, events out, in order and without a gap.

`Bus` publishes batches of events to the stream `EVENTS` and follows it. It keeps no event itself and judges
none. Desired state lives in the same broker; see `divertor.bus.state`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from divertor.bus.follow import Delivered, StreamState, follow, stream_state
from divertor.bus.link import ApiError, Link, acknowledged
from divertor.bus.server import MAX_PAYLOAD
from divertor.errors import InputError, Position, UnavailableError
from divertor.model.events import Event

log = logging.getLogger("divertor.bus")

STREAM = "EVENTS"
SUBJECTS = "divertor.events.>"
BUCKET = "divertor_state"
#: Most events in one message.
BATCH = 500
#: Most bytes in one message, well under what the broker takes.
BATCH_BYTES = MAX_PAYLOAD // 2
#: Largest single event, in bytes of JSON.
EVENT_BYTES = MAX_PAYLOAD - 1024 * 1024

_BATCH_SUBJECT = "divertor.events.batch"
_DAY = 24 * 3600 * 10**9
_DUPLICATES = 120 * 10**9
_OTHER_CONFIGURATION = 10058


@dataclass(frozen=True, slots=True)
class Batch:
    """One message of the stream: `seq` is its stream sequence, `pending` how many messages wait behind it.

    `epoch` names the stream itself: it changes only when the broker's state was wiped, and sequences of
    two epochs have nothing to do with each other.
    """

    seq: int
    events: tuple[Event, ...]
    pending: int
    epoch: str = ""


class Bus:
    """A connection to the broker. Make it with `await Bus.connect(...)`, end it with `await close()`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    async def connect(
        cls,
        url: str,
        password: str,
        name: str,
        *,
        timeout: float = 10.0,
        max_bytes: int = 1024**3,
        max_age_days: float = 7.0,
    ) -> Bus:
        """Connect and make sure the event stream and the state bucket exist; reconnects for ever afterwards.

        `url` is `nats://host:port`; `name` is what the broker's own listing shows; `max_bytes` and
        `max_age_days` bound the event stream (the oldest events go first).

        :raises UnavailableError: the broker does not answer within `timeout` seconds or refuses.
        """
        streams = [_event_stream(max_bytes, max_age_days), _state_stream()]

        async def prepare(link: Link) -> None:
            for config in streams:
                await _ensure_stream(link, config)

        return cls(await Link.open(url, password, name, prepare, timeout))

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._link.connected

    @property
    def link(self) -> Link:
        """For the other modules of this package."""
        return self._link

    async def ready(self) -> None:
        """Return once the broker answers."""
        await self._link.wait_ready()

    async def close(self) -> None:
        """End the connection. Iterators in use end with `UnavailableError`."""
        await self._link.close()

    async def position(self) -> StreamState:
        """Where the event stream stands: epoch, first and last sequence.

        :raises UnavailableError: the broker does not answer.
        """
        return await stream_state(self._link, STREAM)

    async def publish(self, events: Sequence[Event], timeout: float = 5.0) -> int:
        """Store the events on the stream and return the sequence of their last message (0: there were none).

        When it returns, the events are on the broker's disk. When it raises `UnavailableError` some of them
        may be: publishing the same events again within two minutes does not store them twice.

        :raises UnavailableError: not acknowledged within `timeout` seconds (per message of 500 events).
        :raises InputError: an event cannot be written as JSON or is larger than a message may be.
        """
        seq = 0
        for payload, identity in _messages(events):
            answer = await self._link.ask(_BATCH_SUBJECT, payload, {"Nats-Msg-Id": identity}, timeout)
            seq = acknowledged(answer)
        return seq

    async def events(self, start: int | None) -> AsyncGenerator[Batch, None]:
        """The stream's messages from sequence `start` on (None: those published after the first step).

        Goes on across broker restarts, each message once and in order. A start that retention has already
        removed begins at the oldest message; should the broker's state have been wiped meanwhile, it goes
        on with the new stream's first message, under another `epoch`.

        :raises UnavailableError: `close` was called.
        """
        cursor = _Cursor(start)
        items = follow(self._link, STREAM, cursor.begin)
        try:
            async for item in items:
                if isinstance(item, Delivered):
                    cursor.next = item.seq + 1
                    yield _batch(item, cursor.epoch)
        finally:
            await items.aclose()


class _Cursor:
    """Where an event iterator is."""

    def __init__(self, start: int | None) -> None:
        self.next = start
        self.epoch = ""

    def begin(self, state: StreamState) -> dict[str, Any]:
        replaced = self.epoch not in ("", state.epoch)
        if self.next is None:
            self.next = state.last + 1
        elif replaced or self.next > state.last + 1:
            self.next = 1  # another stream of the same name: its beginning is news
        self.epoch = state.epoch
        return {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, self.next),
            "filter_subject": SUBJECTS,
        }


def _batch(item: Delivered, epoch: str) -> Batch:
    return Batch(item.seq, tuple(_parsed(item)), item.pending, epoch)


def _parsed(item: Delivered) -> Iterator[Event]:
    for line in item.data.splitlines():
        try:
            yield Event.from_json(json.loads(line))
        except (ValueError, TypeError, AttributeError, RecursionError):
            # Somebody else wrote to the stream: one bad line must not stop everything behind it.
            log.error("message %d of the event stream holds a line that is no event", item.seq)


def _messages(events: Sequence[Event]) -> Iterator[tuple[bytes, str]]:
    """The messages the events travel in, each with its identity for the broker's duplicate check."""
    lines: list[bytes] = []
    identities = hashlib.blake2b(digest_size=16)
    size = 0
    for event in events:
        line = _line(event)
        if lines and (len(lines) == BATCH or size + len(line) > BATCH_BYTES):
            yield b"\n".join(lines), identities.hexdigest()
            lines, identities, size = [], hashlib.blake2b(digest_size=16), 0
        lines.append(line)
        size += len(line) + 1
        identities.update(event.id.encode("utf-8", "surrogatepass") + b"\0")
    if lines:
        yield b"\n".join(lines), identities.hexdigest()


def _line(event: Event) -> bytes:
    """One event as a line of ASCII JSON.

    :raises InputError: it holds something JSON cannot, or is too large for a message.
    """
    where = Position(f"event {event.id}")
    try:
        line = json.dumps(event.to_json(), separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise InputError(f"it cannot be written as JSON: {problem}", where) from problem
    if len(line) > EVENT_BYTES:
        raise InputError(f"it has {len(line)} bytes", where, f"at most {EVENT_BYTES}")
    return line


def _event_stream(max_bytes: int, max_age_days: float) -> dict[str, Any]:
    return {
        "name": STREAM,
        "subjects": [SUBJECTS],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_bytes": max_bytes,
        "max_age": int(max_age_days * _DAY),
        "duplicate_window": _DUPLICATES,
        "num_replicas": 1,
    }


def _state_stream() -> dict[str, Any]:
    """The stream behind the key-value bucket, as the broker's own clients lay one out.

    History 1: Divertor keeps revisions as events, and tombstones may then expire by themselves.
    """
    return {
        "name": f"KV_{BUCKET}",
        "subjects": [f"$KV.{BUCKET}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_age": 0,
        "duplicate_window": _DUPLICATES,
        "num_replicas": 1,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
    }


async def _ensure_stream(link: Link, config: Mapping[str, Any]) -> None:
    try:
        await link.api_now(f"STREAM.CREATE.{config['name']}", config)
    except ApiError as problem:
        if problem.code != _OTHER_CONFIGURATION:
            raise UnavailableError(f"the stream {config['name']} cannot be made: {problem}") from problem
        await link.api_now(f"STREAM.UPDATE.{config['name']}", config)
