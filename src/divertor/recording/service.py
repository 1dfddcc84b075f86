"""Recordings as a service: takes what the gateway has recorded, and answers who asked what.

Work on files is done in a thread, one piece at a time, so that a flood of records costs the control plane
neither its event loop nor the order of things. A full disk costs no record: the batch is tried again, and the
spool waits within its own bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from divertor.errors import NotFoundError
from divertor.isolation.identity import isolation_id
from divertor.isolation.layout import canonical_value, readings
from divertor.model.artifacts import IsolationPolicy, Recording
from divertor.model.isolation import Isolation, KeyKind, KeySelector
from divertor.recording.archive import Archive
from divertor.recording.exchange import Exchange, Key, Kind, header
from divertor.recording.redaction import Rules, redacted
from divertor.recording.spool import Spool

log = logging.getLogger("divertor.recording")

#: Seconds between looks at the spool, and after the disk has refused.
INTERVAL = 0.05
RETRY = 1.0
#: How long a recording is kept after its attacker was last heard of, and seconds between looks for those.
KEEP = timedelta(days=30)
PRUNE = 3600.0
#: Bytes of files that one question may read, and isolations that may continue each other.
MAX_READ = 64 << 20
MAX_CHAIN = 100
#: Files that wait for their isolation to be known.
MAX_NAMELESS = 10_000
_ADDRESS = KeySelector(KeyKind.ADDRESS)


@dataclass(frozen=True, slots=True)
class Watched:
    """One attacker as he was watched. `isolation`: the one that was asked for, as it is or was last known;
    `holds`: whether it still does. `keys`: ids of every key of his. `gone`: exchanges no longer kept."""

    id: str
    isolation: Isolation | None
    holds: bool
    keys: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    gone: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A recording by its id, and what is known of its isolation."""

    id: str
    isolation: Isolation | None
    holds: bool


class Recordings:
    """What is recorded of isolated traffic.

    `policies` gives the policy of each scope; `isolation` the isolation of an id, if it holds; `family` every
    isolation of the same client. `wall` is the time of day, UTC.
    """

    def __init__(
        self,
        spool: Spool,
        archive: Archive,
        policies: Callable[[], Mapping[str, IsolationPolicy]],
        isolation: Callable[[str], Isolation | None],
        family: Callable[[Isolation], Sequence[Isolation]],
        wall: Callable[[], datetime],
    ) -> None:
        self._spool = spool
        self._archive = archive
        self._policies = policies
        self._isolation = isolation
        self._family = family
        self._wall = wall
        self._work = asyncio.Lock()
        #: Files whose isolation was not known yet: its record is made from the access log, a moment later.
        self._nameless: dict[str, None] = {}
        self.trouble = ""
        #: Exchanges that are not kept because of a fault of ours.
        self.faults = 0

    @property
    def lost(self) -> int:
        """Exchanges the gateway had no room for since it started."""
        return self._spool.lost

    @property
    def size(self) -> int:
        """Bytes of all recordings."""
        return self._archive.size

    # Taking -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Takes what is recorded, for ever; ends with cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._prune())

    async def take(self) -> int:
        """Stores what the spool holds now; answers how many exchanges were told.

        :raises OSError: the disk refuses; nothing is lost.
        """
        told = 0
        while self._spool.is_waiting():
            async with self._work:
                batch = await asyncio.to_thread(self._spool.read)
                if batch:
                    await self._store(batch)
                await asyncio.to_thread(self._spool.confirm)
            told += len(batch)
            if not batch:
                break
        return told

    async def _follow(self) -> None:
        while True:
            try:
                await self.take()
                await self._name()
                self.trouble = ""
            except OSError as problem:
                if not self.trouble:
                    log.error("isolated traffic is not recorded: %s", problem)
                self.trouble = str(problem)
                await asyncio.sleep(RETRY)
            except Exception:
                # What an attacker wrote must not stop the control plane, now and at every start from now on.
                log.exception("what the gateway recorded last cannot be read and is passed over")
                self.faults += 1
                self._spool.skip()
            await asyncio.sleep(INTERVAL)

    async def _prune(self) -> None:
        while True:
            async with self._work:
                await asyncio.to_thread(self._archive.prune, (self._wall() - KEEP).timestamp())
            await asyncio.sleep(PRUNE)

    async def _store(self, batch: list[Exchange]) -> None:
        """Told again from the same place when it fails: what was stored already is known by its id."""
        try:
            policies = self._policies()
            attackers: dict[str, list[Exchange]] = defaultdict(list)
            roots: dict[str, str] = {}  # of keys that are first met here
            for exchange in batch:
                policy = policies.get(exchange.scope)
                if policy is None or policy.record is not None:
                    ids = self._ids(exchange, policy)
                    root = next((roots[id] for id in ids if id in roots), "") or self._root(ids)
                    for id in ids:
                        roots.setdefault(id, root)
                        self._archive.join(id, root)
                    attackers[root].append(_completed(exchange, policy))
            for root, exchanges in attackers.items():
                await asyncio.to_thread(self._append, root, exchanges, policies.get(exchanges[0].scope))
                self._describe(root)
        except OSError:
            self._spool.rewind()
            raise

    def _append(self, root: str, exchanges: list[Exchange], policy: IsolationPolicy | None) -> None:
        recording = policy.record if policy is not None and policy.record is not None else Recording()
        rules = Rules.of(recording)
        fit = [found for each in exchanges if (found := self._redacted(each, rules)) is not None]
        if fit:
            self._archive.append(root, fit, recording.limit)

    def _redacted(self, exchange: Exchange, rules: Rules) -> Exchange | None:
        """None, counted, when it meets a fault of ours: nothing is stored that was not searched, and no
        attacker can stop the control plane with a request that we cannot read."""
        try:
            return redacted(exchange, rules)
        except Exception:
            log.exception("an exchange cannot be searched for what is to be struck out")
            self.faults += 1
            return None

    def _ids(self, exchange: Exchange, policy: IsolationPolicy | None) -> list[str]:
        """All keys of an exchange's client, which lead to the same file from now on."""
        return [self._id(exchange.scope, key) for key in exchange.keys or _addresses(exchange, policy)]

    def _root(self, ids: Sequence[str]) -> str:
        """Into which file the exchanges of a client with these keys go."""
        known = (self._archive.root(id) for id in (*ids, *self._ancestors(ids[0])))
        return next((root for root in known if root), ids[0])

    def _id(self, scope: str, key: Key) -> str:
        """The isolation of a key as the gateway saw it, which may be written in another way."""
        for reading in readings(key.selector, key.value):
            id = isolation_id(scope, key.selector, reading)
            if self._isolation(id) is not None or self._archive.root(id) is not None:
                return id
        return isolation_id(scope, key.selector, _canonical(key))

    def _ancestors(self, id: str) -> list[str]:
        found: list[str] = []
        while len(found) < MAX_CHAIN and (isolation := self._isolation(id)) is not None and isolation.parent:
            id = isolation.parent
            found.append(id)
        return found

    async def _name(self) -> None:
        for root in [root for root in self._nameless if self._isolation(root) is not None]:
            async with self._work:
                self._describe(root)

    def _describe(self, root: str) -> None:
        isolation = self._isolation(root)
        self._nameless.pop(root, None)
        if self._archive.root(root) != root:
            return  # nothing of it could be kept
        if isolation is not None:
            self._archive.describe(root, isolation)
        elif self._archive.isolation(root) is None and len(self._nameless) < MAX_NAMELESS:
            self._nameless[root] = None

    # Asking -----------------------------------------------------------------------------------------------

    async def recorded(self) -> list[Listed]:
        """Everybody of whom something is kept, last heard of first."""
        async with self._work:
            return [self._listed(root) for root in self._archive.files()]

    async def watched(self, id: str) -> Watched:
        """One attacker, by the id of any isolation of his, whether it still holds or not.

        :raises NotFoundError: nobody of that id is isolated, and nothing is kept.
        """
        isolation = self._isolation(id)
        async with self._work:
            roots = self._roots(id)
            if not roots and isolation is None:
                raise NotFoundError(f"no isolation {id}, and no recording of it")
            exchanges, gone = await asyncio.to_thread(self._read, roots)
            keys = dict.fromkeys(member for root in roots for member in self._archive.members(root))
            known = isolation or next((self._archive.isolation(root) for root in roots), None)
        return Watched(id, known, isolation is not None, tuple(keys) or (id,), exchanges, gone)

    async def exchange(self, id: str, number: int) -> Exchange:
        """One exchange of an attacker.

        :raises NotFoundError: there is none of that number.
        """
        async with self._work:
            for root in self._roots(id):
                found = await asyncio.to_thread(self._archive.find, root, number)
                if found is not None:
                    return found
        raise NotFoundError(f"no exchange {number} of isolation {id}")

    def _listed(self, root: str) -> Listed:
        isolation = self._isolation(root)
        return Listed(root, isolation or self._archive.isolation(root), isolation is not None)

    def _roots(self, id: str) -> list[str]:
        """The files of a client, his first key's first."""
        isolation = self._isolation(id)
        family = [each.id for each in self._family(isolation)] if isolation is not None else []
        found = [root for each in (id, *family) if (root := self._archive.root(each))]
        first = dict.fromkeys(found)
        return list(first) + sorted(self._archive.related(first) - set(first))

    def _read(self, roots: Sequence[str]) -> tuple[tuple[Exchange, ...], int]:
        exchanges: list[Exchange] = []
        gone = size = 0
        for root in roots:
            size += self._archive.size_of(root)
            if size > MAX_READ and exchanges:
                break
            kept = self._archive.read(root)
            exchanges += kept.exchanges
            gone += kept.gone
        return tuple(sorted(exchanges, key=lambda each: (each.time, each.number))), gone


def _completed(exchange: Exchange, policy: IsolationPolicy | None) -> Exchange:
    """With what the record leaves out: who served it, and the client's address."""
    served = {Kind.REFUSED: "gateway", Kind.SIMULATED: ""}.get(exchange.kind, policy.to if policy else "")
    address = exchange.address
    if not address:
        # Envoy adds the peer at the end; what stands before it is what the client says.
        address = header(exchange.request_headers, "x-forwarded-for").rpartition(",")[2].strip()[:200]
    return replace(exchange, served_by=served, address=address)


def _addresses(exchange: Exchange, policy: IsolationPolicy | None) -> tuple[Key, ...]:
    """Keys of a client who is only known by where he comes from."""
    address = _completed(exchange, policy).address or "unknown"
    wanted = policy.keys if policy is not None else ()
    selectors = [key for key in wanted if key.kind in (KeyKind.ADDRESS, KeyKind.PREFIX)]
    return tuple(Key(selector, address) for selector in selectors or [_ADDRESS])


def _canonical(key: Key) -> str:
    try:
        return canonical_value(key.selector, key.value)
    except ValueError:
        return key.value
