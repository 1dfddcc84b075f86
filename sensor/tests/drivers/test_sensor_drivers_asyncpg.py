"""asyncpg against a real PostgreSQL: connections, pools and what pools lend."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import asyncpg  # type: ignore[import-untyped, unused-ignore]
import pytest
import uvloop
from sensor.tests.drivers.conftest import Trial, find
from sensor.tests.drivers.servers import Server

from divertor_sensor import AttackInterrupted, context


def where(server: Server) -> dict[str, Any]:
    return {"host": str(server.directory), "port": server.port, "user": "tests", "database": "postgres"}


async def in_cursor(db: Any, statement: str) -> Any:
    async with db.transaction():
        return [row async for row in db.cursor(statement)]


async def in_cursor_object(db: Any, statement: str) -> Any:
    async with db.transaction():
        return await (await db.cursor(query=statement)).fetch(5)


async def prepared(db: Any, statement: str) -> Any:
    return await (await db.prepare(statement)).fetch()


def expression(statement: str) -> str:
    """Only the condition: COPY takes no query in its WHERE."""
    return statement.partition("where ")[2]


#: What connections and pools have in common.
SHARED: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda db, s: db.execute(s),
    "execute by name": lambda db, s: db.execute(query=s, timeout=5),
    "execute several": lambda db, s: db.execute(f"select 1; {s}"),
    "execute with values": lambda db, s: db.execute(f"{s} or id = $1", 1),
    "executemany": lambda db, s: db.executemany(f"{s} or id = $1", [(1,), (2,)]),
    "executemany by name": lambda db, s: db.executemany(command=f"{s} or id = $1", args=[(1,)]),
    "fetch": lambda db, s: db.fetch(s),
    "fetchval": lambda db, s: db.fetchval(s, column=0),
    "fetchrow": lambda db, s: db.fetchrow(s, record_class=asyncpg.Record),
    "fetchmany": lambda db, s: db.fetchmany(f"{s} or id = $1", [(1,)]),
    "copy_from_query": lambda db, s: db.copy_from_query(s, output=io.BytesIO()),
    "copy_to_table": lambda db, s: db.copy_to_table(
        "users", source=io.BytesIO(b"3\tx\n"), where=expression(s)
    ),
    "copy_records_to_table": lambda db, s: db.copy_records_to_table(
        "users", records=[(3, "x")], where=expression(s)
    ),
    "task": lambda db, s: asyncio.create_task(db.fetch(s)),
}
CONNECTION: dict[str, Callable[[Any, Any], Any]] = {
    **SHARED,
    "prepare": prepared,
    "cursor": in_cursor,
    "cursor object": in_cursor_object,
}


class OwnConnection(asyncpg.Connection):  # type: ignore[misc, unused-ignore]
    async def fetch(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        return await super().fetch(query.replace("SELEKT", "select"), *args, **kwargs)


async def directly(server: Server, run: Callable[[Any], Any]) -> Any:
    db = await asyncpg.connect(**where(server))
    try:
        return await run(db)
    finally:
        await db.close()


async def pooled(server: Server, run: Callable[[Any], Any]) -> Any:
    async with asyncpg.create_pool(min_size=1, max_size=1, **where(server)) as pool:
        return await run(pool)


async def lent(server: Server, run: Callable[[Any], Any]) -> Any:
    async with asyncpg.create_pool(min_size=1, max_size=1, **where(server)) as pool:
        async with pool.acquire() as db:
            return await run(db)


WAYS = [
    *((directly, name) for name in CONNECTION),
    *((pooled, name) for name in SHARED),
    *((lent, name) for name in CONNECTION),
]
every_way = pytest.mark.parametrize(("owner", "name"), WAYS)


def way(server: Server, owner: Any, name: str) -> Callable[[str], Any]:
    return lambda statement: asyncio.run(owner(server, lambda db: CONNECTION[name](db, statement)))


def test_the_number_of_ways_is_what_it_was() -> None:
    assert (len(SHARED), len(CONNECTION), len(WAYS)) == (14, 17, 48)


@every_way
def test_an_attack_is_stopped_before_it_is_sent(owner: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.stops(way(on_postgresql.server, owner, name))


@every_way
def test_an_honest_value_passes(owner: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.lets_pass(way(on_postgresql.server, owner, name))


@every_way
def test_outside_a_request_nothing_is_judged(owner: Any, name: str, on_postgresql: Trial) -> None:
    on_postgresql.would_run(way(on_postgresql.server, owner, name))


def test_a_connection_class_of_the_app_is_guarded(on_postgresql: Trial) -> None:
    async def run(statement: str) -> Any:
        db = await asyncpg.connect(connection_class=OwnConnection, **where(on_postgresql.server))
        try:
            assert type(db) is OwnConnection
            return await db.fetch(statement.replace("select", "SELEKT"))
        finally:
            await db.close()

    on_postgresql.stops(lambda statement: asyncio.run(run(statement)))


def test_the_other_event_loop_makes_no_difference(on_postgresql: Trial) -> None:
    run = CONNECTION["fetch"]
    server = on_postgresql.server
    on_postgresql.stops(lambda statement: uvloop.run(pooled(server, lambda db: run(db, statement))))


def test_a_task_of_a_pool_is_reported_where_the_app_started_it(on_postgresql: Trial) -> None:
    async def the_apps_function(pool: Any) -> None:
        await asyncio.gather(pool.fetch(find(on_postgresql.attack)), return_exceptions=True)

    with pytest.raises(AttackInterrupted):
        on_postgresql.run(
            lambda _: asyncio.run(pooled(on_postgresql.server, the_apps_function)), on_postgresql.attack
        )
    assert on_postgresql.kept[0].frames[0].function.endswith("the_apps_function")


def test_a_constant_of_the_app_is_known_in_a_task_too(on_postgresql: Trial) -> None:
    async def coincidence(pool: Any) -> Any:
        return await asyncio.gather(pool.fetch("select name from users where id > 0 and id < 9"))

    text = "name from users where id > 0 and"
    found = on_postgresql.run(lambda _: asyncio.run(pooled(on_postgresql.server, coincidence)), text)
    assert len(found[0]) == 2 and on_postgresql.kept == []


def test_an_interruption_leaves_the_pool_whole(on_postgresql: Trial) -> None:
    """The transaction is rolled back and the only connection given back, by a request that may run nothing
    else.
    """
    request = on_postgresql.request(on_postgresql.attack)

    async def attacked(pool: Any) -> None:
        async with pool.acquire() as db, db.transaction():
            await db.execute("delete from users")
            async with db.transaction():
                await db.fetch(find(on_postgresql.attack))

    async def app(pool: Any) -> Any:
        with pytest.raises(AttackInterrupted):
            await asyncio.create_task(attacked(pool), context=context_of(request))
        async with pool.acquire(timeout=5) as db:
            assert not db.is_in_transaction()
            return await db.fetchval("select count(*) from users")

    assert asyncio.run(pooled(on_postgresql.server, app)) == 2


def context_of(request: Any) -> Any:
    copied = copy_context()
    copied.run(context.current.set, request)
    return copied


def test_methods_are_the_kind_of_function_that_they_were() -> None:
    for owner in (asyncpg.Connection, asyncpg.Pool):
        assert inspect.iscoroutinefunction(owner.fetch) and inspect.iscoroutinefunction(owner.execute)
    assert list(inspect.signature(asyncpg.Connection.fetch).parameters)[:3] == ["self", "query", "args"]
    assert not inspect.iscoroutinefunction(asyncpg.Connection.cursor)
