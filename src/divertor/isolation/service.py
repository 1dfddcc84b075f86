"""Isolations as a service: add, remove, list, expire; who decided, and why.

The shared table changes first, so that a decision is in effect within microseconds and does not wait for the
broker; the record follows, and is written again until it is stored. Whatever the record says in the end, the
table says too: a second control plane's changes arrive by the watch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from types import EllipsisType
from typing import Protocol

from divertor.bus import Change, State, Synced
from divertor.errors import InputError, NotFoundError, Position, UnavailableError
from divertor.isolation.layout import canonical_value, readings
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeySelector

KIND = "isolations"
#: Seconds between looks for what has expired, and before a record that could not be written is tried again.
SWEEP = 1.0
#: An isolation is prolonged in steps of a twentieth of its length, of a minute at most.
PROLONG = timedelta(minutes=1)
#: Bytes of a key, as the gateway counts them.
MAX_VALUE = 4096


class Sink(Protocol):
    """What makes isolations hold: the gateway's table."""

    def put(self, isolation: Isolation) -> None:
        """From now on."""

    def remove(self, isolation: Isolation) -> None:
        """No longer."""

    def replace(self, isolations: list[Isolation]) -> None:
        """Exactly these."""


def isolation_id(scope: str, selector: KeySelector, value: str) -> str:
    """The same key has the same isolation, however often it attacks."""
    text = "\0".join((scope, selector.kind.value, selector.name, value))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def masked(value: str) -> str:
    """A key as it may stand in logs and events: a session id is a password."""
    return value if len(value) <= 4 else f"{value[:4]}…"


class IsolationService:
    """All isolations of the installation. Start `run` before using it; `wall` is the time of day, UTC.

    `policies` gives the isolation policy of each scope (`deployment/cluster`).
    """

    def __init__(
        self,
        state: State,
        sink: Sink,
        policies: Callable[[], Mapping[str, IsolationPolicy]],
        publish: Callable[[list[Event]], Awaitable[None]],
        wall: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._sink = sink
        self._policies = policies
        self._publish = publish
        self._wall = wall
        self._known: dict[str, Isolation] = {}
        self._unsaved: dict[str, Isolation | None] = {}
        self._synced = asyncio.Event()
        self._work = asyncio.Event()

    def list(self, scope: str | None = None) -> list[Isolation]:
        """The isolations that hold, newest first."""
        now = self._wall()
        found = (
            each
            for each in self._known.values()
            if (scope is None or each.scope == scope) and (each.expires is None or each.expires > now)
        )
        return sorted(found, key=lambda each: each.created, reverse=True)

    def get(self, id: str) -> Isolation:
        """One isolation.

        :raises NotFoundError: there is none of that id.
        """
        if id not in self._known:
            raise NotFoundError(f"no isolation {id}")
        return self._known[id]

    def scopes(self) -> dict[str, IsolationPolicy]:
        """Where isolation is possible: the policy by scope."""
        return dict(self._policies())

    async def add(
        self,
        *,
        scope: str,
        selector: KeySelector,
        value: str,
        target: str = "",
        duration: timedelta | EllipsisType | None = ...,
        by: str,
        reason: str,
        cause: str = "",
        parent: str = "",
    ) -> Isolation:
        """Isolates a key from now on; one that is isolated already is prolonged, never shortened.

        `duration` None: until removed; left out: as the scope's policy says. `parent` is the id of another
        key of the same client: released together.

        :raises InputError: the scope has no policy, the key is none of the policy's, or the value or target
            is not understood.
        """
        policy = self._policy(scope)
        _check(policy, scope, selector, target)
        value = _checked_value(selector, value)
        now = self._wall()
        length = policy.duration if isinstance(duration, EllipsisType) else duration
        expires = None if length is None else now + length
        id = isolation_id(scope, selector, value)
        made = Isolation(id, scope, selector, value, policy.to, now, expires, by, reason, cause, parent)
        return await self._hold(made)

    async def renew(
        self, scope: str, old: tuple[KeySelector, str], new: tuple[KeySelector, str]
    ) -> Isolation | None:
        """An isolated client was handed a new key: isolated as long as the old one, and for the same cause.
        None, and the new key is free, when the old one was released meanwhile.

        :raises InputError: as for `add`.
        """
        policy = self._policy(scope)
        _check(policy, scope, new[0], "")
        value = _checked_value(*new)
        id = isolation_id(scope, new[0], value)
        parent = self._find(scope, *old)
        now = self._wall()
        if parent is None:
            self._sink.remove(Isolation(id, scope, new[0], value, policy.to, now, now, "", ""))
            return None
        reason = parent.reason if parent.parent else f"renewed its session; {parent.reason}"
        made = Isolation(
            id,
            scope,
            new[0],
            value,
            policy.to,
            now,
            parent.expires,
            "gateway",
            reason,
            parent.cause,
            parent.id,
        )
        return made if id == parent.id else await self._hold(made)

    async def remove(self, id: str, by: str, reason: str = "") -> Isolation:
        """Releases a key at once, and every other key of the same client with it.

        :raises NotFoundError: there is none of that id.
        """
        isolation = self.get(id)
        for member in self._family(isolation):
            await self._drop(member, by, reason)
        return isolation

    def family(self, isolation: Isolation) -> Sequence[Isolation]:
        """Every isolation that holds of the same client, itself included."""
        return self._family(isolation)

    async def _hold(self, made: Isolation) -> Isolation:
        known = self._known.get(made.id)
        if known is not None and not _is_longer(made, known):
            return known
        isolation = made if known is None else replace(known, expires=made.expires)
        self._known[made.id] = isolation
        self._sink.put(isolation)
        await self._save(made.id, isolation)
        if known is None:
            await self._tell("added", isolation, made.by, made.reason)
        return isolation

    async def _drop(self, isolation: Isolation, by: str, reason: str) -> None:
        self._known.pop(isolation.id, None)
        self._sink.remove(isolation)
        await self._save(isolation.id, None)
        await self._tell("removed", isolation, by, reason)

    def _find(self, scope: str, selector: KeySelector, value: str) -> Isolation | None:
        """The isolation of a key as the gateway saw it, which may be written in another way."""
        for reading in readings(selector, value):
            found = self._known.get(isolation_id(scope, selector, reading))
            if found is not None:
                return found
        return None

    def _family(self, isolation: Isolation) -> Sequence[Isolation]:
        """All keys of one client: those handed out one after the other, from the first on."""

        def first(each: Isolation) -> str:
            seen = {each.id}
            while each.parent in self._known and each.parent not in seen:
                each = self._known[each.parent]
                seen.add(each.id)
            return each.id

        root = first(isolation)
        return [each for each in list(self._known.values()) if first(each) == root]

    async def synced(self) -> None:
        """Waits until everything that was recorded is known and in the table."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follows the record, expires, and writes what could not be written; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._sweep())
            tasks.create_task(self._retry())

    async def _watch(self) -> None:
        first: dict[str, Isolation] = {}
        async for change in self._state.watch(KIND):
            if isinstance(change, Synced):
                self._known = {**first, **self._known}
                self._sink.replace(list(self._known.values()))
                self._synced.set()
            elif not self._synced.is_set():
                _enter(first, change)
            else:
                self._follow(change)

    def _follow(self, change: Change) -> None:
        if change.name in self._unsaved:
            return  # our own newer decision is on its way
        before = self._known.get(change.name)
        _enter(self._known, change)
        after = self._known.get(change.name)
        if after == before:
            return
        if after is not None:
            self._sink.put(after)
        elif before is not None:
            self._sink.remove(before)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = self._wall()
            for isolation in list(self._known.values()):
                if isolation.expires is not None and isolation.expires <= now:
                    await self._drop(isolation, "divertor", "expired")

    async def _retry(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await asyncio.sleep(SWEEP)
            for id in list(self._unsaved):
                # Looked up now: while the others were saved, this one may have been changed, or saved.
                if id in self._unsaved:
                    await self._save(id, self._unsaved[id])

    async def _save(self, id: str, isolation: Isolation | None) -> None:
        self._unsaved[id] = isolation
        try:
            if isolation is None:
                await self._state.delete(KIND, id)
            else:
                await self._state.put(KIND, id, isolation.to_json())
        except UnavailableError:
            self._work.set()
            return
        if self._unsaved.get(id) is isolation:
            del self._unsaved[id]

    async def _tell(self, what: str, isolation: Isolation, by: str, reason: str) -> None:
        now = self._wall()
        who = f"{isolation.selector} {masked(isolation.value)} in {isolation.scope}"
        body = {
            "isolation": {
                "id": isolation.id,
                "scope": isolation.scope,
                "key": str(isolation.selector),
                "value": masked(isolation.value),
                "target": isolation.target,
                "expires": isolation.to_json()["expires"],
                "cause": isolation.cause,
            },
            "by": by,
            "reason": reason,
            "message": f"{who} {what}: {reason}",
        }
        deployment = isolation.scope.partition("/")[0]
        id = blake2b(f"{isolation.id} {what} {now.timestamp()}".encode(), digest_size=16).hexdigest()
        tags = (f"isolation:{what}", f"deployment:{deployment}")
        event = Event(id, "isolation", now, now, ("divertor-isolation",), tags, None, body)
        # The decision holds; that nobody could be told of it is not a reason to undo it.
        with contextlib.suppress(UnavailableError):
            await self._publish([event])

    def _policy(self, scope: str) -> IsolationPolicy:
        policies = self._policies()
        if scope not in policies:
            known = ", ".join(sorted(policies)) or "none: no blueprint has an isolation section"
            raise InputError(
                f"nobody can be isolated in {scope!r}", Position("isolation"), f"one of: {known}"
            )
        return policies[scope]


def _is_longer(made: Isolation, known: Isolation) -> bool:
    """Whether it is worth recording: who attacks without a pause prolongs himself by moments."""
    if known.expires is None:
        return False
    if made.expires is None:
        return True
    return made.expires - known.expires > min(PROLONG, (made.expires - made.created) / 20)


def _check(policy: IsolationPolicy, scope: str, selector: KeySelector, target: str) -> None:
    if selector not in policy.keys:
        expected = " or ".join(str(key) for key in policy.keys)
        raise InputError(f"{scope} does not look at a {selector}", Position("isolation"), expected)
    if target not in ("", policy.to):
        raise InputError(
            f"attackers of {scope} cannot be sent to {target!r}", Position("isolation"), policy.to
        )


def _checked_value(selector: KeySelector, value: str) -> str:
    if not value or len(value.encode("utf-8", "surrogateescape")) > MAX_VALUE:
        raise InputError("an empty or overlong key", Position("isolation"), f"1 to {MAX_VALUE} bytes")
    try:
        return canonical_value(selector, value)
    except ValueError as problem:
        raise InputError(
            f"{value[:80]!r} is no client address", Position("isolation"), "an IP address"
        ) from problem


def _enter(known: dict[str, Isolation], change: Change) -> None:
    if change.value is None:
        known.pop(change.name, None)
        return
    # A record nobody can read isolates nobody; it must not stop the others.
    with contextlib.suppress(ValueError):
        known[change.name] = Isolation.from_json(change.value)
