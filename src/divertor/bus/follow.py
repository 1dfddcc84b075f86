"""Following a stream without a gap, across broker restarts.

An ephemeral push consumer delivers with the least delay; this module checks that nothing is missing
(consumer sequence, heartbeats twice a second) and makes a new consumer whenever it cannot be sure. The
library's own ordered consumer stays blind for about 20 seconds after a broker restart, hence ours. What it
yields is raw messages: `connection` turns them into events, `state` into changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

from nats.aio.msg import Msg

from divertor.bus.link import BROKEN, ApiError, Link, heed
from divertor.errors import UnavailableError

#: Seconds between two heartbeats of the broker; after three missed ones the consumer is made anew.
HEARTBEAT = 0.5
_SILENCE = 3 * HEARTBEAT
#: How much the library may hold for one follower. The broker's flow control stays below 32 MiB.
_PENDING_BYTES = 96 * 1024 * 1024
#: JetStream's error code for a stream that does not exist.
STREAM_MISSING = 10059


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands: `epoch` tells it from another stream of the same name (its creation time)."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Started:
    """A consumer was made, the first or a new one; `pending` messages are there already."""

    epoch: str
    pending: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message. `pending` counts those known to be behind it, on the broker or here already; `stored` is
    when the broker took it, in microseconds since the epoch."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes
    pending: int
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Idle:
    """The broker says that it has nothing more to send for now (a heartbeat)."""


#: Given where the stream stands, the part of the consumer configuration that says where to begin.
Begin: TypeAlias = Callable[[StreamState], dict[str, Any]]


async def stream_state(link: Link, stream: str, timeout: float = 5.0) -> StreamState:
    """:raises UnavailableError: no broker, or no such stream."""
    info = await link.api(f"STREAM.INFO.{stream}", timeout=timeout)
    state = info["state"]
    return StreamState(str(info["created"]), int(state["first_seq"]), int(state["last_seq"]))


async def follow(link: Link, stream: str, begin: Begin) -> AsyncGenerator[Started | Delivered | Idle, None]:
    """Yield `Started`, then messages in order, `Idle` now and then; `Started` again with each new consumer.

    It never ends; stop it with `aclose()` or by cancelling the task.
    """
    while True:
        feed = _Feed(link)
        try:
            started = await _start(link, stream, begin, feed)
            if started is None:
                continue
            yield started
            while (delivered := await feed.next()) is not None:
                yield delivered
        finally:
            await feed.stop()


async def _start(link: Link, stream: str, begin: Begin, feed: _Feed) -> Started | None:
    """Make the consumer; None when it has to be tried again."""
    await link.wait_ready()
    try:
        state = await stream_state(link, stream)
        inbox = await feed.subscribe()
        name = uuid4().hex
        config = {
            **begin(state),
            "name": name,
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT * 1e9),
            "inactive_threshold": int(5e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        info = await link.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})
    except ApiError as problem:
        if problem.code == STREAM_MISSING:
            await asyncio.sleep(0.05)  # the link makes the streams again after each reconnect
            return None
        raise
    except BROKEN:
        return None
    except UnavailableError:
        if link.closed:
            raise
        return None
    return Started(state.epoch, int(info["num_pending"]) + int(info["delivered"]["consumer_seq"]))


class _Feed:
    """The messages of one consumer, until it can no longer be trusted to be complete."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client = link.client  # that of the moment when it subscribes
        self._subscription: Any = None
        self._items: deque[Msg] = deque()
        self._waiting = 0  # messages among the items; the rest are heartbeats
        self._expected = 1
        self._broken = False
        self._heard = False
        self._waiter: asyncio.Future[None] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._forget: Callable[[], None] = lambda: None

    async def subscribe(self) -> str:
        self._client = self._link.client
        inbox = str(self._client.new_inbox())
        self._forget = self._link.on_lost(self._give_up)
        subscribing = self._client.subscribe(inbox, cb=self._on_message, pending_bytes_limit=_PENDING_BYTES)
        self._subscription = await heed(subscribing)
        self._watch()
        return inbox

    async def stop(self) -> None:
        self._forget()
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._subscription is not None:
            with suppress(*BROKEN):
                await heed(self._subscription.unsubscribe())

    async def next(self) -> Delivered | Idle | None:
        """The next message; None when the consumer has to be made anew."""
        while True:
            while self._items:
                msg = self._items.popleft()
                if msg.headers and msg.headers.get("Status"):
                    if not await self._control(msg):
                        return None
                    if _is_idle(msg):
                        return Idle()
                    continue
                return self._checked(msg)
            if self._broken:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _checked(self, msg: Msg) -> Delivered | None:
        self._waiting -= 1
        stream_seq, consumer_seq, stored, pending = _positions(msg.reply)
        if consumer_seq != self._expected:
            return None
        self._expected += 1
        pending = max(pending, self._waiting)
        return Delivered(stream_seq, msg.subject, msg.headers or {}, msg.data, pending, stored // 1000)

    async def _control(self, msg: Msg) -> bool:
        """A heartbeat or a flow control request; False when it shows that a message is missing."""
        headers = msg.headers or {}
        if headers.get("Status") != "100":
            return False
        respond = msg.reply or headers.get("Nats-Consumer-Stalled")
        if respond:
            with suppress(*BROKEN):
                await heed(self._client.publish(respond))
        last = headers.get("Nats-Last-Consumer")
        return last is None or int(last) == self._expected - 1

    async def _on_message(self, msg: Msg) -> None:
        self._heard = True
        if not (msg.headers and msg.headers.get("Status")):
            self._waiting += 1
        self._items.append(msg)
        self._wake()

    def _give_up(self) -> None:
        self._broken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self) -> None:
        self._heard = False
        self._watchdog = asyncio.get_running_loop().call_later(_SILENCE, self._on_silence_check)

    def _on_silence_check(self) -> None:
        if self._heard:
            self._watch()
        else:
            self._give_up()


def _is_idle(msg: Msg) -> bool:
    headers = msg.headers or {}
    return "Nats-Last-Consumer" in headers and "Nats-Consumer-Stalled" not in headers


def _positions(reply: str) -> tuple[int, int, int, int]:
    """Stream sequence, consumer sequence, time (nanoseconds) and pending count out of a JetStream reply
    subject.

    `$JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<time>.<pending>`, or the newer form
    with domain and account before the stream and possibly a token behind.
    """
    tokens = reply.split(".")
    at = 5 if len(tokens) == 9 else 7
    return int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 2]), int(tokens[at + 3])
