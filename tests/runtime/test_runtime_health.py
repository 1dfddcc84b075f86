"""Health: the score without a clock, the asking against a real server."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from divertor.model.artifacts import COMMAND, Breed, Deployable, HealthCheck, Port
from divertor.model.deployments import DeployedService
from divertor.runtime.health import HealthBoard, HealthMonitor, Target, ask, targets
from divertor.runtime.instances import InstanceState, ObservedInstance, PlannedInstance
from divertor.runtime.ports import pick_port

if TYPE_CHECKING:
    from .conftest import Eventually

CHECK = HealthCheck(path="/health", initial_delay=10.0, interval=5.0, timeout=1.0, failures=3)
TARGET = Target("d/c/a/0", 1, "127.0.0.1", 20000, CHECK)


def _board() -> HealthBoard:
    board = HealthBoard()
    board.update([TARGET], now=0.0)
    return board


def test_the_first_check_waits_its_initial_delay() -> None:
    board = _board()
    assert (board.take_due(9.9), board.next_due(), board.take_due(10.0)) == ([], 10.0, [TARGET])


def test_nobody_is_asked_again_before_the_answer_and_the_interval() -> None:
    board = _board()
    board.take_due(10.0)
    assert (board.take_due(100.0), board.next_due()) == ([], None)
    board.record(TARGET, True, now=12.0)
    assert board.next_due() == 17.0


def test_as_many_failures_in_a_row_as_the_check_says_are_unhealthy() -> None:
    board = _board()
    assert [board.record(TARGET, False, now) for now in (1.0, 2.0, 3.0, 4.0)] == [False, False, True, False]
    assert board.unhealthy() == {"d/c/a/0"}


def test_one_good_answer_clears_the_count() -> None:
    board = _board()
    for well in (False, False, True, False, False):
        assert not board.record(TARGET, well, 1.0)
    assert board.unhealthy() == frozenset()


def test_a_new_run_has_a_clean_record() -> None:
    board = _board()
    for _ in range(3):
        board.record(TARGET, False, 1.0)
    board.update([replace(TARGET, run=2)], now=2.0)
    assert (board.unhealthy(), board.next_due()) == (frozenset(), 12.0)


def test_an_answer_of_a_former_run_counts_for_nothing() -> None:
    board = _board()
    board.update([], now=1.0)
    assert not board.record(TARGET, False, 2.0)


def test_only_running_instances_are_asked_at_the_port_the_check_names() -> None:
    breed = Breed("a", Deployable(COMMAND, "run"), (Port("port", 80), Port("admin", 81)))
    service = DeployedService(breed, health_checks=(replace(CHECK, port="admin"),))
    planned = [PlannedInstance(f"d/c/a/{n}", "d", "c", service, "127.0.0.1", (n, 100 + n)) for n in (0, 1)]
    seen = [
        ObservedInstance("d/c/a/0", "d", InstanceState.RUNNING, run=7),
        ObservedInstance("d/c/a/1", "d", InstanceState.STARTING, run=8),
    ]
    assert [(target.instance, target.run, target.port) for target in targets(planned, seen)] == [
        ("d/c/a/0", 7, 100)
    ]


async def _answer(status: bytes, timeout: float = 5.0) -> bool:
    """What `ask` makes of `status`; of an empty one, which stands for no answer, after `timeout` seconds."""
    handled = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if status:
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            await reader.read()
        writer.close()
        handled.set()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        well = await ask(replace(TARGET, port=port, check=replace(CHECK, timeout=timeout)))
        await handled.wait()
        return well


@pytest.mark.parametrize(
    ("status", "well"),
    [(b"200 OK", True), (b"302 Found", True), (b"404 Not Found", False), (b"500 Oops", False), (b"x", False)],
)
def test_a_status_from_200_to_399_is_well(status: bytes, well: bool) -> None:
    assert asyncio.run(_answer(status)) is well


def test_an_answer_that_comes_too_late_is_not_well() -> None:
    assert not asyncio.run(_answer(b"", timeout=0.1))


def test_nobody_listening_is_not_well() -> None:
    assert not asyncio.run(ask(replace(TARGET, port=pick_port(low=24000 + os.getpid() % 1000))))


def test_the_monitor_tells_when_one_turns_bad_and_when_it_recovers(eventually: Eventually) -> None:
    check = HealthCheck(interval=0.001, failures=2)
    answers = [False, False, True]

    async def reply(_target: Target) -> bool:
        return answers.pop(0) if answers else True

    async def scenario() -> list[frozenset[str]]:
        told: list[frozenset[str]] = []
        monitor = HealthMonitor(time.monotonic, told.append, reply)
        running = asyncio.create_task(monitor.run())
        monitor.watch([replace(TARGET, check=check)])
        await eventually(lambda: len(told) == 2)
        running.cancel()
        await asyncio.wait([running])
        return told

    assert asyncio.run(scenario()) == [frozenset({"d/c/a/0"}), frozenset()]


def test_a_slow_one_delays_nobody(eventually: Eventually) -> None:
    slow, quick = (Target(name, 1, "127.0.0.1", 1, HealthCheck(interval=0.001)) for name in ("slow", "quick"))

    async def scenario() -> bool:
        asked: list[str] = []
        never = asyncio.Event()

        async def reply(target: Target) -> bool:
            asked.append(target.instance)
            return await never.wait() if target is slow else True

        monitor = HealthMonitor(time.monotonic, lambda _: None, reply)
        running = asyncio.create_task(monitor.run())
        monitor.watch([slow, quick])
        await eventually(lambda: asked.count("quick") >= 3)
        running.cancel()
        await asyncio.wait([running])
        return asked.count("slow") == 1

    assert asyncio.run(scenario())
