"""The bus: events in, events out, in order and without a gap.

`Bus` publishes batches of events to the stream `EVENTS` and follows it. It keeps no event itself and judges
none. Desired state lives in the same broker; see `divertor.bus.state`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from divertor.bus.decoding import Reader, decode
from divertor.bus.follow import STREAM_MISSING, Delivered, StreamState, follow, stream_state
from divertor.bus.link import ApiError, Link
from divertor.bus.server import MAX_PAYLOAD
from divertor.errors import InputError, Position, UnavailableError
from divertor.model.events import Event, parse_time

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
_TICK_SUBJECT = "divertor.events.tick"
_DAY = 24 * 3600 * 10**9
_DUPLICATES = 120 * 10**9
_NO_STORAGE = 10047
_NO_MESSAGE = 10037
#: The event stream is never made smaller than this, in bytes.
_LEAST_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Batch:
    """One message of the stream: `seq` is its stream sequence, `pending` how many messages wait behind it.

    `epoch` names the stream itself: it changes only when the broker's state was wiped, and sequences of
    two epochs have nothing to do with each other. `stored` is when the broker took it, in microseconds since
    the epoch; a batch without events only says that time passed (`Bus.tick`).
    """

    seq: int
    events: tuple[Event, ...]
    pending: int
    epoch: str = ""
    stored: int = 0


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
        `max_age_days` bound the event stream (the oldest events go first); where the broker may not store so
        much, it is made as large as halving `max_bytes` finds room for.

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
    def refuses(self) -> bool:
        """Whether the broker is there and does not store what it is given: see `mending`."""
        return bool(self._link.refused)

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
            seq = await self._link.store(_BATCH_SUBJECT, payload, {"Nats-Msg-Id": identity}, timeout)
        return seq

    async def tick(self, name: str, timeout: float = 5.0) -> None:
        """Store a message without events: whoever follows the stream learns that time has passed.

        Several may do so at once: of one `name` the broker keeps only the first within two minutes.

        :raises UnavailableError: not acknowledged within `timeout` seconds.
        """
        await self._link.store(_TICK_SUBJECT, b"", {"Nats-Msg-Id": f"tick {name}"}, timeout)

    async def since(self, moment: datetime) -> int:
        """The sequence of the first message that the broker took at `moment` or later; the next one's if none
        was.

        :raises UnavailableError: the broker does not answer.
        """
        state = await self.position()
        low, high = max(1, state.first), state.last + 1
        while low < high:
            middle = (low + high) // 2
            stored = await self._stored_at(middle)
            if stored is None or stored < moment:
                low = middle + 1  # removed meanwhile: older than all that is there
            else:
                high = middle
        return low

    async def _stored_at(self, seq: int) -> datetime | None:
        try:
            found = await self._link.api(f"STREAM.MSG.GET.{STREAM}", {"seq": seq, "no_hdr": True})
        except ApiError as problem:
            if problem.code != _NO_MESSAGE:
                raise
            return None
        return parse_time(str(found["message"]["time"]))

    async def events(self, start: int | None, reader: Reader | None = None) -> AsyncGenerator[Batch, None]:
        """The stream's messages from sequence `start` on (None: those published after the first step).

        With a `reader`, events are read in part: for those who look at few names of each.

        Goes on across broker restarts, each message once and in order. A start that retention has already
        removed begins at the oldest message; should the broker's state have been wiped meanwhile, it goes
        on with the new stream's first message, under another `epoch`.

        :raises UnavailableError: `close` was called.
        """
        cursor, read = _Cursor(start), decode if reader is None else reader.decode
        items = follow(self._link, STREAM, cursor.begin)
        try:
            async for item in items:
                if isinstance(item, Delivered):
                    cursor.next = item.seq + 1
                    yield _batch(item, cursor.epoch, read)
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


def _batch(item: Delivered, epoch: str, read: Callable[[bytes], tuple[list[Event], int]]) -> Batch:
    events, bad = read(item.data)
    if bad:
        # Somebody else wrote to the stream: one bad line must not stop everything behind it.
        log.error("message %d of the event stream holds %d lines that are no events", item.seq, bad)
    return Batch(item.seq, tuple(events), item.pending, epoch, item.stored)


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
    """Makes the stream, or makes it what it should be; a smaller one where there is no room for it.

    :raises UnavailableError: the broker refuses.
    """
    name, present = config["name"], await _configuration(link, config["name"])
    for size in _sizes(config["max_bytes"], present.get("max_bytes", 0)):
        wanted = {**config, "max_bytes": size}
        if all(present.get(key) == value for key, value in wanted.items()):
            return  # nothing is written: the disk may be full
        try:
            await link.api_now(f"STREAM.{'UPDATE' if present else 'CREATE'}.{name}", wanted)
        except ApiError as problem:
            refused = problem
            if problem.code != _NO_STORAGE:
                break
        else:
            if size < config["max_bytes"]:
                log.warning("the stream %s holds %d MiB: there is no room for more", name, size // 1024**2)
            return
    raise UnavailableError(f"the stream {name} cannot be made: {refused}") from refused


async def _configuration(link: Link, name: str) -> dict[str, Any]:
    """How a stream is configured; empty when there is none."""
    try:
        found: dict[str, Any] = (await link.api_now(f"STREAM.INFO.{name}", {}))["config"]
    except ApiError as problem:
        if problem.code != STREAM_MISSING:
            raise
        return {}
    return found


def _sizes(wanted: int, present: int) -> list[int]:
    """Sizes to be tried, the best first. What is there is not made smaller for want of room."""
    least = max(_LEAST_BYTES, present if 0 < present < wanted else 0)
    halves = [wanted]
    while halves[-1] // 2 > least:
        halves.append(halves[-1] // 2)
    return halves if least >= wanted else [*halves, least]
