"""Desired state: named JSON documents with revisions, and a watch that cannot miss a change.

What a document means is its owner's business. Writing with `expect` is compare-and-set, so two writers
cannot overwrite each other unseen.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg

from divertor.bus.connection import BUCKET, Bus
from divertor.bus.follow import Delivered, Idle, Started, StreamState, follow
from divertor.bus.keys import key_of, name_of
from divertor.bus.link import ApiError, Link
from divertor.errors import ConflictError, InputError, Position, UnavailableError
from divertor.model.events import JSON

log = logging.getLogger("divertor.bus")

_STREAM = f"KV_{BUCKET}"
_PREFIX = f"$KV.{BUCKET}."
#: A tombstone only has to outlive watchers that are looking; one that was away re-reads everything.
_TOMBSTONE_SECONDS = 3600
_WRONG_REVISION = 10071
#: Seconds without a document after which a list is given up: who follows waits on, who asks does not.
LIST_PATIENCE = 5.0
#: Largest document, in bytes of JSON.
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A document and the revision it was read at (for `expect`)."""

    value: dict[str, JSON]
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """A document was written, or deleted when `value` is None."""

    kind: str
    name: str
    value: dict[str, JSON] | None
    revision: int


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything that existed when the watch began has been told; changes follow."""


class State:
    """The documents, over an open bus."""

    def __init__(self, bus: Bus) -> None:
        self._link: Link = bus.link

    async def get(self, kind: str, name: str) -> Entry | None:
        """The document, or None when there is none.

        :raises UnavailableError: the broker does not answer.
        """
        entry, _ = await self._read(key_of(kind, name))
        return entry

    async def put(
        self,
        kind: str,
        name: str,
        value: Mapping[str, JSON],
        expect: int | None = None,
        *,
        ttl: timedelta | None = None,
    ) -> int:
        """Write a document and return its revision; on disk when this returns.

        `expect` is the revision it must have now, 0 for "must not exist", None for "whatever is there". After
        `ttl`, at least a second, it is gone; whoever watches is not told of that.

        :raises ConflictError: it has another revision.
        :raises InputError: the value is no JSON or larger than 4 MiB.
        :raises UnavailableError: the broker does not answer.
        """
        payload = _encoded(kind, name, value)
        headers = {} if ttl is None else {"Nats-TTL": f"{max(1, int(ttl.total_seconds()))}s"}
        return await self._write(key_of(kind, name), f"{kind} {name!r}", payload, headers, expect)

    async def create(self, kind: str, name: str, value: Mapping[str, JSON]) -> int:
        """Write a document that neither exists nor was deleted within the last hour, and return its revision.

        :raises ConflictError: it does, or was.
        :raises InputError: the value is no JSON or larger than 4 MiB.
        :raises UnavailableError: the broker does not answer.
        """
        payload = _encoded(kind, name, value)
        key, identity = key_of(kind, name), uuid4().hex
        headers = {"Nats-Msg-Id": identity, "Nats-Expected-Last-Subject-Sequence": "0"}
        try:
            return await self._link.store(_PREFIX + key, payload, headers)
        except ApiError as problem:
            if problem.code != _WRONG_REVISION:
                raise
            return await self._own_revision(key, f"{kind} {name!r}", identity)

    async def delete(self, kind: str, name: str, expect: int | None = None) -> bool:
        """Remove a document; False when there was none.

        :raises ConflictError: it has another revision than `expect`.
        :raises UnavailableError: the broker does not answer.
        """
        key = key_of(kind, name)
        entry, _ = await self._read(key)
        if entry is None:
            if expect:
                raise ConflictError(f"{kind} {name!r} does not exist any more")
            return False
        headers = {"KV-Operation": "DEL", "Nats-TTL": f"{_TOMBSTONE_SECONDS}s"}
        await self._write(key, f"{kind} {name!r}", b"", headers, expect)
        return True

    async def list(self, kind: str) -> dict[str, Entry]:
        """Every document of a kind by name.

        :raises UnavailableError: the broker does not answer.
        """
        found: dict[str, Entry] = {}
        changes = self.watch(kind)
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(LIST_PATIENCE) as waiting:
                async for item in changes:
                    if isinstance(item, Synced):
                        break
                    waiting.reschedule(clock() + LIST_PATIENCE)
                    if item.value is not None:
                        found[item.name] = Entry(item.value, item.revision)
        except TimeoutError:
            raise UnavailableError(self._link.unreachable(LIST_PATIENCE)) from None
        finally:
            await changes.aclose()
        return found

    async def watch(self, *kinds: str) -> AsyncGenerator[Change | Synced, None]:
        """What exists now, then `Synced`, then every change of these kinds (none given: of all).

        After a broker restart it reads everything again and tells only what differs from what it told
        before, deletions included, so the follower never misses or invents a change.

        :raises UnavailableError: the bus was closed.
        """
        subjects = [f"{_PREFIX}{key_of(kind, '')[:-1]}>" for kind in kinds] or [f"{_PREFIX}>"]

        def begin(_: StreamState) -> dict[str, Any]:
            return {"deliver_policy": "last_per_subject", "filter_subjects": subjects}

        view = _View()
        items = follow(self._link, _STREAM, begin)
        try:
            async for item in items:
                for told in view.take(item):
                    yield told
        finally:
            await items.aclose()

    async def _read(self, key: str) -> tuple[Entry | None, int]:
        """The document, and the revision of whatever is there (a tombstone has one, nothing has 0)."""
        answer = await self._fetch(key)
        headers = answer.headers or {}
        if headers.get("Status") == "404":
            return None, 0
        if "Nats-Sequence" not in headers:
            raise UnavailableError(
                f"the broker could not read {key}: {headers.get('Description', 'no reason')}"
            )
        revision = int(headers["Nats-Sequence"])
        if "KV-Operation" in headers:
            return None, revision
        return Entry(_decoded(answer.data), revision), revision

    async def _fetch(self, key: str) -> Msg:
        return await self._link.ask(f"$JS.API.DIRECT.GET.{_STREAM}.{_PREFIX}{key}")

    async def _write(
        self, key: str, label: str, payload: bytes, headers: dict[str, str], expect: int | None
    ) -> int:
        # The identity makes a repetition after a disconnect harmless, with compare-and-set as well.
        identity = uuid4().hex
        headers = {**headers, "Nats-Msg-Id": identity}
        if expect is not None:
            expected = expect if expect else await self._free_revision(key, label)
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        try:
            return await self._link.store(_PREFIX + key, payload, headers)
        except ApiError as problem:
            if problem.code != _WRONG_REVISION:
                raise
            return await self._own_revision(key, label, identity)

    async def _own_revision(self, key: str, label: str, identity: str) -> int:
        """The revision, if what is there is this very write, stored before a disconnect and then repeated.

        The broker compares revisions before it looks for duplicates, so a repetition meets itself.
        """
        headers = (await self._fetch(key)).headers or {}
        if headers.get("Nats-Msg-Id") != identity:
            raise ConflictError(f"{label} was changed by somebody else meanwhile")
        return int(headers["Nats-Sequence"])

    async def _free_revision(self, key: str, label: str) -> int:
        entry, revision = await self._read(key)
        if entry is not None:
            raise ConflictError(f"{label} exists already")
        return revision


class _View:
    """What a watch has told so far, so that a second reading tells only the difference."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._unseen: dict[str, int] = {}
        self._reading = False
        self._synced = False
        self._epoch = ""

    def take(self, item: Started | Delivered | Idle) -> list[Change | Synced]:
        """What there is to tell after `item`.

        A reading ends with the message nothing waits behind, or with an idle heartbeat (the last message
        was replaced or expired meanwhile); a count taken at the start could be wrong by then.
        """
        if isinstance(item, Started):
            return self._start(item)
        if isinstance(item, Idle):
            return self._end_reading() if self._reading else []
        told = self._change(item)
        ended = self._reading and not item.pending
        return told + self._end_reading() if ended else told

    def _start(self, item: Started) -> list[Change | Synced]:
        if item.epoch != self._epoch:
            # Another bucket: equal revisions mean nothing, so all of it is told again.
            self._told = dict.fromkeys(self._told, -1)
            self._epoch = item.epoch
        self._unseen = dict(self._told)
        self._reading = True
        return [] if item.pending else self._end_reading()

    def _end_reading(self) -> list[Change | Synced]:
        self._reading = False
        gone = [change for key in self._unseen for change in self._gone(key, 0)]
        self._unseen = {}
        if self._synced:
            return gone
        self._synced = True
        return [*gone, Synced()]

    def _change(self, item: Delivered) -> list[Change | Synced]:
        key = item.subject.removeprefix(_PREFIX)
        self._unseen.pop(key, None)
        if self._told.get(key) == item.seq:
            return []
        if "KV-Operation" in item.headers:
            return self._gone(key, item.seq)
        try:
            kind, name = name_of(key)
            value = _decoded(item.data)
        except (ValueError, UnavailableError) as problem:
            log.error("the state holds %s, which is no document of ours: %s", key, problem)
            return []
        self._told[key] = item.seq
        return [Change(kind, name, value, item.seq)]

    def _gone(self, key: str, revision: int) -> list[Change | Synced]:
        if self._told.pop(key, None) is None:
            return []
        kind, name = name_of(key)
        return [Change(kind, name, None, revision)]


def _encoded(kind: str, name: str, value: Mapping[str, JSON]) -> bytes:
    where = Position(f"{kind} {name[:80]}")
    try:
        payload = json.dumps(dict(value), separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as problem:
        raise InputError(f"it cannot be written as JSON: {problem}", where) from problem
    if len(payload) > MAX_BYTES:
        raise InputError(f"it has {len(payload)} bytes", where, f"at most {MAX_BYTES}")
    return payload


def _decoded(data: bytes) -> dict[str, JSON]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise UnavailableError(f"the state holds something that is no JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise UnavailableError("the state holds something that is no JSON object")
    return value
