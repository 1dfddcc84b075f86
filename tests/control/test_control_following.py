"""Workers on a real stream: restarts, rebuilt windows, replicas, checkpoints on disk."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.control.test_control_rules import Pager, until

from divertor.alerts import Alerter
from divertor.bus import Bus, State
from divertor.control import following
from divertor.control.checkpoints import SMALL, Checkpoints
from divertor.control.judging import Judge
from divertor.control.leading import KIND, LEASE, NAME, Lead
from divertor.control.rules import COUNTED, Rules
from divertor.errors import UnavailableError
from divertor.model.events import Event
from divertor.rules import IsolateOptions, Match, load_rule
from divertor.store import EventStore

pytestmark = pytest.mark.anyio

FIVE = "name: five\ntype: frequency\nindex: logs\nnum_events: 5\ntimeframe: {hours: 1}\nalert: debug\n"


def wall() -> datetime:
    return datetime.now(UTC)


def events(first: int, last: int) -> list[Event]:
    now = wall()
    return [Event(f"e{number}", "log", now, now, ("logs",)) for number in range(first, last + 1)]


class World:
    """What a worker has around it."""

    def __init__(self, rules: Rules, bus: Bus, pager: Pager) -> None:
        self.rules, self.bus, self.pager = rules, bus, pager

    async def judged(self) -> None:
        last = (await self.bus.position()).last
        await until(lambda: self.rules.worker.judge.seq >= last)


async def nobody(_match: Match, _options: IsolateOptions) -> None:
    """Nobody is isolated."""


@asynccontextmanager
async def worker(
    broker: Any, folder: Path, name: str = "plane", *, store: EventStore | None = None, judges: bool = True
) -> AsyncIterator[World]:
    bus = await Bus.connect(broker.url, broker.password, name)
    pager = Pager()
    alerters: dict[str, Alerter] = {"debug": pager}

    async def publish(_events: list[Event]) -> None:
        """Nobody listens."""

    rules = Rules(
        State(bus), bus, store, alerters, publish, nobody, wall, folder=folder, name=name, judges=judges
    )
    await rules.load(None)
    running = asyncio.create_task(rules.run())
    try:
        if judges:
            await rules.worker.started()
        yield World(rules, bus, pager)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.close()


async def test_windows_go_on_from_the_checkpoint_after_a_restart(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path) as here:
        await here.rules.put("five", FIVE, "me")
        await here.bus.publish(events(1, 3))
        await here.judged()
    async with worker(broker, tmp_path) as again:
        await again.bus.publish(events(4, 5))
        await until(lambda: again.pager.delivered == ["e5"])
    assert (tmp_path / "plane.checkpoint").stat().st_mode & 0o777 == 0o600


async def test_matches_are_counted_on_after_a_restart(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path) as here:
        await here.rules.put("five", FIVE + "realert: {minutes: 0}\n", "me")
        await here.bus.publish(events(1, 5))
        await here.judged()
        before = here.rules.get("five")
    async with worker(broker, tmp_path) as again:
        await again.bus.publish(events(6, 10))
        await again.judged()
        after = again.rules.get("five")
        assert (before.matches, after.matches) == (1, 2) and after.since == before.since
        assert after.last_event is not None and before.last_event is not None
        assert after.last_event > before.last_event


async def test_a_process_that_does_not_judge_knows_what_the_worker_counted(
    broker: Any, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, "one") as one:
        await one.rules.put("five", FIVE, "me")
        await one.bus.publish(events(1, 5))
        await one.judged()
        counted = one.rules.worker.judge.tally
        await State(one.bus).put(COUNTED, COUNTED, counted.to_json())
        async with worker(broker, tmp_path, "plane", judges=False) as plane:
            await until(lambda: plane.rules.get("five").matches)
            assert plane.rules.get("five").matches == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"divertor rules checkpoint\nx"], ids=repr)
async def test_windows_are_rebuilt_from_the_stream_without_a_checkpoint(
    broker: Any, tmp_path: Path, damage: bytes
) -> None:
    async with worker(broker, tmp_path) as here:
        await here.rules.put("five", FIVE, "me")
        await here.bus.publish(events(1, 3))
        await here.judged()
    (tmp_path / "plane.checkpoint").write_bytes(damage)
    async with worker(broker, tmp_path) as again:
        await again.bus.publish(events(4, 5))
        await until(lambda: again.pager.delivered == ["e5"])


async def test_windows_are_rebuilt_from_the_store_where_the_stream_is_too_short(
    broker: Any, tmp_path: Path
) -> None:
    store = await EventStore.open(tmp_path / "events.duckdb")
    await store.append(1, events(1, 3), "before")
    bus = await Bus.connect(broker.url, broker.password, "test")
    await State(bus).put("rules", "five", {"text": FIVE})
    await bus.close()
    async with worker(broker, tmp_path, store=store) as here:
        await here.bus.publish(events(4, 5))
        await until(lambda: here.pager.delivered == ["e5"])
    await store.close()


async def test_of_two_workers_one_tells(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path, "one") as first, worker(broker, tmp_path, "two") as second:
        await first.rules.put("five", FIVE + "realert: {minutes: 0}\n", "me")
        await until(lambda: second.rules.list())
        await first.bus.publish(events(1, 20))
        await first.judged()
        await second.judged()
        await until(lambda: len(first.pager.delivered + second.pager.delivered) == 4)
        assert second.rules.get("five").matches == 4, "the other judges as well"
        assert not second.pager.delivered


async def test_another_worker_goes_on_when_the_first_ends(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path, "two") as second:
        async with worker(broker, tmp_path, "one") as first:
            await first.rules.put("five", FIVE, "me")
            await until(lambda: second.rules.list())
            await first.bus.publish(events(1, 3))
            await first.judged()
        await second.bus.publish(events(4, 5))
        await until(lambda: second.pager.delivered == ["e5"])


async def test_an_unchanged_rule_keeps_its_windows_when_another_changes(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path) as here:
        await here.rules.put("five", FIVE, "me")
        await here.bus.publish(events(1, 3))
        await here.judged()
        await here.rules.put("other", FIVE.replace("five", "other"), "me")
        await here.bus.publish(events(4, 5))
        await until(lambda: here.pager.delivered == ["e5"])


async def test_the_status_says_what_waits_and_how_far_behind_it_is(broker: Any, tmp_path: Path) -> None:
    async with worker(broker, tmp_path) as here:
        status = here.rules.status()
        assert status["worker"]["leads"] and status["worker"]["behind"] == 0
        assert status["outbox"]["waiting"] == 0
        await until(lambda: here.rules.worker.judge.seq >= 0)


# --- who leads ------------------------------------------------------------------------------------------


async def test_one_leads_until_it_dies_and_its_frontier_is_kept(broker: Any) -> None:
    now = wall()
    moment = [now]
    bus = await Bus.connect(broker.url, broker.password, "test")
    one, two = (Lead(State(bus), name, lambda: moment[0]) for name in ("one", "two"))
    await one.begin()
    await two.begin()
    assert one.leads and not two.leads
    one.said("epoch", 7)
    await one.record()
    moment[0] = now + timedelta(seconds=LEASE / 2)
    await two.record()
    assert not two.leads and two.frontier == 7 and two.holder == "one"
    moment[0] = now + timedelta(seconds=LEASE * 2)
    await two.record()
    assert two.leads and not one.leads and two.frontier == 7
    await one.record()
    assert one.holder == "two"
    await bus.close()


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, SMALL + 1], ids=["in the process", "by a child"])
async def test_a_checkpoint_counts_when_it_is_committed(tmp_path: Path, size: int) -> None:
    judge = Judge([load_rule(FIVE, "five")])
    judge.epoch, judge.seq = "e", 5
    kept = Checkpoints(tmp_path, "one")
    kept._size = size
    await kept.write(judge)
    assert kept.read("e", 10) is None
    await kept.commit()
    found = kept.read("e", 10)
    assert found is not None and found.mark.seq == 5 and "five" in found.snapshot.rules


@pytest.mark.parametrize("size", [0, SMALL + 1], ids=["in the process", "by a child"])
async def test_a_disk_that_refuses_says_why_and_keeps_no_half_checkpoint(tmp_path: Path, size: int) -> None:
    judge = Judge([load_rule(FIVE, "five")])
    kept = Checkpoints(tmp_path, "one")
    kept._size = size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(UnavailableError, match="File too large"):
            await kept.write(judge)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path)
    await kept.write(judge)


async def test_without_room_for_a_child_the_system_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(UnavailableError, match="temporarily unavailable"):
        await Checkpoints(tmp_path, "one").write(Judge([]))


@pytest.mark.parametrize(
    ("make", "patience", "why"),
    [(os.mkdir, 60, "Is a directory"), (os.mkfifo, 0.1, "not written within 0.1 s")],
    ids=["refused", "slow"],
)
async def test_without_a_last_checkpoint_another_worker_leads_at_once_all_the_same(
    broker: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    patience: float,
    why: str,
) -> None:
    monkeypatch.setattr(following, "_LAST", 60)
    monkeypatch.setattr(following, "_LAST_CHECKPOINT", patience)
    make(tmp_path / "plane.checkpoint.new")
    async with worker(broker, tmp_path) as here:
        await here.bus.publish(events(1, 3))
        await here.judged()
    bus = await Bus.connect(broker.url, broker.password, "test")
    lead = await State(bus).get(KIND, NAME)
    await bus.close()
    assert lead is not None and lead.value["until"] == 0.0
    assert "no last checkpoint" in caplog.text and why in caplog.text


async def test_a_child_that_writes_does_not_outlive_the_worker(tmp_path: Path) -> None:
    """It has a copy of the lock on the worker's name, which the next worker of that name needs."""
    program = """if True:
        import os, signal, sys
        from pathlib import Path
        from divertor.control.checkpoints import Checkpoints
        print(Checkpoints(Path(sys.argv[1]), "one")._fork(lambda: (signal.pause() for _ in "x")), flush=True)
        signal.pause()
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    child = os.pidfd_open(int(await process.stdout.readline()))
    process.kill()
    await process.wait()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(child, ended.set)
    async with asyncio.timeout(10):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(child)
    os.close(child)


async def test_a_checkpoint_of_another_stream_or_beyond_its_end_is_none(tmp_path: Path) -> None:
    judge = Judge([])
    judge.epoch, judge.seq = "e", 5
    kept = Checkpoints(tmp_path, "one")
    await kept.write(judge)
    await kept.commit()
    assert kept.read("other", 10) is None and kept.read("e", 4) is None


async def test_a_new_worker_begins_where_another_one_is(tmp_path: Path) -> None:
    for name, seq in (("one", 5), ("two", 9)):
        judge = Judge([])
        judge.epoch, judge.seq = "e", seq
        kept = Checkpoints(tmp_path, name)
        await kept.write(judge)
        await kept.commit()
    found = Checkpoints(tmp_path, "three").read("e", 10)
    assert found is not None and found.mark.seq == 9
