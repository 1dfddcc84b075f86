"""What rules and the gateway decide becomes isolations, or a record that somebody stays. A real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.bus import Bus, State
from divertor.conditions import parse
from divertor.control.isolating import Isolating
from divertor.gateway.access import Added, Seen
from divertor.isolation.service import IsolationService
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind, KeySelector
from divertor.rules import IsolateOptions

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SESSION, ADDRESS = KeySelector(KeyKind.COOKIE, "session"), KeySelector(KeyKind.ADDRESS)
POLICY = IsolationPolicy(
    "web", "web:1", (SESSION, ADDRESS), timedelta(hours=1), allow=parse("cookie session = vip")
)


class Nowhere:
    def put(self, isolation: Isolation) -> None: ...

    def remove(self, isolation: Isolation) -> None: ...

    async def extend(self, isolations: Sequence[Isolation]) -> None: ...

    def replace(self, isolations: Iterable[Isolation]) -> None: ...


@dataclass
class Rule:
    name: str = "x"


@dataclass
class Match:
    event: Event
    rule: Rule = field(default_factory=Rule)


@dataclass
class Place:
    service: IsolationService
    told: list[Event]

    def isolated(self) -> dict[str, str]:
        """The values, with their parents'."""
        by_id = {each.id: each.value for each in self.service.list()}
        return {each.value: by_id.get(each.parent, "") for each in self.service.list()}


@pytest.fixture
async def place(broker: Any) -> AsyncIterator[Place]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    told: list[Event] = []

    async def publish(events: list[Event]) -> None:
        told.extend(events)

    service = IsolationService(State(bus), Nowhere(), lambda: {"a/web": POLICY}, publish, lambda: NOW)
    running = asyncio.create_task(service.run())
    await service.synced()
    yield Place(service, told)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.close()


def match(session: str) -> Any:
    body = {"session": {"id": session}, "client": {"address": "192.0.2.1"}}
    return Match(Event("e1", "detection", NOW, NOW, body=body))


def seen(*values: str, by: str = "") -> Seen:
    def key(value: str) -> Added:
        return Added(KeyKind.COOKIE, "session", value)

    added, before = tuple(map(key, values)), key(by) if by else None
    return Seen("i", "diverted", NOW, "a/web", added, before, {"method": "GET", "path": "/x?secret"})


async def test_a_rule_isolates_by_the_first_key_or_by_every_one(place: Place) -> None:
    isolating = Isolating(place.service, True)
    await isolating.by_rule(match("s1"), IsolateOptions())
    assert place.isolated() == {"s1": ""}
    await isolating.by_rule(match("s2"), IsolateOptions(every=True))
    assert place.isolated() == {"s1": "", "s2": "", "192.0.2.1": "s2"}


async def test_a_rule_leaves_who_is_on_the_allowlist_and_that_is_told(place: Place) -> None:
    await Isolating(place.service, True).by_rule(match("vip"), IsolateOptions())
    assert place.isolated() == {} and [event.tags[0] for event in place.told] == ["isolation:allowed"]


async def test_where_isolation_is_off_a_rule_isolates_nobody(place: Place) -> None:
    await Isolating(place.service, False).by_rule(match("s1"), IsolateOptions())
    assert place.isolated() == {} and place.told == []


async def test_what_the_gateway_isolated_is_one_client_but_for_what_is_allowed(place: Place) -> None:
    isolating = Isolating(place.service, True)
    await isolating.by_gateway(seen("s1", "vip", "s2"))
    assert place.isolated() == {"s1": "", "s2": "s1"}
    await isolating.by_gateway(seen("s3", by="s2"))
    assert place.isolated() == {"s1": "", "s2": "s1", "s3": "s2"}
    assert {each.reason for each in place.service.list()} >= {"attacked with GET /x"}
