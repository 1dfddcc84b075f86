"""Isolations as a service: add, remove, list, expire; who decided, and why.

The shared table changes first, so that a decision is in effect within microseconds and does not wait for the
broker; the record follows, and is written again until it is stored. Whatever the record says in the end, the
table says too: a second control plane's changes arrive by the watch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from types import EllipsisType
from typing import Protocol

from divertor.bus import Change, State, Synced
from divertor.errors import InputError, NotFoundError, Position, UnavailableError
from divertor.isolation.allowing import AllowedError
from divertor.isolation.bulk import Import, to_lines
from divertor.isolation.identity import isolation_id, masked
from divertor.isolation.keys import check_target, checked_selector, checked_value
from divertor.isolation.known import Known, Wanted
from divertor.isolation.layout import readings
from divertor.isolation.records import BATCHES, KIND, Document, Records, document_of
from divertor.isolation.telling import allowed_event, bulk_event, isolation_event
from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind, KeySelector

__all__ = ["KIND", "AllowedError", "Imported", "IsolationService", "Wanted", "isolation_id", "masked"]

#: Seconds between looks for what has expired.
SWEEP = 1.0
#: An isolation is prolonged in steps of a twentieth of its length, of a minute at most.
PROLONG = timedelta(minutes=1)
#: Isolations dealt with before somebody else's turn, and how many are still told one by one.
TURN = 1000
TOLD = 100


class Sink(Protocol):
    """What makes isolations hold: the gateway's table."""

    def put(self, isolation: Isolation) -> None:
        """From now on."""

    def remove(self, isolation: Isolation) -> None:
        """No longer."""

    async def extend(self, isolations: Sequence[Isolation]) -> None:
        """Many, from when this returns."""

    def replace(self, isolations: Iterable[Isolation]) -> None:
        """Exactly these."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do: keys that are new, that hold longer now, that held as long already,
    and lines that no longer hold."""

    added: int
    prolonged: int
    unchanged: int
    expired: int


def no_sessions(scope: str, user: str) -> Iterable[tuple[KeySelector, str]]:
    """Nobody reports sessions."""
    return ()


class IsolationService:
    """All isolations of the installation. Start `run` before using it; `wall` is the time of day, UTC.

    `policies` gives the isolation policy of each scope (`deployment/cluster`), `sessions` the session keys
    that a user is known to have in a scope.
    """

    def __init__(
        self,
        state: State,
        sink: Sink,
        policies: Callable[[], Mapping[str, IsolationPolicy]],
        publish: Callable[[list[Event]], Awaitable[None]],
        wall: Callable[[], datetime],
        sessions: Callable[[str, str], Iterable[tuple[KeySelector, str]]] = no_sessions,
    ) -> None:
        self._state = state
        self._sink = sink
        self._policies = policies
        self._publish = publish
        self._wall = wall
        self._sessions = sessions
        self._known = Known()
        self._records = Records(state, self._known)
        self._synced = asyncio.Event()

    # Who is isolated ------------------------------------------------------------------------------------

    @property
    def unsaved(self) -> int:
        """Records that are not yet stored."""
        return self._records.unsaved

    def list(self, scope: str | None = None) -> Sequence[Isolation]:
        """The isolations that hold, newest first."""
        return self.page(Wanted(scope or ""), 0, len(self._known))

    def page(self, wanted: Wanted, offset: int, limit: int) -> Sequence[Isolation]:
        """`limit` of the isolations that hold, newest first, from the one at `offset` on."""
        return self._known.page(wanted, self._wall(), offset, limit)

    def count(self, wanted: Wanted | None = None) -> int:
        """How many isolations hold."""
        return self._known.count(wanted or Wanted(), self._wall())

    def get(self, id: str) -> Isolation:
        """One isolation.

        :raises NotFoundError: there is none of that id.
        """
        found = self._known.get(id)
        if found is None:
            raise NotFoundError(f"no isolation {id}")
        return found

    def id_of(self, scope: str, selector: KeySelector, value: str) -> str:
        """The id that the isolation of a key has, or would have, however the key is written.

        :raises InputError: as for `add_all`.
        :raises AllowedError: the policy's allowlist names it.
        """
        return isolation_id(scope, *_checked(self._policy(scope), scope, selector, value))

    def holds(self, id: str) -> bool:
        """Whether the key of that id is isolated."""
        return self._known.get(id) is not None

    def scopes(self) -> dict[str, IsolationPolicy]:
        """Where isolation is possible: the policy by scope."""
        return dict(self._policies())

    # Deciding -------------------------------------------------------------------------------------------

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
        """Isolates a key from now on; see `add_all`."""
        found = await self.add_all(
            scope=scope,
            keys=[(selector, value)],
            target=target,
            duration=duration,
            by=by,
            reason=reason,
            cause=cause,
            parent=parent,
        )
        return found[0]

    async def add_all(
        self,
        *,
        scope: str,
        keys: Sequence[tuple[KeySelector, str]],
        target: str = "",
        duration: timedelta | EllipsisType | None = ...,
        by: str,
        reason: str,
        cause: str = "",
        parent: str = "",
    ) -> Sequence[Isolation]:
        """Isolates the keys of one client from now on, to be released together; one that is isolated already
        is prolonged, never shortened. A user is isolated with all his sessions, and with those to come. The
        answer has the keys in their order, and a user's sessions after them.

        `duration` None: until removed; left out: as the scope's policy says. `parent` is the id of another
        key of the same client.

        :raises InputError: the scope has no policy, a key is none of the policy's, or a value or the target
            is not understood; nobody is isolated then.
        :raises AllowedError: the policy's allowlist names one of the keys.
        """
        policy = self._policy(scope)
        check_target(policy, scope, target)
        given = [_checked(policy, scope, selector, value) for selector, value in keys]
        now = self._wall()
        length = policy.duration if isinstance(duration, EllipsisType) else duration
        expires = None if length is None else now + length

        def made(selector: KeySelector, value: str, parent: str) -> Isolation:
            id = isolation_id(scope, selector, value)
            parent = "" if parent == id else parent
            simulated = policy.mode is Mode.SIMULATE
            return Isolation(
                id, scope, selector, value, policy.to, now, expires, by, reason, cause, parent, simulated
            )

        found: list[Isolation] = []
        for selector, value in given:
            found.append(made(selector, value, parent or (found[0].id if found else "")))
        for user in [each for each in found if each.selector.kind is KeyKind.USER]:
            found += [made(*session, user.id) for session in self._sessions_of(user, policy)]
        return await self._hold(found)

    async def renew(
        self, scope: str, old: tuple[KeySelector, str], new: tuple[KeySelector, str]
    ) -> Isolation | None:
        """An isolated client was handed a new key: isolated as long as the old one, and for the same cause.
        None, and the new key is free, when the old one was released meanwhile.

        :raises InputError: as for `add`.
        """
        policy = self._policy(scope)
        selector, value = _checked(policy, scope, *new)
        parent = self._find(scope, *old)
        if parent is None:
            id, now = isolation_id(scope, selector, value), self._wall()
            self._sink.remove(Isolation(id, scope, selector, value, policy.to, now, now, "", ""))
            return None
        reason = parent.reason if parent.parent else f"renewed its session; {parent.reason}"
        made = self._continued(parent, selector, value, "gateway", reason)
        return made if made.id == parent.id else (await self._hold([made]))[0]

    async def follow(self, scope: str, user: str, keys: Iterable[tuple[KeySelector, str]]) -> None:
        """A user has these sessions: if he is isolated, so are they, as long as he is."""
        policy = self._policies().get(scope)
        isolation = self._known.get(isolation_id(scope, KeySelector(KeyKind.USER), user))
        if policy is None or isolation is None:
            return
        if isolation.expires is not None and isolation.expires <= self._wall():
            return
        sessions = _sound(policy, scope, keys)
        await self._hold(
            [
                self._continued(
                    isolation, *key, "sensor", f"a session of an isolated user: {isolation.reason}"
                )
                for key in sessions
            ]
        )

    async def remove(self, id: str, by: str, reason: str = "") -> Isolation:
        """Releases a key at once, and every other key of the same client with it.

        :raises NotFoundError: there is none of that id.
        """
        isolation = self.get(id)
        await self._drop(self._known.family(isolation), by, reason)
        return isolation

    def family(self, isolation: Isolation) -> Sequence[Isolation]:
        """Every isolation that holds of the same client, itself included."""
        return self._known.family(isolation)

    async def tell_allowed(self, problem: AllowedError, by: str, reason: str, cause: str) -> None:
        """Records that somebody who would have been isolated is on the allowlist."""
        key = problem.scope, problem.selector, problem.value
        await self._tell([allowed_event(*key, by, reason, cause, self._wall())])

    # Many at once ---------------------------------------------------------------------------------------

    def importing(self, by: str) -> Import:
        """An import that begins now: let it read its lines, then `take` it."""
        now = self._wall()
        return Import(self.scopes(), now, by, f"{int(now.timestamp() * 1e6):x}")

    async def take(self, wanted: Import, *, validate_only: bool = False) -> Imported:
        """Isolates all that an import means: in effect together, then recorded, then told in one event."""
        added = prolonged = 0
        changed: list[Isolation] = []
        left: set[Document] = set()
        for turn, made in enumerate(wanted.isolations.values()):
            if turn % TURN == 0:
                await asyncio.sleep(0)
            known = self._known.get(made.id)
            if known is not None and not _is_longer(made, known):
                continue
            added, prolonged = (added + 1, prolonged) if known is None else (added, prolonged + 1)
            if validate_only:
                continue
            if known is not None:
                made = replace(known, expires=made.expires, batch=made.batch)
                left.add(document_of(known))
            self._known.put(made)
            changed.append(made)
        if changed:
            await self._enact(changed, left, wanted.by)
        unchanged = len(wanted.isolations) - added - prolonged
        return Imported(added, prolonged, unchanged, wanted.expired)

    async def _enact(self, changed: Sequence[Isolation], left: set[Document], by: str) -> None:
        await self._sink.extend(changed)
        for each in changed:  # what was decided otherwise meanwhile counts
            now = self._known.get(each.id)
            if now is None:
                self._sink.remove(each)
            elif now is not each:
                self._sink.put(now)
        batches = groupby(changed, key=lambda each: each.batch)
        written = [self._records.begin_batch(name, members) for name, members in batches]
        await self._records.save([*written, *left])
        await self._tell_many("imported", changed, by, "an import")

    def export(self, wanted: Wanted) -> Iterator[Sequence[bytes]]:
        """The isolations that hold now, oldest first, as lines, in pieces of about a thousand."""
        now, found = self._wall(), list(self._known)
        for at in range(0, len(found), TURN):
            part = (each for each in found[at : at + TURN] if wanted.takes(each))
            yield list(to_lines(each for each in part if each.expires is None or each.expires > now))

    # The record -----------------------------------------------------------------------------------------

    async def synced(self) -> None:
        """Waits until everything that was recorded is known and in the table."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follows the record, expires, and writes what could not be written; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._sweep())
            tasks.create_task(self._records.retry())

    async def _hold(self, wanted: Sequence[Isolation]) -> Sequence[Isolation]:
        held: list[Isolation] = []
        changed: dict[Document, None] = {}
        told: list[Isolation] = []
        for made in wanted:
            known = self._known.get(made.id)
            if known is not None and not _is_longer(made, known):
                held.append(known)
                continue
            isolation = made if known is None else replace(known, expires=made.expires, batch="")
            self._known.put(isolation)
            self._sink.put(isolation)
            held.append(isolation)
            changed[document_of(isolation)] = None
            if known is None:
                told.append(isolation)
            else:
                changed[document_of(known)] = None
        await self._records.save(changed)
        now = self._wall()
        await self._tell([isolation_event("added", each, each.by, each.reason, now) for each in told])
        return held

    async def _drop(self, gone: Sequence[Isolation], by: str, reason: str) -> None:
        for each in gone:
            self._known.pop(each.id)
            self._sink.remove(each)
        await self._records.save(document_of(each) for each in gone)
        if len(gone) > TOLD:
            await self._tell_many("removed", gone, by, reason)
            return
        now = self._wall()
        await self._tell([isolation_event("removed", each, by, reason, now) for each in gone])

    def _continued(
        self, parent: Isolation, selector: KeySelector, value: str, by: str, reason: str
    ) -> Isolation:
        """Another key of a client that is isolated: as long, for the same cause, released with it."""
        return replace(
            parent,
            id=isolation_id(parent.scope, selector, value),
            selector=selector,
            value=value,
            created=self._wall(),
            by=by,
            reason=reason,
            parent=parent.id,
            batch="",
        )

    def _sessions_of(self, user: Isolation, policy: IsolationPolicy) -> Sequence[tuple[KeySelector, str]]:
        """All that are known, and those he was isolated with before."""
        before = [(each.selector, each.value) for each in self._known.members(user.id)]
        reported = _sound(policy, user.scope, self._sessions(user.scope, user.value))
        return list(dict.fromkeys([*before, *reported]))

    def _find(self, scope: str, selector: KeySelector, value: str) -> Isolation | None:
        """The isolation of a key as the gateway saw it, which may be written in another way."""
        for reading in readings(selector, value):
            found = self._known.get(isolation_id(scope, selector, reading))
            if found is not None:
                return found
        return None

    async def _watch(self) -> None:
        first: dict[str, Isolation] = {}
        async for change in self._state.watch(KIND, BATCHES):
            if isinstance(change, Synced):
                self._known.load(first.values())
                self._sink.replace(self._known)
                first.clear()
                self._synced.set()
            elif self._synced.is_set():
                self._follow(change)
            else:
                for each in self._records.read(change):
                    before = first.get(each.id)
                    # In two records only when the writer was stopped between the two.
                    if before is None or _is_longer(each, before):
                        first[each.id] = each

    def _follow(self, change: Change) -> None:
        if self._records.is_outdated(change):
            return
        before = {each.id: each for each in self._records.held(change)}
        after = {each.id: each for each in self._records.read(change)}
        for id in before.keys() - after.keys():
            self._known.pop(id)
            self._sink.remove(before[id])
        for id, each in after.items():
            known = self._known.get(id)
            if known != each or known.batch != each.batch:
                self._known.put(each)
                self._sink.put(each)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            while expired := self._known.expired(self._wall(), TURN):
                await self._drop(expired, "divertor", "expired")

    async def _tell_many(self, what: str, isolations: Sequence[Isolation], by: str, reason: str) -> None:
        numbers: dict[str, int] = {}
        for each in isolations:
            numbers[each.scope] = numbers.get(each.scope, 0) + 1
        now = self._wall()
        events = [bulk_event(what, scope, number, by, reason, now) for scope, number in numbers.items()]
        await self._tell(events)

    async def _tell(self, events: Sequence[Event]) -> None:
        # The decision holds; that nobody could be told of it is not a reason to undo it.
        with contextlib.suppress(UnavailableError):
            if events:
                await self._publish([*events])

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


def _checked(
    policy: IsolationPolicy, scope: str, selector: KeySelector, value: str
) -> tuple[KeySelector, str]:
    own = checked_selector(policy, scope, selector)
    return own, checked_value(policy, scope, own, value)


def _sound(
    policy: IsolationPolicy, scope: str, keys: Iterable[tuple[KeySelector, str]]
) -> list[tuple[KeySelector, str]]:
    """Those of reported keys that can be isolated."""
    found = []
    for key in keys:
        with contextlib.suppress(InputError):
            found.append(_checked(policy, scope, *key))
    return found
