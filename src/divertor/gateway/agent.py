"""The gateway agent: brings Envoy to what is wanted, one whole snapshot after the other, without a gap.

Order makes a change safe while requests flow: new clusters first; when Envoy has them, the routes and
listeners that use them; when it has those, the old clusters go. If Envoy refuses a file, the files it had
are put back and the refusal is told in Envoy's own words. While Envoy is down the files are still written: it
reads them when it is back. And so that it finds them whole whenever that is, files that somebody else has
changed are written again. A certificate that its owner has replaced is handed over at the next look; one that
is no good is told, and Envoy keeps the one it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from divertor.envoy import resources
from divertor.envoy.names import Resource
from divertor.envoy.plan import Paths, Snapshot
from divertor.errors import ConflictError, DivertorError
from divertor.gateway import certificates
from divertor.gateway.admin import Admin, EnvoyDown
from divertor.gateway.files import ConfigFiles

log = logging.getLogger("divertor.gateway")

#: Seconds Envoy may take to accept a file. It takes about 6 ms, and 350 ms with 10,000 routes.
ACCEPT = 5.0
POLL = 0.004
#: Seconds between two looks whether the files are still what was written.
CHECK = 2.0
#: Characters of Envoy's log that are searched for a reason.
LOG = 1 << 20
#: Characters of a reason.
REASON = 1000
_LOGGED, _PRINTED = "update rejected: ", "goo.gle/debug"
_SUCCESS, _REJECTED = "update_success", "update_rejected"


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """`applied` snapshots so far, the `refusals` of the last one (what came with it but was no good, too),
    whether Envoy answers."""

    applied: int = 0
    refusals: tuple[str, ...] = ()
    connected: bool = False


class Agent:
    """Applies snapshots in order; only the newest waiting one counts.

    `applied` is called with a snapshot once Envoy serves it (or, while Envoy is down, once it is written);
    `failed` gets what Envoy refused, or the disk.
    """

    def __init__(
        self, paths: Paths, applied: Callable[[Snapshot], None], failed: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._files = ConfigFiles(paths)
        self._admin = Admin(paths.admin)
        self._applied = applied
        self._failed = failed
        self._wanted: Snapshot | None = None
        self._served: Snapshot | None = None
        self._stamp = self._files.stamp()
        self._certificates: certificates.Stamp = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self.status = AgentStatus()

    def want(self, snapshot: Snapshot) -> None:
        """Makes `snapshot` what Envoy should serve."""
        self._wanted = snapshot
        self._settled.clear()
        self._wake.set()

    async def settled(self) -> None:
        """Waits until the last wanted snapshot has been applied or refused."""
        await self._settled.wait()

    async def reopen_logs(self) -> None:
        """Makes Envoy write a new access log; while it is down there is nothing to do."""
        with contextlib.suppress(EnvoyDown):
            await self._admin.reopen_logs()

    async def run(self) -> None:
        """Applies what is wanted, for ever; ends with cancellation."""
        self._files.create()
        try:
            while True:
                await self._work()
                self._wake.clear()
                snapshot, self._wanted = self._wanted, None
                if snapshot is not None:
                    await self._bring(snapshot)
                if self._wanted is None:
                    self._settled.set()
        finally:
            await self._admin.close()

    async def _work(self) -> None:
        """Waits for a snapshot to apply: a new one, or the last one again, because its files are damaged or a
        certificate was replaced."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK):
                    await self._wake.wait()
                    return
            if self._served is None:
                continue
            if self._files.stamp() != self._stamp:
                log.error("Envoy's files were changed by somebody else: they are written again")
                self._files.distrust()
                return self.want(self._served)
            if certificates.stamp(self._served) != self._certificates:
                return self.want(self._served)

    async def _bring(self, snapshot: Snapshot) -> None:
        before = self._files.read()
        # Taken before they are read: what changes from now on is looked at again.
        looked_at = certificates.stamp(snapshot)
        try:
            secrets, bad = self._secrets(snapshot)
            connected = await self._apply(snapshot, secrets)
        except DivertorError as problem:
            self._files.restore(before)
            self._stamp = self._files.stamp()
            if self._served is not None:
                self._certificates = certificates.stamp(self._served)
            self.status = AgentStatus(self.status.applied, (str(problem),), True)
            self._failed(str(problem))
            return
        self._served, self._stamp, self._certificates = snapshot, self._files.stamp(), looked_at
        self.status = AgentStatus(self.status.applied + 1, bad, connected)
        for reason in bad:
            self._failed(reason)
        self._applied(snapshot)

    def _secrets(self, snapshot: Snapshot) -> tuple[dict[str, Resource], tuple[str, ...]]:
        """The secrets to hand over, and what is wrong with those that Envoy keeps as they are.

        :raises ConflictError: a certificate is no good, and Envoy has no earlier one from the same files.
        """
        found, bad = dict[str, Resource](), list[str]()
        for name, secret in certificates.secrets(snapshot).items():
            if not isinstance(secret, ConflictError):
                found[name] = secret
            elif self._files.has_secret(name):
                bad.append(f"{secret}; the last good one stays")
            else:
                raise secret
        return found, tuple(bad)

    async def _apply(self, snapshot: Snapshot, secrets: Mapping[str, Resource]) -> bool:
        """Answers whether Envoy was there to accept it."""
        try:
            await self._in_order(snapshot, secrets)
        except EnvoyDown:
            self._files.secrets(secrets)
            self._files.write(snapshot)
            self._files.forget(snapshot)
            return False
        return True

    async def _in_order(self, snapshot: Snapshot, secrets: Mapping[str, Resource]) -> None:
        new = resources.clusters(snapshot, self._paths)
        names = {cluster["name"] for cluster in new}
        old = [found for found in self._files.known_clusters() if found["name"] not in names]
        self._files.endpoints(snapshot)
        await self._step("cds", lambda: self._files.clusters([*new, *old]))
        await self._until_serving(names, snapshot)
        # A listener that is new asks for its routes and certificates itself, when it comes.
        known = self._files.known_listeners()
        served = {name for name in secrets if self._files.has_secret(name)}
        await self._step("sds", lambda: not served.isdisjoint(self._files.secrets(secrets)))
        await self._step("rds", lambda: not known.isdisjoint(self._files.routes(snapshot)))
        await self._listeners(snapshot)
        await self._step("cds", lambda: self._files.clusters(new))
        self._files.forget(snapshot)

    async def _listeners(self, snapshot: Snapshot) -> None:
        """Listeners, and what new ones ask for.

        :raises ConflictError: Envoy refused some of it.
        """
        before = {kind: await self._counts(kind) for kind in ("rds", "sds")}
        logged = self._log_size()
        await self._step("lds", lambda: self._files.listeners(snapshot))
        await self._until_warm()
        for kind, counts in before.items():
            if (await self._counts(kind))[_REJECTED] > counts[_REJECTED]:
                raise ConflictError(f"Envoy refused the new {kind} configuration: {await self._why(logged)}")

    async def _until_warm(self) -> None:
        deadline = asyncio.get_running_loop().time() + ACCEPT
        while asyncio.get_running_loop().time() < deadline:
            if not await self._admin.warming():
                return
            await asyncio.sleep(POLL)

    async def _step(self, kind: str, write: Callable[[], bool]) -> None:
        """Writes, and waits until Envoy has taken it.

        :raises ConflictError: Envoy refused it.
        """
        before, logged = await self._counts(kind), self._log_size()
        if not write():
            return
        deadline = asyncio.get_running_loop().time() + ACCEPT
        while asyncio.get_running_loop().time() < deadline:
            now = await self._counts(kind)
            if now[_REJECTED] > before[_REJECTED]:
                raise ConflictError(f"Envoy refused the new {kind} configuration: {await self._why(logged)}")
            if now[_SUCCESS] > before[_SUCCESS]:
                return
            await asyncio.sleep(POLL)

    async def _why(self, logged: int) -> str:
        """Envoy's reason: from its admin interface or, for routes, from what it has logged since."""
        if reasons := await self._admin.rejections():
            return "; ".join(reasons)
        return await asyncio.to_thread(_logged_reason, self._paths.log, logged)

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return os.stat(self._paths.log).st_size
        return 0

    async def _counts(self, kind: str) -> dict[str, int]:
        """How many files of a kind Envoy has taken and refused, all listeners together."""
        found = await self._admin.counters(rf"(^|[._]){kind}\.(.*\.)?({_SUCCESS}|{_REJECTED})$")
        return {
            end: sum(value for name, value in found.items() if name.endswith(end))
            for end in (_SUCCESS, _REJECTED)
        }

    async def _until_serving(self, names: set[str], snapshot: Snapshot) -> None:
        """A new cluster is warmed first (its endpoints read, its health checked); routes to it must wait. And
        an instance that is no longer wanted may only be stopped when Envoy has let go of it."""
        wanted = {
            upstream.name: {(str(ip_address(at.address)), at.port) for at in upstream.endpoints}
            for upstream in snapshot.upstreams
            if not resources.is_named(upstream)
        }
        deadline = asyncio.get_running_loop().time() + ACCEPT
        while asyncio.get_running_loop().time() < deadline:
            found = await self._admin.clusters()
            if names <= found.keys() and all(found[name] == at for name, at in wanted.items()):
                return
            await asyncio.sleep(POLL)


def _logged_reason(path: str, start: int) -> str:
    try:
        with open(path, errors="replace") as log:
            log.seek(start)
            return _reason(log.read(LOG))
    except OSError:
        return "see its log"


def _reason(log: str) -> str:
    """What Envoy's log gives as the last reason: behind the mark, or after a message printed over many lines
    (which is left out: it holds the divert token)."""
    text = log.rpartition(_LOGGED)[2]
    first, _, rest = text.partition("\n")
    if first.startswith(_PRINTED):
        first = next((line[2:] for line in rest.split("\n") if line.startswith(": ")), "see its log")
    return first.strip()[:REASON]
