"""Isolations with a real broker: in effect at once, recorded in the end, told, shared by control planes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.bus import Bus, State
from divertor.errors import InputError, NotFoundError
from divertor.isolation.service import KIND, IsolationService, isolation_id, masked
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind, KeySelector

pytestmark = pytest.mark.anyio

SESSION = KeySelector(KeyKind.COOKIE, "session")
ADDRESS = KeySelector(KeyKind.ADDRESS)
POLICY = IsolationPolicy("web", "web:1.0.0", (SESSION, ADDRESS), timedelta(hours=1))


@dataclass
class Clock:
    now: datetime = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Held:
    """What is in effect."""

    values: dict[str, Isolation] = field(default_factory=dict)

    def put(self, isolation: Isolation) -> None:
        self.values[isolation.value] = isolation

    def remove(self, isolation: Isolation) -> None:
        self.values.pop(isolation.value, None)

    async def extend(self, isolations: Sequence[Isolation]) -> None:
        for each in isolations:
            self.put(each)

    def replace(self, isolations: Iterable[Isolation]) -> None:
        self.values = {each.value: each for each in isolations}


@dataclass
class Office:
    """A control plane's isolations, and what it told."""

    service: IsolationService
    state: State
    held: Held
    clock: Clock
    told: list[Event]

    async def add(self, value: str = "abc", **more: Any) -> Isolation:
        wanted: dict[str, Any] = {
            "scope": "shop/web",
            "selector": SESSION,
            "by": "me",
            "reason": "why",
            **more,
        }
        return await self.service.add(value=value, **wanted)

    async def recorded(self) -> set[str]:
        return {str(entry.value["value"]) for entry in (await self.state.list(KIND)).values()}


@asynccontextmanager
async def office(broker: Any) -> AsyncIterator[Office]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    held, clock, told = Held(), Clock(), list[Event]()

    async def publish(events: list[Event]) -> None:
        told.extend(events)

    state = State(bus)
    service = IsolationService(state, held, lambda: {"shop/web": POLICY}, publish, clock)
    running = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(10):
            await service.synced()
        yield Office(service, state, held, clock, told)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.close()


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while True:
            if check():
                return
            await asyncio.sleep(0.02)


async def test_an_isolation_is_in_effect_recorded_and_told(broker: Any) -> None:
    async with office(broker) as here:
        isolation = await here.add("secret-session", by="rule x", reason="union", cause="e1")
        assert here.held.values["secret-session"] == isolation and await here.recorded() == {"secret-session"}
        assert (isolation.target, isolation.by, isolation.reason) == ("web:1.0.0", "rule x", "union")
        assert isolation.expires == here.clock.now + timedelta(hours=1)
        (event,) = here.told
        assert event.tags == ("isolation:added", "deployment:shop")
        assert "secret-session" not in str(event.body) and masked("secret-session") in str(event.body)


async def test_the_same_key_is_isolated_once_and_only_prolonged(broker: Any) -> None:
    async with office(broker) as here:
        first = await here.add()
        assert await here.add(duration=timedelta(minutes=1)) == first
        longer = await here.add(duration=timedelta(hours=5))
        assert longer.id == first.id and longer.expires == here.clock.now + timedelta(hours=5)
        assert (await here.add(duration=None)).expires is None
        assert (await here.add()).expires is None
        assert len(here.told) == 1 and len(here.service.list()) == 1


async def test_a_release_is_at_once_and_recorded(broker: Any) -> None:
    async with office(broker) as here:
        isolation = await here.add()
        await here.service.remove(isolation.id, "me", "a false alarm")
        assert here.held.values == {} and await here.recorded() == set() and here.service.list() == []
        assert (
            here.told[-1].tags[0] == "isolation:removed" and here.told[-1].body["reason"] == "a false alarm"
        )
        with pytest.raises(NotFoundError):
            await here.service.remove(isolation.id, "me")


async def test_an_isolation_expires(broker: Any) -> None:
    async with office(broker) as here:
        await here.add(duration=timedelta(minutes=1))
        here.clock.now += timedelta(minutes=1)
        assert here.service.list() == []
        await until(lambda: not here.held.values)
        await until(lambda: here.told[-1].body["reason"] == "expired")
        assert await here.recorded() == set()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"scope": "shop/other"}, "shop/web"),
        ({"selector": KeySelector(KeyKind.HEADER, "x")}, "cookie session or client address"),
        ({"target": "web:9"}, "web:1.0.0"),
        ({"value": ""}, "1 to 4096 bytes"),
        ({"value": "x" * 4097}, "1 to 4096 bytes"),
        ({"selector": ADDRESS, "value": "300.1.1.1"}, "an IP address"),
    ],
)
async def test_what_cannot_be_isolated_is_refused_and_changes_nothing(
    broker: Any, wrong: dict[str, Any], expected: str
) -> None:
    async with office(broker) as here:
        with pytest.raises(InputError, match=expected):
            await here.add(**{"value": "abc", **wrong})
        assert here.held.values == {} and here.told == [] and await here.recorded() == set()


async def test_an_address_is_the_same_however_it_is_written(broker: Any) -> None:
    async with office(broker) as here:
        one = await here.add("2001:DB8:0::1", selector=ADDRESS)
        assert await here.add("2001:db8::1", selector=ADDRESS) == one and one.value == "2001:db8::1"


async def test_without_the_broker_it_is_in_effect_and_recorded_later(broker: Any) -> None:
    async with office(broker) as here:
        kept = await here.add("kept")
        broker.kill()
        adding = asyncio.create_task(here.add("abc"))
        await until(lambda: "abc" in here.held.values)
        removing = asyncio.create_task(here.service.remove(kept.id, "me"))
        await until(lambda: "kept" not in here.held.values)
        broker.start()
        await asyncio.gather(adding, removing)

        await until(lambda: not here.service.unsaved)
        assert await here.recorded() == {"abc"}
        assert here.held.values.keys() == {"abc"}


async def test_a_restarted_control_plane_knows_everybody(broker: Any) -> None:
    async with office(broker) as here:
        isolation = await here.add()
    async with office(broker) as again:
        assert again.service.list() == [isolation] and again.held.values.keys() == {"abc"}


async def test_what_another_control_plane_decides_holds_here(broker: Any) -> None:
    async with office(broker) as one, office(broker) as other:
        isolation = await one.add()
        await until(lambda: "abc" in other.held.values)
        assert other.service.get(isolation.id) == isolation
        await other.service.remove(isolation.id, "me")
        await until(lambda: not one.held.values)


async def test_a_record_nobody_can_read_isolates_nobody(broker: Any) -> None:
    async with office(broker) as here:
        await here.state.put(KIND, "broken", {"nonsense": 1})
        await here.add()
    async with office(broker) as again:
        assert again.held.values.keys() == {"abc"}


async def test_a_key_elsewhere_has_another_id() -> None:
    places = [("a/b", SESSION, "x"), ("a/c", SESSION, "x"), ("a/b", ADDRESS, "x"), ("a/b", SESSION, "y")]
    assert len({isolation_id(*place) for place in places}) == 4


async def test_a_renewed_session_is_isolated_as_long_as_the_old_one_and_for_its_cause(broker: Any) -> None:
    async with office(broker) as here:
        old = await here.add("old", duration=timedelta(minutes=5), reason="union", cause="e1")
        here.clock.now += timedelta(minutes=4)
        new = await here.service.renew("shop/web", (SESSION, "old"), (SESSION, "new"))
        assert new is not None and (new.expires, new.cause, new.parent) == (old.expires, "e1", old.id)
        assert new.reason == "renewed its session; union" and set(here.held.values) == {"old", "new"}


async def test_the_old_session_is_found_however_it_was_written(broker: Any) -> None:
    async with office(broker) as here:
        await here.add("old")
        assert await here.service.renew("shop/web", (SESSION, '"old"'), (SESSION, "new")) is not None


async def test_releasing_one_session_of_a_client_releases_all_of_them(broker: Any) -> None:
    async with office(broker) as here:
        first = await here.add("one")
        await here.add("somebody else")
        await here.service.renew("shop/web", (SESSION, "one"), (SESSION, "two"))
        await here.service.renew("shop/web", (SESSION, "two"), (SESSION, "three"))
        await here.service.remove(first.id, "me")
        assert set(here.held.values) == {"somebody else"} == await here.recorded()


async def test_a_session_handed_out_after_the_release_is_free(broker: Any) -> None:
    async with office(broker) as here:
        old = await here.add("old")
        await here.service.remove(old.id, "me")
        assert await here.service.renew("shop/web", (SESSION, "old"), (SESSION, "new")) is None
        assert here.held.values == {} and await here.recorded() == set()


async def test_who_attacks_without_a_pause_is_not_recorded_without_a_pause(broker: Any) -> None:
    async with office(broker) as here:
        first = await here.add()
        here.clock.now += timedelta(seconds=1)
        assert await here.add() == first
        here.clock.now += timedelta(minutes=2)
        again = await here.add()
        assert again.expires == here.clock.now + timedelta(hours=1)
