"""Wherever an app takes its work, the request goes along: and it does not stay there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.from_thread
import anyio.to_thread
import asgiref.sync
import pytest
import uvloop
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from divertor_sensor import DivertorASGI, DivertorWSGI, context
from divertor_sensor.sensor import Sensor

POOL = concurrent.futures.ThreadPoolExecutor(1)


def seen() -> bool:
    return context.current.get() is not None


async def seen_later() -> bool:
    await asyncio.sleep(0)
    return seen()


def by_thread() -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(seen()))
    thread.start()
    thread.join()
    return found[0]


def by_timer() -> bool:
    found: list[bool] = []
    timer = threading.Timer(0, lambda: found.append(seen()))
    timer.start()
    timer.join()
    return found[0]


def by_map() -> bool:
    return all(POOL.map(lambda _: seen(), range(3)))


def by_nested_pools() -> bool:
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        return POOL.submit(lambda: other.submit(seen).result()).result()


def by_generator() -> bool:
    return all(seen() for _ in range(2))


def by_copied_context() -> bool:
    return contextvars.copy_context().run(seen)


SYNC: dict[str, Callable[[], bool]] = {
    "here": seen,
    "thread": by_thread,
    "timer": by_timer,
    "pool": lambda: POOL.submit(seen).result(),
    "map": by_map,
    "nested pools": by_nested_pools,
    "generator": by_generator,
    "copied context": by_copied_context,
    "async_to_sync": lambda: asgiref.sync.async_to_sync(seen_later)(),
    "asyncio.run": lambda: asyncio.run(seen_later()),
}


async def by_task() -> bool:
    return await asyncio.create_task(seen_later())


async def by_group() -> bool:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(seen_later())
    return task.result()


async def by_gather() -> bool:
    return all(await asyncio.gather(seen_later(), asyncio.wait_for(seen_later(), 5)))


async def by_callback() -> bool:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(seen()))
    return await done


async def by_executor() -> bool:
    return await asyncio.get_running_loop().run_in_executor(None, seen)


async def by_own_executor() -> bool:
    return await asyncio.get_running_loop().run_in_executor(POOL, seen)


async def by_async_generator() -> bool:
    async def each() -> AsyncIterator[bool]:
        for _ in range(2):
            yield await seen_later()

    return all([found async for found in each()])


async def by_generator_in_threads() -> bool:
    return all([found async for found in iterate_in_threadpool(seen() for _ in range(2))])


async def by_anyio_group() -> bool:
    found: list[bool] = []

    async def note() -> None:
        found.append(await seen_later())

    async with anyio.create_task_group() as group:
        group.start_soon(note)
    return found == [True]


async def by_thread_and_back() -> bool:
    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(seen_later))


ASYNC: dict[str, Callable[[], Any]] = {
    "here": seen_later,
    "task": by_task,
    "task group": by_group,
    "gather": by_gather,
    "callback": by_callback,
    "executor": by_executor,
    "own executor": by_own_executor,
    "to_thread": lambda: asyncio.to_thread(seen),
    "async generator": by_async_generator,
    "sync_to_async": lambda: asgiref.sync.sync_to_async(seen)(),
    "sync_to_async, any thread": lambda: asgiref.sync.sync_to_async(seen, thread_sensitive=False)(),
    "anyio task group": by_anyio_group,
    "anyio.to_thread": lambda: anyio.to_thread.run_sync(seen),
    "anyio.to_thread and back": by_thread_and_back,
    "run_in_threadpool": lambda: run_in_threadpool(seen),
    "generator in threads": by_generator_in_threads,
}


@pytest.fixture
def sensor(make_sensor: Callable[..., Sensor]) -> Sensor:
    return make_sensor()


@pytest.mark.parametrize("how", SYNC)
def test_a_wsgi_request_goes_along(how: str, sensor: Sensor) -> None:
    found: list[bool] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        found.append(SYNC[how]())
        return []

    DivertorWSGI(app, sensor)({}, lambda *_: None)
    assert found == [True] and not seen()


def debugging() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    made.set_debug(True)
    return made


LOOPS = {"asyncio": asyncio.new_event_loop, "asyncio, debug": debugging, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ASYNC)
def test_an_asgi_request_goes_along(how: str, loop: str, sensor: Sensor) -> None:
    found: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(await ASYNC[how]())

    async def main() -> None:
        await DivertorASGI(app, sensor)({"type": "http", "headers": []}, never, never)
        assert not seen()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert found == [True] and not seen()


async def never(*_: Any) -> Any:
    """A channel that is not used."""


def test_how_many_were_tried() -> None:
    assert (len(SYNC), len(ASYNC)) == (10, 16)


@pytest.mark.parametrize("how", ["pool", "thread", "map", "nested pools"])
def test_nothing_of_it_stays_in_a_thread(how: str, sensor: Sensor) -> None:
    DivertorWSGI(lambda *_: [b"" if SYNC[how]() else b""], sensor)({}, lambda *_: None)
    assert POOL.submit(seen).result() is False


def test_two_requests_at_once_are_told_apart(sensor: Sensor) -> None:
    found: dict[str, bool] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = context.current.get()
        await asyncio.sleep(0)
        same = await asyncio.to_thread(context.current.get)
        found[scope["path"]] = first is same and same is not None and same.head.path == scope["path"]

    async def main() -> None:
        scopes = [{"type": "http", "headers": [], "path": f"/{number}"} for number in range(20)]
        await asyncio.gather(*(DivertorASGI(app, sensor)(scope, never, never) for scope in scopes))

    asyncio.run(main())
    assert len(found) == 20 and all(found.values())


def test_what_a_forked_child_serves_is_its_own(sensor: Sensor) -> None:
    """Even when it is forked within a request."""
    codes: list[int] = []

    def inner(environ: Any, start_response: Any) -> list[bytes]:
        os._exit(0 if context.current.get() not in (None, outer[0]) else 1)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        outer.append(context.current.get())
        child = os.fork()
        if child == 0:
            DivertorWSGI(inner, sensor)({}, lambda *_: None)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return []

    outer: list[Any] = []
    DivertorWSGI(app, sensor)({}, lambda *_: None)
    assert codes == [0]
