"""Kill a rule worker again and again under load, and count what arrives: `python -m bench.rules_kill`.

A real broker, a real worker process, a real HTTP endpoint on loopback. Events are published all the time; the
worker is killed with SIGKILL at random moments and started again. Afterwards the same stream is judged once
more by a judge that nobody interrupts: what that one tells must have arrived, each delivery under one key.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvloop

from divertor.bus import Bus, State, server_binary, server_config
from divertor.control.judging import Judge
from divertor.control.leading import KIND as LEAD
from divertor.control.leading import NAME as LEADER
from divertor.layout import Layout, Settings
from divertor.model.events import Event
from divertor.plane.rules import run
from divertor.rules import Notification, load_rules
from divertor.rules.alarms import identity

RULES = {
    "every": "type: any\nrealert: {minutes: 0}\nfilter: [{term: {kind: rare}}]\n",
    "often": "type: frequency\nnum_events: 7\ntimeframe: {seconds: 30}\nquery_key: user\n"
    "realert: {minutes: 0}\n",
    "quiet": "type: frequency\nnum_events: 5\ntimeframe: {seconds: 30}\nquery_key: user\n"
    "realert: {seconds: 1}\n",
    "fresh": "type: new_term\nfields: [path]\nrealert: {minutes: 0}\n",
    "wide": "type: cardinality\ncardinality_field: path\nmax_cardinality: 30\ntimeframe: {seconds: 5}\n"
    "query_key: user\nrealert: {seconds: 2}\n",
    "gathered": "type: any\nrealert: {minutes: 0}\naggregation: {seconds: 2}\n"
    "filter: [{term: {kind: rare}}]\n",
}


@dataclass
class Inbox:
    """An endpoint that counts what it is sent, by delivery key."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address."""
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                content = self.rfile.read(size)
                if len(content) < size:
                    return  # the sender was killed in the middle of it
                said = json.loads(content)
                with inbox.lock:
                    inbox.counts[f"{said['rule']} {self.headers['idempotency-key']}"] += 1
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A sender that was killed resets its connections."""

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: kills, published events, deliveries that should have arrived, and what did."""

    kills: int
    events: int
    expected: int
    missing: int
    unexpected: int
    repeated: int
    seconds: float
    recovery: Sequence[float]

    @property
    def is_exact(self) -> bool:
        """Whether every delivery arrived, and no other."""
        return not self.missing and not self.unexpected


class Workers:
    """Worker processes, forked from a process that has imported everything already."""

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self._layout = layout
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["divertor.plane.rules"])
        self._running: dict[str, Any] = {}
        self.names = tuple(names)

    def start(self, name: str) -> None:
        process = self._context.Process(target=run, args=(self._layout, name), daemon=True)
        process.start()
        self._running[name] = process

    def kill(self, name: str) -> None:
        """As the kernel would."""
        process = self._running.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)


async def campaign(
    root: Path,
    *,
    kills: int,
    seed: int = 1,
    rate: int = 300,
    pause: tuple[float, float] = (0.05, 1.0),
    workers: int = 1,
) -> Outcome:
    """Publish `rate` events a second; kill one of the workers after a pause within `pause` seconds, `kills`
    times; then compare."""
    chance = random.Random(seed)
    begun = time.monotonic()
    inbox = Inbox()
    with inbox.serving() as address, broker(root) as (layout, password, port):
        write_rules(layout.root / "rules", address)
        bus = await Bus.connect(f"nats://127.0.0.1:{port}", password, "bench", timeout=20)
        flock = Workers(layout, [f"w{number}" for number in range(workers)])
        try:
            for name in flock.names:
                flock.start(name)
            await until(lambda: following(bus), 60)
            publishing = Publishing(bus, rate, chance)
            task = asyncio.create_task(publishing.run())
            recovery = [await kill_one(flock, bus, chance, pause) for _ in range(kills)]
            publishing.stop = True
            await task
            expected = await expectation(bus, layout.root / "rules")
            await until(lambda: settled(bus, inbox, expected), 90)
        finally:
            flock.kill_all()
            await bus.close()
    arrived = set(inbox.counts)
    for name in sorted(arrived - expected):
        print("unexpected:", name, file=sys.stderr)
    for name in sorted(expected - arrived):
        print("missing:", name, file=sys.stderr)
    return Outcome(
        kills,
        publishing.published,
        len(expected),
        len(expected - arrived),
        len(arrived - expected),
        sum(count - 1 for count in inbox.counts.values()),
        time.monotonic() - begun,
        recovery,
    )


async def kill_one(flock: Workers, bus: Bus, chance: random.Random, pause: tuple[float, float]) -> float:
    """Kill a worker at a random moment, start it again; seconds until somebody leads and has caught up."""
    await asyncio.sleep(chance.uniform(*pause))
    name = chance.choice(flock.names)
    flock.kill(name)
    begun = time.monotonic()
    reached = (await bus.position()).last
    flock.start(name)
    if chance.random() < 0.5:  # the other half is killed while it is still recovering
        await until(lambda: said(bus, reached), 60)
    return time.monotonic() - begun


async def said(bus: Bus, seq: int) -> bool:
    """Whether everything up to there is in the outbox."""
    entry = await State(bus).get(LEAD, LEADER)
    return entry is not None and int(entry.value["seq"]) >= seq


async def following(bus: Bus) -> bool:
    """Whether a worker follows the stream."""
    return await State(bus).get(LEAD, LEADER) is not None and bool(await State(bus).list("rule-workers"))


async def settled(bus: Bus, inbox: Inbox, expected: set[str]) -> bool:
    """Whether nothing more is to come."""
    waiting = [entry for entry in (await State(bus).list("outbox")).values() if "lane" in entry.value]
    caught_up = await said(bus, (await bus.position()).last - 1)
    return caught_up and not waiting and (expected <= set(inbox.counts) or len(inbox.counts) >= len(expected))


@dataclass
class Publishing:
    """Events that never end."""

    bus: Bus
    rate: int
    chance: random.Random
    published: int = 0
    stop: bool = False

    async def run(self) -> None:
        while not self.stop:
            count = self.chance.randint(1, max(2, self.rate // 10))
            await self.bus.publish([self._event() for _ in range(count)])
            await asyncio.sleep(count / self.rate)

    def _event(self) -> Event:
        self.published += 1
        now, chance = datetime.now(UTC), self.chance
        body = {
            "user": f"u{chance.randrange(20)}",
            "path": f"/{chance.randrange(400)}",
            "kind": "rare" if chance.random() < 0.02 else "common",
        }
        return Event(f"{self.published:032x}", "log", now, now, ("logs",), (), None, body)


async def expectation(bus: Bus, folder: Path) -> set[str]:
    """The keys of all deliveries that a judge makes of the whole stream whom nobody interrupts."""
    rules = load_rules(folder)
    judge, found = Judge(rules), list[Notification]()
    # What is being gathered still has to come: time goes on until it has.
    last = (await bus.position()).last
    async with asyncio.timeout(60):
        async for batch in bus.events(1):
            found += judge.take(batch)
            if batch.seq >= last and not len(judge.gatherer):
                break
    return {key for notification in found for key in keys_of(notification)}


def keys_of(notification: Notification) -> Iterator[str]:
    """The rule and the key of each request: `post` sends one for each match that was gathered."""
    key = f"{notification.rule.name} {identity(notification.id, '0', '0')}"
    for number in range(len(notification.matches)):
        yield f"{key}-{number}" if number else key


def write_rules(folder: Path, address: str) -> None:
    folder.mkdir()
    for name, text in RULES.items():
        alert = f"alert: post\nhttp_post_url: {address}\nhttp_post_static_payload: {{rule: {name}}}\n"
        alert += "index: logs\n"
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{text}{alert}")


@contextmanager
def broker(root: Path) -> Iterator[tuple[Layout, str, int]]:
    """An installation's directory and a broker for it."""
    layout = Layout(root / "state")
    layout.create()
    port = free_port()
    layout.write_settings(Settings(nats_port=port, rules=str(layout.root / "rules")))
    password = layout.read_secrets().nats_password
    config = root / "nats.conf"
    config.write_text(server_config(port, layout.nats, password))
    with (root / "nats.log").open("wb") as log:
        process = subprocess.Popen([str(server_binary()), "-c", str(config)], stdout=log, stderr=log)
    try:
        yield layout, password, port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port nobody listens on, below the range clients take their own from."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


async def until(check: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """:raises TimeoutError: it does not come true."""
    async with asyncio.timeout(seconds):
        while True:
            if await check():
                return
            await asyncio.sleep(0.05)


def main() -> int:
    """Run it and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=int, default=300, help="events per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="divertor-kill-"))
    try:
        outcome = uvloop.run(
            campaign(root, kills=given.kills, seed=given.seed, rate=given.rate, workers=given.workers)
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    recovery = sorted(outcome.recovery)
    print(
        json.dumps(
            {
                "kills": outcome.kills,
                "events": outcome.events,
                "expected deliveries": outcome.expected,
                "missing": outcome.missing,
                "unexpected": outcome.unexpected,
                "sent again under the same key": outcome.repeated,
                "median recovery s": round(recovery[len(recovery) // 2], 2) if recovery else None,
                "seconds": round(outcome.seconds, 1),
            },
            indent=1,
        )
    )
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
