"""Desired state against a real broker that is killed while it is watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from divertor.bus import Bus, Change, Entry, State, Synced
from divertor.errors import ConflictError, InputError

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(broker: Any) -> AsyncIterator[State]:
    bus = await Bus.connect(broker.url, broker.password, "test")
    try:
        yield State(bus)
    finally:
        await bus.close()


async def take(changes: AsyncGenerator[Change | Synced, None], count: int) -> list[Change | Synced]:
    async with asyncio.timeout(15):
        return [await anext(changes) for _ in range(count)]


def told(changes: list[Change | Synced]) -> list[Any]:
    return [(item.name, item.value) if isinstance(item, Change) else "synced" for item in changes]


async def test_a_document_is_read_back_with_its_revision(broker: Any) -> None:
    async with opened(broker) as state:
        revision = await state.put("gateway", "shop/web:80 ü", {"weight": "50%"})
        assert await state.get("gateway", "shop/web:80 ü") == Entry({"weight": "50%"}, revision)


async def test_what_was_never_written_is_none(broker: Any) -> None:
    async with opened(broker) as state:
        assert await state.get("gateway", "x") is None
        assert await state.list("gateway") == {}
        assert not await state.delete("gateway", "x")


async def test_writing_with_the_present_revision_succeeds(broker: Any) -> None:
    async with opened(broker) as state:
        first = await state.put("rule", "r", {"n": 1})
        second = await state.put("rule", "r", {"n": 2}, expect=first)
        assert await state.get("rule", "r") == Entry({"n": 2}, second)


async def test_writing_with_an_old_revision_is_a_conflict_and_changes_nothing(broker: Any) -> None:
    async with opened(broker) as state:
        first = await state.put("rule", "r", {"n": 1})
        second = await state.put("rule", "r", {"n": 2})
        with pytest.raises(ConflictError):
            await state.put("rule", "r", {"n": 3}, expect=first)
        assert await state.get("rule", "r") == Entry({"n": 2}, second)


async def test_creating_what_exists_is_a_conflict(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "r", {}, expect=0)
        with pytest.raises(ConflictError):
            await state.put("rule", "r", {}, expect=0)


async def test_what_was_deleted_can_be_created_again(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "r", {"n": 1})
        assert await state.delete("rule", "r")
        assert await state.get("rule", "r") is None
        await state.put("rule", "r", {"n": 2}, expect=0)
        assert await state.list("rule") == {"r": Entry({"n": 2}, 3)}


async def test_deleting_an_old_revision_is_a_conflict(broker: Any) -> None:
    async with opened(broker) as state:
        first = await state.put("rule", "r", {"n": 1})
        await state.put("rule", "r", {"n": 2})
        with pytest.raises(ConflictError):
            await state.delete("rule", "r", expect=first)


async def test_a_write_repeated_after_a_lost_answer_is_no_conflict_with_itself(broker: Any) -> None:
    """The broker answers "wrong revision" to the repetition; whose write it was, its identity tells."""
    async with opened(broker) as state:
        first = await state.put("rule", "r", {"n": 1})
        await state.put("rule", "r", {"n": 2}, expect=first)
        stored = (await state._fetch("rule.r")).headers or {}
        assert await state._own_revision("rule.r", "r", stored["Nats-Msg-Id"]) == 2
        with pytest.raises(ConflictError):
            await state._own_revision("rule.r", "r", "another")


async def test_of_many_writers_with_one_revision_exactly_one_wins(broker: Any) -> None:
    async with opened(broker) as state:
        first = await state.put("rule", "r", {"n": -1})
        attempts = (state.put("rule", "r", {"n": n}, expect=first) for n in range(10))
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 9


async def test_documents_survive_the_broker(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "r", {"n": 1})
        broker.kill()
        broker.start()
        assert await state.list("rule") == {"r": Entry({"n": 1}, 1)}


async def test_a_watch_tells_what_exists_then_synced_then_changes(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "a", {"n": 1})
        await state.put("other", "x", {})
        changes = state.watch("rule")
        assert told(await take(changes, 2)) == [("a", {"n": 1}), "synced"]
        await state.put("rule", "b", {"n": 2})
        await state.put("other", "y", {})
        await state.delete("rule", "a")
        assert told(await take(changes, 2)) == [("b", {"n": 2}), ("a", None)]
        await changes.aclose()


async def test_a_watch_of_nothing_is_synced_at_once(broker: Any) -> None:
    async with opened(broker) as state:
        changes = state.watch("rule")
        assert await take(changes, 1) == [Synced()]
        await changes.aclose()


async def test_one_watch_can_follow_several_kinds(broker: Any) -> None:
    async with opened(broker) as state:
        for kind in ("a", "b", "c"):
            await state.put(kind, "x", {})
        changes = state.watch("a", "b")
        first = await take(changes, 3)
        await changes.aclose()
    assert [item.kind for item in first if isinstance(item, Change)] == ["a", "b"]


async def test_a_watch_goes_on_after_a_restart_without_telling_anything_twice(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "a", {"n": 1})
        changes = state.watch("rule")
        await take(changes, 2)
        broker.kill()
        broker.start()
        await state.put("rule", "b", {"n": 2})
        assert told(await take(changes, 1)) == [("b", {"n": 2})]
        await changes.aclose()


async def test_a_watch_of_a_wiped_broker_tells_that_everything_is_gone(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("rule", "a", {"n": 1})
        await state.put("rule", "b", {"n": 1})
        changes = state.watch("rule")
        await take(changes, 3)
        broker.kill()
        broker.wipe()
        broker.start()
        await state.put("rule", "b", {"n": 9})
        seen = dict(told(await take(changes, 2)))
        if seen != {"a": None, "b": {"n": 9}}:  # both deletions were told before the new document came
            assert seen == {"a": None, "b": None}
            seen.update(told(await take(changes, 1)))
        await changes.aclose()
    assert seen == {"a": None, "b": {"n": 9}}


async def test_a_thousand_documents_are_listed(broker: Any) -> None:
    async with opened(broker) as state:
        await asyncio.gather(*(state.put("rule", f"r {n}", {"n": n}) for n in range(1000)))
        found = await state.list("rule")
    assert {name: entry.value["n"] for name, entry in found.items()} == {f"r {n}": n for n in range(1000)}


async def test_a_value_that_is_no_json_is_refused(broker: Any) -> None:
    async with opened(broker) as state:
        with pytest.raises(InputError):
            await state.put("rule", "r", {"n": float("inf")})


async def test_what_exists_or_was_lately_deleted_is_not_created_again(broker: Any) -> None:
    async with opened(broker) as state:
        revision = await state.create("outbox", "a", {"n": 1})
        with pytest.raises(ConflictError):
            await state.create("outbox", "a", {"n": 2})
        assert await state.get("outbox", "a") == Entry({"n": 1}, revision)
        await state.delete("outbox", "a")
        with pytest.raises(ConflictError):
            await state.create("outbox", "a", {"n": 3})


async def test_a_document_with_a_time_to_live_goes_by_itself(broker: Any) -> None:
    async with opened(broker) as state:
        await state.put("receipts", "a", {"n": 1}, ttl=timedelta(seconds=1))
        assert await state.get("receipts", "a") is not None
        async with asyncio.timeout(10):
            while True:
                if await state.get("receipts", "a") is None:
                    return
                await asyncio.sleep(0.1)
