"""What rules and the gateway decide becomes isolations, or a record that somebody stays. A real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from divertor.bus import Bus, State
from divertor.conditions import parse
from divertor.control.isolating import Isolating
from divertor.errors import InputError, LimitError, NotFoundError
from divertor.gateway.access import Added, Seen
from divertor.isolation.service import IsolationService
from divertor.model.artifacts import IsolationPolicy
from divertor.model.events import Event
from divertor.model.isolation import Isolation, KeyKind, KeySelector
from divertor.rules import IsolateOptions
from divertor.rules.rule import Limit

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
    type: str = "any"


@dataclass
class Match:
    event: Event | None
    id: str = "m1"
    document: dict[str, Any] = field(default_factory=dict)
    rule: Rule = field(default_factory=Rule)


@dataclass
class Place:
    service: IsolationService
    told: list[Event]
    state: State
    troubles: list[str]
    paged: list[tuple[str, str]]

    def isolating(self) -> Isolating:
        """With limits, and a memory of offences."""
        return Isolating(
            self.service,
            True,
            self.state,
            lambda _: None,
            self.troubles.append,
            lambda: NOW,
            lambda match, message: self.paged.append((match.id, message)),
        )

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
    yield Place(service, told, State(bus), [], [])
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


async def test_who_comes_again_is_isolated_for_longer(place: Place) -> None:
    options = IsolateOptions(durations=(timedelta(hours=1), timedelta(hours=5), None))
    lengths = []
    for _ in range(4):
        await place.isolating().by_rule(match("s1"), options)
        (held,) = place.service.list()
        lengths.append(held.expires and held.expires - NOW)
        await place.service.remove(held.id, "me")
    assert lengths == [timedelta(hours=1), timedelta(hours=5), None, None]


async def test_who_is_caught_again_while_isolated_has_not_come_again(place: Place) -> None:
    options = IsolateOptions(durations=(timedelta(hours=1), timedelta(hours=5)))
    isolating = place.isolating()
    for _ in range(3):
        await isolating.by_rule(match("s1"), options)
    (held,) = place.service.list()
    assert held.expires == NOW + timedelta(hours=1)


async def test_a_key_is_taken_from_the_field_that_the_rule_names(place: Place) -> None:
    options = IsolateOptions(keys=(SESSION,), fields={SESSION: "jar.sid"})
    event = Event("e1", "log", NOW, NOW, body={"jar": {"sid": "s9"}})
    await place.isolating().by_rule(Match(event), options)  # type: ignore[arg-type]
    assert place.isolated() == {"s9": ""}


async def test_a_match_without_an_event_isolates_by_its_own_key(place: Place) -> None:
    options = IsolateOptions(keys=(ADDRESS,), fields={ADDRESS: "client.address"})
    found = Match(None, document={"client.address": "192.0.2.7", "count": 9})
    await place.isolating().by_rule(found, options)  # type: ignore[arg-type]
    assert place.isolated() == {"192.0.2.7": ""}
    assert [event.body["isolation"]["cause"] for event in place.told] == ["m1"]


async def test_a_rule_that_isolates_too_many_is_stopped_until_somebody_has_looked(place: Place) -> None:
    isolating, options = place.isolating(), IsolateOptions(limit=Limit(per_minute=2))
    for name in ("s1", "s2", "s1"):
        await isolating.by_rule(match(name), options)
    for name in ("s3", "s4"):
        with pytest.raises(LimitError, match="more than 2"):
            await isolating.by_rule(match(name), options)
    assert place.isolated().keys() == {"s1", "s2"} and len(place.troubles) == 1
    assert place.paged == [("m1", place.troubles[0])]
    await isolating.resume("x", "me")
    await isolating.by_rule(match("s3"), options)
    assert "s3" in place.isolated()


async def test_who_is_caught_again_is_the_same_however_his_address_is_written(place: Place) -> None:
    lengths = (timedelta(hours=1), timedelta(hours=5))
    options = IsolateOptions(
        durations=lengths, keys=(ADDRESS,), fields={ADDRESS: "at"}, limit=Limit(per_minute=1)
    )
    isolating = place.isolating()
    for written in ("2001:DB8::1", "2001:db8:0::1"):
        await isolating.by_rule(Match(None, document={"at": written}), options)  # type: ignore[arg-type]
    (held,) = place.service.list()
    assert held.value == "2001:db8::1" and held.expires == NOW + timedelta(hours=1)


async def test_who_is_on_the_allowlist_does_not_stop_a_rule(place: Place) -> None:
    isolating, options = place.isolating(), IsolateOptions(limit=Limit(per_minute=1))
    for _ in range(3):
        await isolating.by_rule(match("vip"), options)
    await isolating.by_rule(match("s1"), options)
    assert place.isolated().keys() == {"s1"} and isolating.stopped == {}


async def test_an_isolation_that_failed_counts_neither_for_the_limit_nor_as_an_offence(place: Place) -> None:
    isolating, lengths = place.isolating(), (timedelta(hours=1), timedelta(hours=5))
    options = IsolateOptions(durations=lengths, limit=Limit(per_minute=1))
    for _ in range(3):
        with pytest.raises(InputError, match="cannot be sent"):
            await isolating.by_rule(match("s1"), replace(options, to="web:9"))
    await isolating.by_rule(match("s1"), options)
    (held,) = place.service.list()
    assert held.expires == NOW + timedelta(hours=1)


async def test_another_key_of_an_isolated_client_counts_for_the_limit(place: Place) -> None:
    isolating, options = place.isolating(), IsolateOptions(every=True, limit=Limit(per_minute=1))
    await isolating.by_rule(match("s1"), options)
    with pytest.raises(LimitError):
        await isolating.by_rule(match("s2"), options)
    assert "s2" not in place.isolated()


async def test_a_rule_stops_when_isolated_clients_make_too_many_requests(place: Place) -> None:
    shares = {"a/web": 0.05}
    isolating = Isolating(place.service, True, None, shares.get, place.troubles.append, lambda: NOW)
    options = IsolateOptions(limit=Limit(traffic=5))
    await isolating.by_rule(match("s1"), options)
    shares["a/web"] = 0.06
    with pytest.raises(LimitError, match="5% of all requests"):
        await isolating.by_rule(match("s2"), options)
    assert place.isolated().keys() == {"s1"} and len(place.troubles) == 1


async def test_isolating_does_not_wait_for_a_broker_that_is_down(place: Place, broker: Any) -> None:
    bus = await Bus.connect(broker.url, broker.password, "dead")
    await bus.close()
    isolating = Isolating(place.service, True, State(bus), wall=lambda: NOW)
    options = IsolateOptions(durations=(timedelta(hours=1), timedelta(hours=5)))
    await isolating.by_rule(match("s1"), options)
    assert place.isolated().keys() == {"s1"}


async def test_a_stopped_rule_is_stopped_after_a_restart(place: Place) -> None:
    options = IsolateOptions(limit=Limit(per_minute=1))
    first = place.isolating()
    await first.by_rule(match("s1"), options)
    with pytest.raises(LimitError):
        await first.by_rule(match("s2"), options)
    again = place.isolating()
    await again.load()
    assert again.stopped == first.stopped != {}
    with pytest.raises(LimitError):
        await again.by_rule(match("s2"), options)
    await again.resume("x", "me")
    with pytest.raises(NotFoundError):
        await again.resume("x", "me")
    later = place.isolating()
    await later.load()
    assert later.stopped == {}
