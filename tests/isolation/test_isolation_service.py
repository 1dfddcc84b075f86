"""Isolations with a real broker: in effect at once, recorded in the end, told, shared by control planes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.bus import Bus, State
from divertor.conditions import parse
from divertor.errors import InputError, NotFoundError
from divertor.isolation.records import BATCHES
from divertor.isolation.service import (
    KIND,
    AllowedError,
    Imported,
    IsolationService,
    Wanted,
    isolation_id,
    masked,
)
from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind, KeySelector

pytestmark = pytest.mark.anyio

SESSION = KeySelector(KeyKind.COOKIE, "session")
ADDRESS = KeySelector(KeyKind.ADDRESS)
USER = KeySelector(KeyKind.USER)
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
async def office(
    broker: Any, policy: IsolationPolicy = POLICY, sessions: dict[str, list[str]] | None = None
) -> AsyncIterator[Office]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    held, clock, told = Held(), Clock(), list[Event]()

    async def publish(events: list[Event]) -> None:
        told.extend(events)

    state = State(bus)
    known = sessions or {}
    service = IsolationService(
        state,
        held,
        lambda: {"shop/web": policy},
        publish,
        clock,
        lambda scope, user: [(SESSION, value) for value in known.get(user, ())],
    )
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


async def test_the_keys_of_one_client_are_released_together(broker: Any) -> None:
    async with office(broker) as here:
        await here.add("somebody else")
        keys = [(SESSION, "s1"), (ADDRESS, "192.0.2.1")]
        one, two = await here.service.add_all(scope="shop/web", keys=keys, by="me", reason="why")
        assert two.parent == one.id and set(here.held.values) == {"somebody else", "s1", "192.0.2.1"}
        await here.service.remove(two.id, "me")
        assert set(here.held.values) == {"somebody else"} == await here.recorded()


async def test_one_wrong_key_isolates_none_of_them(broker: Any) -> None:
    async with office(broker) as here:
        keys = [(SESSION, "s1"), (ADDRESS, "nowhere")]
        with pytest.raises(InputError):
            await here.service.add_all(scope="shop/web", keys=keys, by="me", reason="why")
        assert here.held.values == {}


async def test_a_user_is_isolated_with_his_sessions_and_released_with_them(broker: Any) -> None:
    async with office(broker, sessions={"alice": ["s1", "s2"]}) as here:
        user = await here.add("alice", selector=USER)
        await here.service.follow("shop/web", "bob", [(SESSION, "b1")])
        await here.service.follow("shop/web", "alice", [(SESSION, "s3"), (ADDRESS, "nowhere")])
        assert set(here.held.values) == {"alice", "s1", "s2", "s3"}
        assert {each.expires for each in here.held.values.values()} == {user.expires}
        await here.service.remove(user.id, "me")
        assert here.held.values == {} and await here.recorded() == set()


async def test_a_user_who_attacks_again_is_prolonged_with_all_sessions(broker: Any) -> None:
    async with office(broker, sessions={"alice": ["s1"]}) as here:
        await here.add("alice", selector=USER)
        await here.service.follow("shop/web", "alice", [(SESSION, "s2")])
        again = await here.add("alice", selector=USER, duration=timedelta(hours=5))
        assert {each.expires for each in here.held.values.values()} == {again.expires}


async def test_after_his_isolation_a_users_sessions_are_free(broker: Any) -> None:
    async with office(broker) as here:
        await here.add("alice", selector=USER, duration=timedelta(seconds=5))
        here.clock.now += timedelta(seconds=5)
        await here.service.follow("shop/web", "alice", [(SESSION, "s1")])
        assert "s1" not in here.held.values


async def test_nobody_is_isolated_as_a_user_where_there_are_no_sessions(broker: Any) -> None:
    async with office(broker, IsolationPolicy("web", "web:1", (ADDRESS,))) as here:
        with pytest.raises(InputError, match="does not look at a user id"):
            await here.add("alice", selector=USER)


async def test_who_is_on_the_allowlist_is_not_isolated_and_that_is_told(broker: Any) -> None:
    allowing = IsolationPolicy("web", "web:1", (SESSION, ADDRESS), allow=parse("cookie session = vip"))
    async with office(broker, allowing) as here:
        with pytest.raises(AllowedError, match="on the allowlist of shop/web") as caught:
            await here.add("vip")
        await here.service.tell_allowed(caught.value, "rule x", "union", "e1")
        (event,) = here.told
        assert event.tags[0] == "isolation:allowed" and here.held.values == {}
        assert (await here.add("other")).value == "other"


async def test_a_policy_that_only_watches_says_what_would_have_been(broker: Any) -> None:
    watching = IsolationPolicy("web", "web:1", (SESSION,), mode=Mode.SIMULATE)
    async with office(broker, watching) as here:
        isolation = await here.add()
        (event,) = here.told
        assert isolation.simulated and "isolation:simulated" in event.tags
        assert "would have been added" in event.body["message"]
    async with office(broker) as diverting:
        assert diverting.service.list() == [isolation]


def lines(*values: str, **more: Any) -> list[bytes]:
    row = {"scope": "shop/web", "key": "cookie session", **more}
    return [json.dumps({**row, "value": value}).encode() for value in values]


async def take(here: Office, given: list[bytes], **more: Any) -> Imported:
    wanted = here.service.importing("me")
    for line in given:
        wanted.read(line)
    return await here.service.take(wanted, **more)


MANY = [f"v{number}" for number in range(2500)]


async def test_an_import_holds_is_recorded_in_batches_and_survives_a_restart(broker: Any) -> None:
    async with office(broker) as here:
        assert await take(here, lines(*MANY)) == Imported(2500, 0, 0, 0)
        assert len(await here.state.list(BATCHES)) == 3 and here.service.unsaved == 0
        (event,) = here.told
        assert event.tags[0] == "isolation:imported" and event.body["isolation"]["number"] == 2500
    async with office(broker) as again:
        assert again.held.values.keys() == set(MANY) and again.service.count() == 2500


async def test_one_of_an_import_can_be_released_and_prolonged(broker: Any) -> None:
    async with office(broker) as here:
        await take(here, lines("a", "b", "c"))
        await here.service.remove(here.held.values["a"].id, "me")
        await here.add("b", duration=timedelta(hours=9))
        assert await here.recorded() == {"b"}
    async with office(broker) as again:
        assert again.held.values.keys() == {"b", "c"}
        assert again.held.values["b"].expires == again.clock.now + timedelta(hours=9)


async def test_an_import_again_prolongs_and_leaves_no_old_record(broker: Any) -> None:
    async with office(broker) as here:
        await here.add("a")
        await take(here, lines("b"))
        here.clock.now += timedelta(minutes=30)
        assert await take(here, lines("a", "b", "c")) == Imported(1, 2, 0, 0)
        assert await here.recorded() == set() and len(await here.state.list(BATCHES)) == 1
        assert await take(here, lines("a", "b", "c")) == Imported(0, 0, 3, 0)


async def test_an_import_that_is_only_tried_changes_nothing(broker: Any) -> None:
    async with office(broker) as here:
        assert await take(here, lines("a"), validate_only=True) == Imported(1, 0, 0, 0)
        assert here.held.values == {} and here.told == [] and await here.state.list(BATCHES) == {}


async def test_an_import_expires_and_is_told_in_few_words(broker: Any) -> None:
    async with office(broker) as here:
        await take(here, lines(*MANY, **{"for": "1m"}))
        here.clock.now += timedelta(minutes=1)
        assert here.service.count() == 0 and here.service.list() == []
        await until(lambda: not here.held.values and not here.service.unsaved)
        assert await here.state.list(BATCHES) == {} and len(here.told) <= 4


async def test_what_another_control_plane_imports_and_releases_holds_here(broker: Any) -> None:
    async with office(broker) as one, office(broker) as other:
        await take(one, lines("a", "b"))
        await until(lambda: other.held.values.keys() == {"a", "b"})
        await one.service.remove(one.held.values["a"].id, "me")
        await until(lambda: other.held.values.keys() == {"b"})


async def test_an_import_without_the_broker_is_in_effect_and_recorded_later(broker: Any) -> None:
    async with office(broker) as here:
        broker.kill()
        taking = asyncio.create_task(take(here, lines("a", "b")))
        await until(lambda: here.held.values.keys() == {"a", "b"})
        broker.start()
        await taking
        await until(lambda: not here.service.unsaved)
        assert len(await here.state.list(BATCHES)) == 1


async def test_a_listing_can_be_narrowed_and_paged(broker: Any) -> None:
    async with office(broker) as here:
        await take(here, lines(*MANY[:30]))
        here.clock.now += timedelta(seconds=1)
        newest = await here.add("192.0.2.1", selector=ADDRESS, by="rule x")
        assert here.service.page(Wanted(), 0, 1) == [newest] and here.service.count() == 31
        assert here.service.page(Wanted(kind="address"), 0, 9) == [newest]
        assert here.service.page(Wanted(by="rule x"), 0, 9) == [newest]
        assert here.service.count(Wanted(by="me")) == 30 and here.service.count(Wanted("a/b")) == 0
        assert [each.value for each in here.service.page(Wanted(by="me"), 28, 9)] == ["v1", "v0"]


async def test_what_is_exported_comes_back(broker: Any) -> None:
    async with office(broker) as here:
        await here.add("a", by="rule x")
        await take(here, lines("b"))
        exported = [line for piece in here.service.export(Wanted()) for line in piece]
        before = here.service.list()
        for each in before:
            await here.service.remove(each.id, "me")
        await take(here, exported)
        assert here.service.list() == before
