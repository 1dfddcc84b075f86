"""The request follows its work into threads and pools, and nothing else does."""

from __future__ import annotations

import asyncio
import multiprocessing.pool
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from divertor_sensor import context
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]
own: ContextVar[str] = ContextVar("own", default="default")


def request(sensor: Sensor) -> Request:
    return Request(sensor, lambda: Head("GET", "/", "", {}, ""))


def test_a_thread_started_by_a_request_belongs_to_it(make_sensor: MakeSensor) -> None:
    seen: list[Request | None] = []
    made = request(make_sensor())

    def work() -> None:
        thread = threading.Thread(target=lambda: seen.append(context.current.get()))
        thread.start()
        thread.join()

    context.run_in(made, work)
    assert seen == [made]


def test_a_pool_runs_each_task_for_its_own_request(make_sensor: MakeSensor) -> None:
    first, second = request(make_sensor()), request(make_sensor())
    with ThreadPoolExecutor(1) as pool:
        futures = [context.run_in(made, pool.submit, context.current.get) for made in (first, second)]
        outside = pool.submit(context.current.get)
    assert [future.result() for future in futures] == [first, second] and outside.result() is None


@pytest.mark.parametrize("way", ["apply", "apply_async", "map", "starmap", "imap", "imap_unordered"])
def test_a_pool_of_multiprocessing_runs_each_task_for_its_request(way: str, make_sensor: MakeSensor) -> None:
    def task(*_: object) -> object:
        return context.current.get()

    made = request(make_sensor())
    with multiprocessing.pool.ThreadPool(1) as pool:

        def work() -> list[object]:
            if way.startswith("apply"):
                found = getattr(pool, way)(task, (1,))
                return [found.get() if hasattr(found, "get") else found]
            return list(getattr(pool, way)(task, [(1,), (2,)]))

        assert set(context.run_in(made, work)) == {made}
        assert set(work()) == {None}


def test_run_in_executor_carries_the_request(make_sensor: MakeSensor) -> None:
    made = request(make_sensor())

    async def work() -> object:
        return await asyncio.get_running_loop().run_in_executor(None, context.current.get)

    assert context.run_in(made, asyncio.run, work()) is made


def test_other_context_variables_stay_behind_as_ever(make_sensor: MakeSensor) -> None:
    token = own.set("changed")
    with ThreadPoolExecutor(1) as pool:
        assert context.run_in(request(make_sensor()), pool.submit, own.get).result() == "default"
    own.reset(token)


def test_a_subclass_with_its_own_run_works(make_sensor: MakeSensor) -> None:
    seen: list[object] = []

    class Worker(threading.Thread):
        def run(self) -> None:
            seen.append(context.current.get())

    made = request(make_sensor())
    worker = Worker()
    context.run_in(made, worker.start)
    worker.join()
    assert seen == [made]


def test_a_started_thread_is_left_as_it_was(make_sensor: MakeSensor) -> None:
    thread = threading.Thread(target=lambda: None)
    context.run_in(request(make_sensor()), thread.start)
    thread.join()
    assert "run" not in thread.__dict__


def test_a_request_long_over_is_not_carried_on(make_sensor: MakeSensor) -> None:
    made = request(make_sensor())
    made.close()
    made._closed_at -= 60
    with ThreadPoolExecutor(1) as pool:
        assert context.run_in(made, pool.submit, context.current.get).result() is None
