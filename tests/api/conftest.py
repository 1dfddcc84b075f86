"""The API over the real services: a real broker and a real event store; only instances are not run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from divertor.api import Auth, Services, create_app
from divertor.bus import Bus, State
from divertor.control.alarms import AlarmControl, Overview
from divertor.control.artifacts import Artifacts
from divertor.control.deliveries import Deliveries
from divertor.control.deployments import Deployments
from divertor.control.isolating import Isolating
from divertor.control.live import Live
from divertor.control.metrics import Metrics
from divertor.control.rules import Rules
from divertor.errors import NotFoundError
from divertor.gateway.planning import Choices
from divertor.gateway.stats import Stats
from divertor.isolation.service import IsolationService
from divertor.model.deployments import Deployment
from divertor.model.events import Event
from divertor.model.isolation import Isolation
from divertor.recording.archive import Archive
from divertor.recording.service import Recordings
from divertor.recording.spool import Spool
from divertor.rules import IsolateOptions, Match
from divertor.rules.alarms import Alarms
from divertor.store import EventStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class NothingRuns:
    """A runtime whose instances are never there."""

    def deploy(self, deployment: Deployment) -> None:
        pass

    def remove(self, name: str) -> None:
        pass


@dataclass
class Held:
    """A table of isolations in memory."""

    isolations: dict[str, Isolation] = field(default_factory=dict)

    def put(self, isolation: Isolation) -> None:
        self.isolations[isolation.id] = isolation

    def remove(self, isolation: Isolation) -> None:
        self.isolations.pop(isolation.id, None)

    async def extend(self, isolations: Sequence[Isolation]) -> None:
        for each in isolations:
            self.put(each)

    def replace(self, isolations: Iterable[Isolation]) -> None:
        self.isolations = {each.id: each for each in isolations}


@dataclass
class Feed:
    """Events into the broker, and from there, at once, into the store and to whoever watches."""

    bus: Bus
    store: EventStore
    live: Live = field(default_factory=Live)

    async def publish(self, events: list[Event]) -> None:
        seq = await self.bus.publish(events, timeout=2)
        await self.store.append(seq, events)
        self.live.tell(events)


@dataclass
class Remembered:
    """A way in that keeps what it takes, for tests of what never gets further."""

    events: list[Event] = field(default_factory=list)

    async def publish(self, events: list[Event]) -> None:
        self.events += events


class Well:
    async def status(self) -> dict[str, Any]:
        return {"version": "0", "nats": {"connected": True}}


@dataclass
class Stack:
    """The application, its parts, and its tokens."""

    app: FastAPI
    auth: Auth
    services: Services
    feed: Any
    admin: str
    ingest: str
    stats: Stats | None = None
    #: Those of an engine that does not run.
    alarms: Alarms | None = None

    def client(self, token: str | None = None, address: str = "", **headers: str) -> httpx.AsyncClient:
        """A client with that token (None: the administrator's; "": none), without a socket unless there is an
        address.
        """
        given = self.admin if token is None else token
        if given:
            headers["authorization"] = f"Bearer {given}"
        transport = None if address else httpx.ASGITransport(self.app)
        base = address or "http://127.0.0.1:9090"
        return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    async def stored(self) -> int:
        """How many messages the broker has taken."""
        return int((await self.feed.bus.position()).last)


@asynccontextmanager
async def _stack(broker: Any, directory: Path) -> AsyncIterator[Stack]:
    bus = await Bus.connect(broker.url, broker.password, "api-test")
    store = await EventStore.open(directory / "events.duckdb")
    feed = Feed(bus, store)
    state = State(bus)

    def wall() -> datetime:
        return NOW

    artifacts = Artifacts(state, feed.publish, wall)
    deployments = Deployments(
        state,
        artifacts,
        NothingRuns(),
        Choices(),
        feed.publish,
        lambda: None,
        wall,
        lambda port: None,
    )
    isolations = IsolationService(state, Held(), deployments.policies, feed.publish, wall)
    rules = Rules(state, bus, store, {}, feed.publish, _nobody, wall, folder=directory / "checkpoints")
    spool = Spool(directory / "recorded.spool", time.monotonic, wall)
    archive = Archive(directory / "recordings")
    recordings = Recordings(
        spool, archive, deployments.policies, lambda id: _held(isolations, id), isolations.family, wall
    )
    stats = Stats(str(directory / "envoy.sock"), time.monotonic, _nothing)
    metrics = Metrics(deployments, stats, feed.publish, wall)
    judged = Alarms()

    async def overview() -> Overview:
        return Overview.of(judged)

    services = Services(
        artifacts,
        deployments,
        isolations,
        rules,
        feed,
        Well(),
        recordings,
        metrics,
        Isolating(isolations, True),
        AlarmControl(state, overview, rules.get, feed.publish, wall),
        Deliveries(rules.dispatcher, rules.named, feed.publish, wall),
    )
    auth, admin, ingest = Auth.create(directory / "auth.json")
    app = create_app(services, auth, now=wall)
    try:
        yield Stack(app, auth, services, feed, admin, ingest, stats, judged)
    finally:
        await store.close()
        await bus.close()


def _held(isolations: IsolationService, id: str) -> Isolation | None:
    try:
        return isolations.get(id)
    except NotFoundError:
        return None


async def _nothing() -> None:
    """Nobody waits for what the gateway counts."""


async def _nobody(match: Match, options: IsolateOptions) -> None:
    """No rule of these tests isolates."""


@pytest.fixture
async def stack(broker: Any, tmp_path: Path) -> AsyncIterator[Stack]:
    async with _stack(broker, tmp_path) as made:
        yield made


@pytest.fixture
def bare(tmp_path: Path) -> Stack:
    """For tests of what is answered without asking a service; telemetry is remembered."""
    feed = Remembered()
    none: Any = None
    services = Services(none, none, none, none, cast(Any, feed), Well(), none, none, none, none, none)
    auth, admin, ingest = Auth.create(tmp_path / "auth.json")
    app = create_app(services, auth, now=lambda: NOW)
    return Stack(app, auth, services, feed, admin, ingest)


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with stack.client() as client:
        yield client
