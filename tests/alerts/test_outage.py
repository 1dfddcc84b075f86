"""A webhook that is away for ten minutes, in every way a webhook can be: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.alerts.desk import Clock, desk, several
from tests.conftest import free_port

from divertor.alerts import Deeds, new_client, standard_alerters
from divertor.rules import Match

pytestmark = pytest.mark.anyio
Matches = Callable[..., Match]

OUTAGE = 600.0


@dataclass
class Hook:
    """A webhook on a port of its own; `failing` says how it answers while it is away."""

    clock: Clock
    away: bool = True
    tried: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    moments: list[float] = field(default_factory=list)

    @contextmanager
    def serving(self, port: int) -> Iterator[None]:
        hook, ways = self, itertools.cycle(("500", "429", "silence", "cut", "503"))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                key = self.headers["idempotency-key"]
                hook.moments.append(hook.clock.seconds)
                if not hook.away:
                    hook.taken[key] += 1
                    self.send_response(200)
                    self.end_headers()
                    return
                way = next(ways)
                hook.tried[way] += 1
                if way == "silence":
                    threading.Event().wait(0.3)  # longer than the rule waits
                elif way != "cut":
                    self.send_response(int(way))
                    if way == "429":
                        self.send_header("retry-after", "45")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def is_past(clock: Clock, seconds: float) -> bool:
    return clock.seconds > seconds


async def nothing(*_: Any) -> None:
    """Nobody who would do it."""


async def test_a_webhook_that_fails_for_ten_minutes_costs_nothing_and_doubles_nothing(
    broker: Any, match: Matches
) -> None:
    clock = Clock()
    port, healthy_port = free_port(), free_port()
    hook, healthy = Hook(clock), Hook(clock, away=False)
    wanted = match(
        alert="post",
        http_post_url=[f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{healthy_port}/"],
        http_post_timeout=0.15,
    )
    with healthy.serving(healthy_port):
        async with new_client() as client:
            deeds = Deeds(nothing, nothing, nothing, clock.wall)
            alerters = standard_alerters(client, deeds, logging.getLogger())
            async with desk(broker, alerters, clock=clock) as here:
                await here.dispatch(several(wanted, 40))
                # Nobody listens at all, then the server is there and fails in turns, then it is well.
                await here.until(lambda: clock.seconds > 120)
                assert len(healthy.taken) == 40 and max(healthy.moments) < 60
                with hook.serving(port):
                    await here.until(lambda: clock.seconds > OUTAGE)
                    assert here.dispatcher.status().waiting == 40 and not hook.taken
                    hook.away = False
                    await here.drain()
    assert len(hook.tried) >= 4, "it failed in several ways"
    assert len(hook.taken) == 40 and set(hook.taken.values()) == {1}
    assert set(healthy.taken.values()) == {1}
    assert len(here.ends()) == 80 and all(ok for _name, ok, _attempts in here.ends())
    assert clock.seconds < OUTAGE + 300, "it was noticed soon that the webhook is back"


async def test_a_restart_in_the_middle_of_an_outage_changes_nothing(broker: Any, match: Matches) -> None:
    clock, port = Clock(), free_port()
    hook = Hook(clock, away=False)
    wanted = match(alert="post", http_post_url=f"http://127.0.0.1:{port}/")
    async with new_client() as client:
        alerters = standard_alerters(
            client, Deeds(nothing, nothing, nothing, clock.wall), logging.getLogger()
        )
        for turn in range(4):
            async with desk(broker, alerters, clock=clock) as here:
                await here.dispatch(several(wanted, 10), seq=1, again=turn > 0)
                await here.until(partial(is_past, clock, (turn + 1) * 60.0))
        with hook.serving(port):
            async with desk(broker, alerters, clock=clock) as here:
                here.rules = {"r": wanted.rule}
                await asyncio.sleep(0)
                await here.drain()
    assert len(hook.taken) == 10 and set(hook.taken.values()) == {1}
