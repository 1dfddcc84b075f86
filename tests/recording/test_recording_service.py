"""From the spool to what can be asked: who an exchange belongs to, and that nothing is lost or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from divertor.errors import NotFoundError
from divertor.isolation.identity import isolation_id
from divertor.model.artifacts import IsolationPolicy, Recording
from divertor.model.isolation import Isolation, KeyKind, KeySelector
from divertor.recording.archive import Archive
from divertor.recording.exchange import Exchange
from divertor.recording.frames import Tag
from divertor.recording.redaction import Rules, redacted
from divertor.recording.service import Recordings, Watched
from divertor.recording.spool import Spool

from .spooled import SCOPE, SESSION, TIME, record, simple

ADDRESS = KeySelector(KeyKind.ADDRESS)
POLICY = IsolationPolicy("shop", "shop:1.0.0", (SESSION, ADDRESS))
ID = isolation_id(SCOPE, SESSION, "4e1f0c9a")


@dataclass
class World:
    """A spool, an archive, and who is isolated."""

    directory: Path
    policies: dict[str, IsolationPolicy] = field(default_factory=lambda: {SCOPE: POLICY})
    isolations: dict[str, Isolation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.archive = Archive(self.directory / "recordings")
        self.service = Recordings(
            Spool(self.spool, lambda: 0.0, lambda: TIME),
            self.archive,
            lambda: self.policies,
            self.isolations.get,
            lambda isolation: [
                each for each in self.isolations.values() if isolation.id in (each.id, each.parent)
            ],
            lambda: TIME,
        )

    @property
    def spool(self) -> Path:
        return self.directory / "recorded.spool"

    def write(self, *records: bytes) -> None:
        with self.spool.open("ab") as handle:
            handle.write(b"".join(records))

    def isolate(self, value: str, selector: KeySelector = SESSION, parent: str = "") -> Isolation:
        id = isolation_id(SCOPE, selector, value)
        made = Isolation(
            id, SCOPE, selector, value, "shop:1.0.0", TIME, None, "gateway", "attacked", "", parent
        )
        self.isolations[id] = made
        return made

    async def paths(self, id: str) -> list[str]:
        await self.service.take()
        return [each.path for each in (await self.service.watched(id)).exchanges]


async def until(condition: Callable[[], bool]) -> None:
    """Gives others their turn until it is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what changes is a file, which tells nobody
            await asyncio.sleep(0.001)


pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_session_is_watched(world: World) -> None:
    known = world.isolate("4e1f0c9a")
    world.write(simple(1), simple(2))
    assert await world.service.take() == 2
    found = await world.service.watched(ID)
    assert found == Watched(ID, known, True, (ID,), found.exchanges, 0)
    assert [each.served_by for each in found.exchanges] == ["shop:1.0.0"] * 2
    assert (await world.service.exchange(ID, 2)).path == "/2"


async def test_a_renewed_session_continues_it(world: World) -> None:
    world.write(simple(1, (Tag.ADDED, "cookie|session|renewed")), simple(2, session="renewed"))
    renewed = isolation_id(SCOPE, SESSION, "renewed")
    assert await world.paths(ID) == await world.paths(renewed) == ["/1", "/2"]
    assert (await world.service.watched(ID)).keys == (ID, renewed)


async def test_all_keys_of_an_attack_are_one_attacker(world: World) -> None:
    attack = record(
        (Tag.KIND, "diverted"),
        (Tag.SCOPE, SCOPE),
        (Tag.PATH, "/attack"),
        (Tag.ADDED, "cookie|session|first cookie|session|second"),
    )
    world.write(attack, simple(1, session="second"))
    assert await world.paths(isolation_id(SCOPE, SESSION, "first")) == ["/attack", "/1"]


async def test_a_key_added_later_to_the_same_client_is_shown_with_it(world: World) -> None:
    """What is known by the isolations alone: two keys, given together by hand."""
    first = world.isolate("4e1f0c9a")
    world.isolate("other", parent=first.id)
    world.write(simple(1, session="other"), simple(2))
    assert await world.paths(first.id) == ["/1", "/2"]


async def test_a_session_written_differently_is_the_same(world: World) -> None:
    world.isolate("4e1f0c9a")
    world.write(simple(1, session='"4e1f0c9a"'), simple(2, session="4e1f%2530c9a"))
    assert await world.paths(ID) == ["/1", "/2"]


async def test_who_has_no_key_is_known_by_his_address(world: World) -> None:
    refused = record(
        (Tag.KIND, "refused"),
        (Tag.SCOPE, SCOPE),
        (Tag.PATH, "/big"),
        (Tag.REQUEST_HEADER, b"x-forwarded-for\0forged, 192.0.2.9"),
    )
    world.write(refused)
    id = isolation_id(SCOPE, ADDRESS, "192.0.2.9")
    assert await world.paths(id) == ["/big"]
    (found,) = (await world.service.watched(id)).exchanges
    assert (found.served_by, found.address) == ("gateway", "192.0.2.9")


async def test_a_recording_outlives_the_isolation(world: World) -> None:
    known = world.isolate("4e1f0c9a")
    world.write(simple(1))
    await world.service.take()
    world.isolations.clear()
    found = await World(world.directory).service.watched(ID)
    assert (found.isolation, found.holds, len(found.exchanges)) == (known, False, 1)
    assert [each.id for each in await world.service.recorded()] == [ID]


async def test_an_isolation_that_becomes_known_later_is_remembered(world: World) -> None:
    world.write(simple(1))
    running = asyncio.create_task(world.service.run())
    await until(lambda: world.archive.root(ID) is not None)
    known = world.isolate("4e1f0c9a")
    await until(lambda: world.archive.isolation(ID) == known)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_nobody_is_not_found(world: World) -> None:
    for asked in (world.service.watched("x"), world.service.exchange(ID, 1)):
        with pytest.raises(NotFoundError):
            await asked


async def test_an_isolation_without_traffic_is_found(world: World) -> None:
    world.isolate("4e1f0c9a")
    assert (await world.service.watched(ID)).exchanges == ()


async def test_a_policy_that_records_nothing_is_obeyed(world: World) -> None:
    world.policies[SCOPE] = replace(POLICY, record=None)
    world.write(simple(1))
    assert await world.service.take() == 1
    assert await world.service.recorded() == []


async def test_the_policy_strikes_out_before_anything_is_stored(world: World) -> None:
    world.policies[SCOPE] = replace(POLICY, record=Recording(redact=("header x-pin",)))
    world.write(simple(1, (Tag.REQUEST_HEADER, b"X-Pin\0hunter2")))
    await world.service.take()
    stored = b"".join(path.read_bytes() for path in (world.directory / "recordings").iterdir())
    assert b"hunter2" not in stored and b"[redacted]" in stored


async def test_a_fault_of_ours_costs_one_exchange_and_stores_nothing_unsearched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(exchange: Exchange, rules: Rules) -> Exchange:
        if exchange.path == "/1":
            raise RecursionError
        return redacted(exchange, rules)

    monkeypatch.setattr("divertor.recording.service.redacted", faulty)
    world.write(simple(1), simple(2))
    assert await world.paths(ID) == ["/2"]
    assert world.service.faults == 1


async def test_a_spool_that_cannot_be_read_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_arguments: object, **_options: object) -> None:
        raise RecursionError

    monkeypatch.setattr("divertor.recording.spool.split", faulty)
    world.write(simple(1))
    running = asyncio.create_task(world.service.run())
    await until(lambda: world.service.faults == 1)
    monkeypatch.undo()
    world.write(simple(2))
    await until(lambda: world.archive.root(ID) is not None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.paths(ID) == ["/2"]


async def test_a_full_disk_delays_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    world.write(simple(1))
    monkeypatch.setattr("divertor.recording.archive.os.write", full)
    with pytest.raises(OSError, match="No space"):
        await world.service.take()
    monkeypatch.undo()
    assert await world.paths(ID) == ["/1"]


async def test_what_is_read_again_after_a_kill_is_stored_once(world: World) -> None:
    world.write(simple(1))
    await world.service.take()
    world.spool.with_suffix(".position").unlink()
    assert await World(world.directory).paths(ID) == ["/1"]


async def test_a_flood_is_taken_within_seconds(world: World) -> None:
    """8 MB, 2,000 exchanges: the spool's 64 MiB leave time for many more."""
    world.policies[SCOPE] = replace(POLICY, record=Recording(limit=1 << 20))
    world.write(*(simple(number, (Tag.RESPONSE_BODY, b"x" * 4000)) for number in range(2000)))
    async with asyncio.timeout(30):
        assert await world.service.take() == 2000
    found = await world.service.watched(ID)
    assert len(found.exchanges) + found.gone == 2000
