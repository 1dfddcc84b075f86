"""The control plane, put together: who knows whom, in which order things start, and what restarts what.

One event loop runs everything. If any part ends with a fault the process ends, and the supervisor starts it
again: a half-working control plane would be worse than a short absence, during which Envoy, the table and the
sensors go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from divertor import __version__
from divertor.alerts import Deeds, WebClient, new_client, standard_alerters
from divertor.api import create_app, server
from divertor.api.auth import Auth
from divertor.api.services import Services
from divertor.bus import Bus, State, mend
from divertor.control.alarms import AlarmControl
from divertor.control.artifacts import Artifacts
from divertor.control.deliveries import Deliveries
from divertor.control.deployments import Deployments
from divertor.control.isolating import Isolating
from divertor.control.live import Live
from divertor.control.narration import Narrator
from divertor.control.paging import Paging
from divertor.control.rollback import Rollback
from divertor.control.rules import Rules
from divertor.control.shares import Shares
from divertor.control.users import Users
from divertor.envoy.plan import Snapshot
from divertor.errors import DivertorError, NotFoundError, UnavailableError
from divertor.gateway.access import AccessLog
from divertor.gateway.agent import Agent
from divertor.gateway.planning import Choices
from divertor.gateway.process import paths_of
from divertor.gateway.sink import TableSink
from divertor.isolation.service import IsolationService
from divertor.layout import Layout, Secrets, Settings
from divertor.model.events import Event
from divertor.model.isolation import Isolation
from divertor.model.reading import read_blueprint
from divertor.plane.environment import Modes, instance_environment
from divertor.plane.observing import Observing
from divertor.plane.outbox import Outbox
from divertor.recording.archive import Archive
from divertor.recording.service import Recordings
from divertor.recording.spool import Spool
from divertor.rules import IsolateOptions, Match
from divertor.rules.limits import MINUTE
from divertor.runtime.client import SupervisorClient
from divertor.runtime.command import CommandHost, inherited_environment
from divertor.runtime.controller import Controller
from divertor.runtime.driver import AddressDriver, Drivers, ProcessDriver
from divertor.runtime.ports import require_free
from divertor.store import EventStore, Recorder

log = logging.getLogger("divertor")

#: Seconds the broker may take to answer at the start.
BUS_TIMEOUT = 30.0
#: Seconds before routes are written although the runtime has not told of every deployment.
PATIENCE = 15.0
#: Days events are kept in the store, and seconds between two looks for older ones.
KEEP_DAYS = 30
#: What kind of record says which blueprint was applied last.
APPLIED = "applied"
PRUNE = 3600.0
#: Seconds at the end for requests under way, and for events that wait for the broker.
API_END = 2.0
OUTBOX_END = 1.0


def wall() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Events:
    """What the API sees of events."""

    store: EventStore
    live: Live
    bus: Bus
    react: Callable[[Sequence[Event]], Awaitable[None]]
    learn: Callable[[Sequence[Event]], Awaitable[list[Event]]]

    async def publish(self, events: list[Event]) -> object:
        events = await self.learn(events)
        await self.react(events)
        return await self.bus.publish(events)


class Plane:
    """Everything, once it is connected."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        secrets: Secrets,
        auth: Auth,
        bus: Bus,
        store: EventStore,
        webhooks: WebClient,
        supervisor: SupervisorClient,
    ) -> None:
        self.layout, self.settings, self.bus, self.store = layout, settings, bus, store
        self.started = time.monotonic()
        self.live = Live()
        self.outbox, self.samples = Outbox(bus), Outbox(bus)
        self.recorder = Recorder(bus, store)
        secret = bytes.fromhex(secrets.isolation)
        self.sink = TableSink(layout, secret, wall)
        state = self.state = State(bus)
        self.supervisor = supervisor
        ingest_token = layout.ingest_token.read_text().strip()
        directory = Path(settings.blueprint).absolute().parent if settings.blueprint else layout.data
        self.modes = Modes(layout.run / "modes")
        host = CommandHost(
            directory=directory,
            logs=layout.logs,
            python=sys.executable,
            inherited=inherited_environment(dict(os.environ), directory),
            provided=instance_environment(
                layout, settings, secrets, ingest_token, lambda: self.deployments.policies(), self.modes
            ),
        )
        self.processes = ProcessDriver(self.supervisor, host)
        self.controller = Controller(
            Drivers([self.processes, AddressDriver()]),
            clock=time.monotonic,
            wall=wall,
            changed=lambda deployment: self.deployments.ran(deployment),
            failed=self.trouble,
            routed=lambda: frozenset(self._routed),
        )
        self.artifacts = Artifacts(state, self.outbox.publish, wall)
        choices = Choices(
            listen=settings.listen,
            trusted_hops=settings.trusted_hops,
            virtual_hosts_port=settings.virtual_hosts_port,
            isolate=settings.isolate,
            isolation_secret=secret,
            divert_secret=bytes.fromhex(secrets.divert),
        )
        self.rollback = Rollback(state, lambda: self.deployments, wall)
        self.deployments = Deployments(
            state,
            self.artifacts,
            self.controller,
            choices,
            self.outbox.publish,
            self.route,
            wall,
            lambda port: require_free(port, settings.listen),
            self.rollback.note,
        )
        self.isolations = IsolationService(
            state,
            self.sink,
            lambda: self.deployments.policies() if settings.isolate else {},
            self.outbox.publish,
            wall,
            lambda scope, user: self.users.sessions(scope, user),
        )
        self.users = Users(self.isolations.scopes, self.isolations.follow)
        self.shares = Shares(self._requests_of, time.monotonic)
        self.paging = Paging(lambda: alerters)
        self.isolating = Isolating(
            self.isolations, settings.isolate, state, self.shares.of, self.trouble, wall, self.paging.page
        )
        deeds = Deeds(self.isolate, self.rollback.roll_back, self.outbox.publish, wall)
        alerters = standard_alerters(webhooks, deeds, logging.getLogger("divertor.alerts"), settings.links)
        self.rules = Rules(
            state,
            bus,
            store,
            alerters,
            self.outbox.publish,
            self.isolate,
            wall,
            folder=layout.checkpoints,
            judges=settings.judges,
            trouble=self.trouble,
        )
        self.alarms = AlarmControl(state, self.rules.alarms, self.rules.get, self.outbox.publish, wall)
        deliveries = Deliveries(self.rules.dispatcher, self.rules.named, self.outbox.publish, wall)
        self.agent = Agent(paths_of(layout), self.applied, self.trouble)
        self.access = AccessLog(layout.access_log)
        self.recordings = Recordings(
            Spool(layout.spool, time.monotonic, wall),
            Archive(layout.recordings),
            self.isolations.scopes,
            self._isolation,
            self.isolations.family,
            wall,
        )
        self.observing = Observing(layout, self.deployments, self.samples, self.agent.reopen_logs, wall)
        self._routed: set[str] = set()
        self._full = False
        self._patient_until = time.monotonic() + PATIENCE
        events = Events(store, self.live, bus, self.rules.react, self.users.take)
        services = Services(
            self.artifacts,
            self.deployments,
            self.isolations,
            self.rules,
            events,
            self,
            self.recordings,
            self.observing.metrics,
            self.isolating,
            self.alarms,
            deliveries,
        )
        self.app = create_app(services, auth)

    # What the parts ask of each other ---------------------------------------------------------------------

    def route(self) -> None:
        """Routing may have to change."""
        if not self.deployments.is_complete() and time.monotonic() < self._patient_until:
            return  # at a start: Envoy serves what it has until we know what runs
        try:
            self.modes.restrain(self.deployments.policies())
            self.agent.want(replace(self.deployments.snapshot(), sampled=self.settings.log_sample))
        except DivertorError as problem:
            self.trouble(f"routing cannot change: {problem}")

    def applied(self, snapshot: Snapshot) -> None:
        """Envoy serves `snapshot`: instances it does not name are no longer asked."""
        self.observing.serving(snapshot)
        self.modes.release(self.deployments.policies())
        wanted = {(at.address, at.port) for upstream in snapshot.upstreams for at in upstream.endpoints}
        self._routed = {
            instance.name
            for deployment in self.deployments.list()
            for cluster in deployment.clusters
            for service in cluster.services
            for instance in service.instances
            if any((instance.host, port) in wanted for port in instance.ports.values())
        }
        self.controller.nudge()

    def trouble(self, message: str) -> None:
        """Something a person should know, once."""
        log.error("%s", message)
        now = wall()
        identity = blake2b(f"{now.timestamp()}{message}".encode(), digest_size=16).hexdigest()
        event = Event(
            identity, "trouble", now, now, ("divertor-trouble",), ("trouble",), None, {"message": message}
        )
        self.outbox.put([event])

    def _requests_of(self, scope: str) -> int:
        """How many requests an application got in the last minute."""
        deployment, _, cluster = scope.partition("/")
        try:
            return self.observing.metrics.cluster(deployment, cluster, "", "", MINUTE).measured.requests
        except DivertorError:
            return 0

    async def isolate(self, match: Match, options: IsolateOptions) -> None:
        """A rule decided so."""
        await self.isolating.by_rule(match, options)

    async def status(self) -> dict[str, Any]:
        """How the installation is."""
        try:
            processes = [status.to_json() for status in await self.supervisor.status()]
        except DivertorError:
            processes = []
        return {
            "version": __version__,
            "uptime": round(time.monotonic() - self.started, 3),
            "processes": processes,
            "nats": {"connected": self.bus.connected},
            "store": {"trouble": self.recorder.trouble},
            "envoy": {
                "connected": self.agent.status.connected,
                "applied": self.agent.status.applied,
                "refusals": list(self.agent.status.refusals),
            },
            "recordings": {
                "trouble": self.recordings.trouble,
                "lost": self.recordings.lost + self.recordings.faults,
                "bytes": self.recordings.size,
            },
            "requests": self.observing.status(),
            "table": {"trouble": self.sink.trouble},
            "isolations": self.isolations.count(),
            "deployments": len(self.deployments.list()),
            "rules": self.rules.status(),
            "stopped_rules": self.isolating.stopped,
            "events_dropped": self.outbox.dropped,
        }

    # Running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is cancelled or a part fails; events of our own that wait are sent before it ends."""
        try:
            await self._run()
        finally:
            await asyncio.gather(self.outbox.flush(OUTBOX_END), self.samples.flush(OUTBOX_END))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(work)
                for work in (
                    self.outbox.run(),
                    self.recorder.run(),
                    self.isolations.run(),
                    self.agent.run(),
                    self._watch_live(),
                    self._prune(),
                )
            ]
            await self.isolations.synced()
            await self._load()
            background += [
                tasks.create_task(work)
                for work in (
                    self.controller.run(self.processes.changes()),
                    self.rules.run(),
                    self.deployments.keep_selected(),
                    self._follow_log(),
                    self.recordings.run(),
                    self.alarms.run(),
                    self.observing.run(),
                )
            ]
            await self._serve_api()
            for task in background:
                task.cancel()

    async def _load(self) -> None:
        recorded = await self.deployments.load()
        await self.controller.adopt(recorded)
        settings = self.settings
        await self.isolating.load()
        await self.rules.load(Path(settings.rules) if settings.rules else None)
        if settings.blueprint:
            text = await asyncio.to_thread(Path(settings.blueprint).read_text, encoding="utf-8")
            await self._apply(text, {known.name for known in recorded})

    async def _apply(self, text: str, known: set[str]) -> None:
        """Deploys the blueprint this installation was started with, unless just this text was applied before:
        what was changed since then through the API stays."""
        blueprint = read_blueprint(text, self.settings.blueprint)
        name = self.settings.name or blueprint.name
        applied = {"digest": blake2b(text.encode(), digest_size=16).hexdigest()}
        entry = await self.state.get(APPLIED, name)
        if name not in known:
            await self.deployments.deploy(blueprint, name, "divertor up")
        elif entry is None or entry.value != applied:
            await self.deployments.merge(name, blueprint, "divertor up")
        await self.state.put(APPLIED, name, applied)

    async def _serve_api(self) -> None:
        """Told to end, it answers what was asked before everything behind it goes."""
        web = server(self.app, port=self.settings.api_port)
        serving = asyncio.ensure_future(web.serve())
        try:
            await asyncio.wait({serving})
            serving.result()
        finally:
            web.should_exit = True
            await asyncio.wait({serving}, timeout=API_END)
            serving.cancel()

    async def _watch_live(self) -> None:
        """Shows what happens to whoever watches, and writes the live log."""
        narrator = Narrator(self.settings.color)
        with self.layout.live_log.open("a", encoding="utf-8", buffering=1) as out:
            async for batch in self.bus.events(None):
                self.live.tell(batch.events)
                lines = [line + "\n" for event in batch.events for line in narrator.lines(event)]
                with self._room():
                    out.writelines(lines)

    async def _follow_log(self) -> None:
        """What the gateway saw of attackers: recorded, and the keys it isolated by itself made lasting."""
        async for batch in self.access.follow():
            # In effect at once, all of them; then the records, side by side.
            await asyncio.gather(*(self.isolating.by_gateway(seen) for seen in batch if seen.added))
            self.shares.take(batch)
            await self.outbox.publish([seen.event(wall(), self._target(seen.scope)) for seen in batch])
            with self._room():
                self.access.confirm()
            if self.access.is_large():
                self.access.put_aside()
                await self.agent.reopen_logs()

    @contextmanager
    def _room(self) -> Iterator[None]:
        """A full disk costs the log, not the control plane; it is told once."""
        try:
            yield
            self._full = False
        except OSError as problem:
            if not self._full:
                self._full = True
                log.error("cannot write: %s", problem)

    def _isolation(self, id: str) -> Isolation | None:
        try:
            return self.isolations.get(id)
        except NotFoundError:
            return None

    def _target(self, scope: str) -> str:
        policy = self.isolations.scopes().get(scope)
        return policy.to if policy is not None else ""

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE)
            cut = datetime.fromtimestamp(wall().timestamp() - KEEP_DAYS * 86400, UTC)
            try:
                await self.store.prune(cut)
            except UnavailableError as problem:
                log.error("old events are not removed: %s", problem)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


async def serve(layout: Layout) -> None:
    """The control plane of `layout`, until it is told to stop.

    :raises UnavailableError: the broker does not answer, the store is damaged, another control plane runs.
    :raises InputError: the blueprint or a rule is not understood.
    """
    settings, secrets = layout.read_settings(), layout.read_secrets()
    auth = Auth.load(layout.auth)
    async with AsyncExitStack() as stack:
        url = f"nats://127.0.0.1:{settings.nats_port}"
        bus = await Bus.connect(url, secrets.nats_password, "control plane", timeout=BUS_TIMEOUT)
        stack.push_async_callback(bus.close)
        # A broker that met a full disk stays deaf until it is restarted, also when there is room again.
        supervisor = SupervisorClient(layout.run)
        stack.push_async_callback(supervisor.close)
        free = partial(_free, layout.root)
        mending = asyncio.create_task(mend(bus, free, partial(supervisor.restart, "nats")))
        stack.callback(mending.cancel)
        store = await EventStore.open(layout.events, memory_limit="64MB")
        stack.push_async_callback(store.close)
        webhooks = new_client()
        stack.push_async_callback(webhooks.aclose)
        plane = Plane(layout, settings, secrets, auth, bus, store, webhooks, supervisor)
        stack.callback(plane.sink.close)
        await plane.run()
