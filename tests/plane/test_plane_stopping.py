"""Real processes that are told to end while the broker has just been restarted, is gone, or says nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import free_port
from tests.control.test_control_rules import until

from divertor.bus import Bus, State
from divertor.cli.preparing import create_tokens
from divertor.control.leading import KIND, NAME
from divertor.errors import UnavailableError
from divertor.gateway.process import prepare
from divertor.layout import Layout, Settings
from divertor.model.events import Event
from divertor.plane.outbox import Outbox
from divertor.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio

RULE = "name: every\ntype: any\nindex: logs\nrealert: {minutes: 0}\nalert: debug\n"


def restarted(broker: Any) -> None:
    broker.kill()
    broker.start()


def gone(broker: Any) -> None:
    broker.kill()


def frozen(broker: Any) -> None:
    broker.signal(signal.SIGSTOP)


@pytest.fixture
def layout(tmp_path: Path, broker: Any) -> Layout:
    """An installation on this broker."""
    made = Layout(tmp_path / "state")
    made.create()
    rules = made.root / "rules"
    rules.mkdir()
    (rules / "every.yaml").write_text(RULE)
    made.write_settings(Settings(nats_port=broker.port, api_port=free_port(), rules=str(rules)))
    broker.kill()
    broker.password = made.read_secrets().nats_password
    broker.start()
    return made


class Process:
    """One of our own, with its log."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen, self._log = popen, log

    def last(self) -> str:
        """The last line that it logged."""
        return (self._log.read_text().splitlines() or [""])[-1]

    async def says(self, text: str) -> None:
        await until(lambda: text in self._log.read_text())

    async def ended(self) -> int:
        """Its exit status; 0 also says that it was not cut short at its bound."""
        await until(lambda: self.popen.poll() is not None)
        return int(self.popen.returncode)


@contextmanager
def started(module: str, layout: Layout) -> Iterator[Process]:
    path = layout.root / "said"
    with path.open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", module, str(layout.root)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield Process(popen, path)
    finally:
        if popen.poll() is None:
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


@pytest.mark.parametrize("trouble", [restarted, gone, frozen])
async def test_a_worker_ends_in_order(layout: Layout, broker: Any, trouble: Callable[[Any], None]) -> None:
    with started("divertor.plane.rules", layout) as worker:
        await worker.says("leads the rules")
        trouble(broker)
        worker.popen.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        assert worker.last().endswith("SIGTERM: ended in order")


@pytest.mark.parametrize("trouble", [restarted, frozen])
async def test_the_control_plane_ends_in_order(
    layout: Layout, broker: Any, trouble: Callable[[Any], None]
) -> None:
    create_tokens(layout)
    prepare(layout)
    async with Supervisor(layout.run):
        with started("divertor.plane", layout) as plane:
            await plane.says("leads the rules")
            trouble(broker)
            plane.popen.send_signal(signal.SIGTERM)
            assert await plane.ended() == 0
            assert plane.last().endswith("SIGTERM: ended in order")


async def test_a_worker_that_waits_for_its_broker_at_the_start_ends_when_told(
    layout: Layout, broker: Any
) -> None:
    frozen(broker)
    with started("divertor.plane.rules", layout) as worker:
        await until(lambda: (layout.checkpoints / "worker-1.lock").exists())
        worker.popen.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0


async def test_who_ends_in_order_leaves_a_checkpoint_and_the_lead(layout: Layout, broker: Any) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    with started("divertor.plane.rules", layout) as worker:
        await worker.says("leads the rules")
        last = await bus.publish([event(number) for number in range(10)])
        worker.popen.send_signal(signal.SIGTERM)
        await worker.ended()
    lead = await State(bus).get(KIND, NAME)
    await bus.close()
    assert lead is not None and lead.value["until"] == 0.0 and int(lead.value["seq"]) <= last
    assert (layout.checkpoints / "worker-1.checkpoint").exists()


async def test_events_of_our_own_that_wait_are_sent_at_the_end(broker: Any) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    outbox = Outbox(bus)
    outbox.put([event(number) for number in range(1200)])
    await outbox.flush(5.0)
    assert (await bus.position()).last == 3
    await bus.close()


@pytest.mark.parametrize("trouble", [gone, frozen])
async def test_a_broker_that_is_away_delays_the_end_of_the_outbox_by_no_more_than_its_time(
    broker: Any, trouble: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    outbox = Outbox(bus)
    trouble(broker)
    outbox.put([event(1)])
    await outbox.flush(0.1)
    await bus.close()
    assert "1 events of our own did not reach the broker" in caplog.text


async def test_the_outbox_ends_with_the_bus(broker: Any) -> None:
    bus = await Bus.connect(broker.url, broker.password, "test")
    outbox = Outbox(bus)
    await bus.close()
    outbox.put([event(1)])
    with pytest.raises(UnavailableError):
        await outbox.run()


def event(number: int) -> Event:
    now = datetime.now(UTC)
    return Event(f"e{number}", "log", now, now, ("logs",))
