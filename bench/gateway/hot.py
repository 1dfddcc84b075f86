"""Changes while customers are served: how many requests were made meanwhile, and how many failed.

The real agent changes a real Envoy, started as the supervisor starts it. Two load generators ask without
pause: one keeps its connections, one opens a new connection for each request. Whatever is not a whole answer
with a status below 400 counts as failed. A change that is not seen to take effect counts as one
failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import load
from bench.contenders import CORES, new_port, running
from bench.gateway import lineup
from bench.gateway.lineup import SECRET, Versions, session
from bench.gateway.reaction import isolation
from bench.gateway.throughput import served_by
from divertor.envoy.plan import Endpoint, Gate, Host, Listener, Route, Snapshot, Upstream
from divertor.gateway.agent import Agent
from divertor.gateway.process import envoy_process, paths_of, prepare
from divertor.gateway.sink import TableSink
from divertor.layout import Layout
from divertor.model.traffic import Tls

STEPS = 100
SERVICES = 20
GATEWAYS = 20
CERTIFICATES = 20
RESTARTS = 20
KEYS = 20_000
#: Seconds of load before the first change and after the last.
MARGIN = 0.5
#: Seconds a change may take to be seen.
_PATIENCE = 20.0
_CONNECTIONS = {"kept": 8, "new": 4}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One kind of change: how often it was made, and what became of the requests meanwhile."""

    name: str
    changes: int
    requests: int
    failures: int
    said: str = ""


@dataclass(slots=True)
class _Stage:
    """The gateway under change: an agent, what it serves now, and room for more."""

    folder: Path
    versions: Versions
    port: int
    tls_port: int
    taken: set[int]
    layout: Layout
    agent: Agent
    task: asyncio.Task[None]
    refusals: list[str]

    async def apply(self, snapshot: Snapshot) -> None:
        """:raises RuntimeError: Envoy refused it."""
        self.agent.want(snapshot)
        await self.agent.settled()
        if self.refusals:
            raise RuntimeError(f"Envoy refused a change: {self.refusals[0]}")

    async def restart(self) -> None:
        """The agent ends wherever it is, and another one begins."""
        await self.stop()
        self.agent = Agent(paths_of(self.layout), lambda _: None, self.refusals.append)
        self.task = asyncio.create_task(self.agent.run())

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def measure(folder: Path, say: Callable[[str], None]) -> list[Outcome]:
    """Every kind of change, one after the other, on one gateway.

    :raises RuntimeError: the gateway does not start.
    """
    folder.mkdir()
    return asyncio.run(_measure(folder, say))


async def _measure(folder: Path, say: Callable[[str], None]) -> list[Outcome]:
    kinds: list[tuple[str, Callable[[_Stage], Awaitable[int]], bool]] = [
        ("weights 0 → 100", _weights, False),
        ("services added and removed", _services, False),
        ("gateways added and removed", _gateways, False),
        ("agent restarted in the middle of a change", _restarts, False),
        ("keys isolated and released, the table growing", _keys, False),
        ("TLS certificates replaced", _certificates, True),
    ]
    outcomes = []
    async with _staged(folder) as stage:
        for name, change, encrypted in kinds:
            say(f"hot: {name}")
            await stage.apply(_snapshot(stage, 100))
            outcomes.append(await _under_load(stage, name, change, encrypted))
    return outcomes


@asynccontextmanager
async def _staged(folder: Path) -> AsyncIterator[_Stage]:
    taken: set[int] = set()
    async with AsyncExitStack() as stack:
        versions = stack.enter_context(lineup.backend(folder / "backend", taken))
        layout = Layout(folder / "gateway")
        layout.create()
        prepare(layout)
        _certify(folder, 0)
        refusals: list[str] = []
        agent = Agent(paths_of(layout), lambda _: None, refusals.append)
        ports = new_port(taken), new_port(taken)
        task = asyncio.create_task(agent.run())
        stage = _Stage(folder, versions, *ports, taken, layout, agent, task, refusals)
        stack.push_async_callback(stage.stop)
        await stage.apply(_snapshot(stage, 100))
        spec = envoy_process(layout)
        await asyncio.to_thread(
            stack.enter_context,
            running("Divertor", ports[0], spec.argv, dict(spec.env), CORES, folder / "envoy.log"),
        )
        yield stage


async def _under_load(
    stage: _Stage, name: str, change: Callable[[_Stage], Awaitable[int]], encrypted: bool
) -> Outcome:
    url = f"https://127.0.0.1:{stage.tls_port}/" if encrypted else f"http://127.0.0.1:{stage.port}/"
    loads = [await _load(url, kind, many) for kind, many in _CONNECTIONS.items()]
    await asyncio.sleep(MARGIN)
    changes, broken = 0, ""
    try:
        changes = await change(stage)
    except (RuntimeError, OSError) as problem:
        broken = str(problem)
    finally:
        await asyncio.sleep(MARGIN)
        told = [await _told(each) for each in loads]
    counts = [_counted(each) for each in told]
    failures = sum(failed for _, failed in counts) + bool(broken)
    said = "\n".join(filter(None, (broken, *told))) if failures else ""
    return Outcome(name, changes, sum(made for made, _ in counts), failures, said)


async def _load(url: str, kind: str, connections: int) -> asyncio.subprocess.Process:
    command = load.command(load.SESSION, ["connection: close"] if kind == "new" else [])
    command[command.index(f"-c{load.CONNECTIONS}")] = f"-c{connections}"
    return await asyncio.create_subprocess_exec(*command, "-d600", url, stdout=subprocess.PIPE)


async def _told(process: asyncio.subprocess.Process) -> str:
    process.send_signal(signal.SIGINT)
    output, _ = await process.communicate()
    return output.decode()


def _counted(told: str) -> tuple[int, int]:
    """Requests that were answered and requests that failed, in wrk's words."""
    made = int(load.found(r"(\d+) requests in", told))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    failed = int(bad[1]) if bad else 0
    return made, failed + sum(map(int, broken.groups())) if broken else failed


# What is changed ------------------------------------------------------------------------------------------


async def _weights(stage: _Stage) -> int:
    for weight in range(STEPS + 1):
        await stage.apply(_snapshot(stage, 100 - weight))
    await _until(stage, "audited")
    return STEPS


async def _services(stage: _Stage) -> int:
    """A third version comes, takes half of the requests, goes, and its process ends."""
    for turn in range(SERVICES):
        with ExitStack() as stack:
            backend = lineup.backend(stage.folder / f"service-{turn}", stage.taken)
            extra = await asyncio.to_thread(stack.enter_context, backend)
            more = Upstream(f"service {turn}", (Endpoint("127.0.0.1", extra.audited),))
            await stage.apply(_snapshot(stage, 50, (more,)))
            await _until(stage, "audited")
            await stage.apply(_snapshot(stage, 100))
            await asyncio.to_thread(stack.close)
    return 2 * SERVICES


async def _gateways(stage: _Stage) -> int:
    """Another port comes and goes."""
    for _ in range(GATEWAYS):
        port = new_port(stage.taken)
        plain = _snapshot(stage, 100)
        more = replace(plain.listeners[0], name=f"shop/{port}", port=port)
        await stage.apply(replace(plain, listeners=(*plain.listeners, more)))
        await _until(stage, "newest", port)
        await stage.apply(plain)
    return 2 * GATEWAYS


async def _restarts(stage: _Stage) -> int:
    """The agent is stopped at one moment after the other of a change; its successor makes another."""
    for turn in range(RESTARTS):
        stage.agent.want(_snapshot(stage, turn % 2 * 100, (_another(stage, turn),)))
        await asyncio.sleep(turn * 0.001)
        await stage.restart()
        await stage.apply(_snapshot(stage, turn % 2 * 100))
    await _until(stage, "newest")
    return RESTARTS


async def _keys(stage: _Stage) -> int:
    sink = TableSink(stage.layout, SECRET, lambda: datetime.now(UTC))
    with contextlib.closing(sink):
        for number in range(KEYS):
            sink.put(isolation(session(number)))
            if number % 50 == 0:
                await asyncio.sleep(0)
        if await asyncio.to_thread(served_by, stage.port, session(KEYS - 1)) != "audited":
            raise RuntimeError("an isolated session is not diverted")
        for number in range(KEYS):
            sink.remove(isolation(session(number)))
            if number % 50 == 0:
                await asyncio.sleep(0)
        if await asyncio.to_thread(served_by, stage.port, session(KEYS - 1)) != "newest":
            raise RuntimeError("a released session is still diverted")
    return 2 * KEYS


async def _certificates(stage: _Stage) -> int:
    for serial in range(1, CERTIFICATES + 1):
        await asyncio.to_thread(_certify, stage.folder, serial)
        wanted = (stage.folder / "tls.crt").read_text()
        address = ("127.0.0.1", stage.tls_port)
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while (await asyncio.to_thread(ssl.get_server_certificate, address)).split() != wanted.split():
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError("a new certificate is not served")
            await asyncio.sleep(0.02)
    return CERTIFICATES


async def _until(stage: _Stage, version: str, port: int = 0) -> None:
    """Until a request is answered by `version`; a port that was just opened may not accept at once."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while await asyncio.to_thread(_answering, port or stage.port) != version:
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{version} never answers")


def _answering(port: int) -> str | None:
    try:
        return served_by(port, session(1))
    except ConnectionRefusedError:
        return None


# What is served -------------------------------------------------------------------------------------------


def _snapshot(stage: _Stage, newest: int, more: tuple[Upstream, ...] = ()) -> Snapshot:
    """Two ports, one with TLS. The newest version gets `newest` per cent, the last of the others the rest."""
    plain = lineup.snapshot(stage.port, stage.versions, isolates=True)
    last = more[-1].name if more else "audited"
    routes = (Route("newest", "newest", newest), Route(last, last, 100 - newest))
    gate = replace(plain.listeners[0].hosts[0].gate, routes=routes)
    encrypted = Listener(
        "shop/443",
        "127.0.0.1",
        stage.tls_port,
        (Host(Gate("shop/443", routes)),),
        tls=Tls(str(stage.folder / "tls.crt"), str(stage.folder / "tls.key")),
    )
    open_port = replace(plain.listeners[0], hosts=(Host(gate),))
    return Snapshot((open_port, encrypted), (*plain.upstreams, *more))


def _another(stage: _Stage, turn: int) -> Upstream:
    return Upstream(f"restart {turn}", (Endpoint("127.0.0.1", stage.versions.audited),))


def _certify(folder: Path, serial: int) -> None:
    """A new key and certificate, renamed into place as certificate managers do it."""
    draft = folder / "draft"
    request = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509", "-days", "2"]
    names = ["-subj", f"/CN=shop-{serial}.example", "-addext", "subjectAltName=DNS:shop.example"]
    files = ["-keyout", f"{draft}.key", "-out", f"{draft}.crt"]
    subprocess.run(
        [load.program("openssl"), "req", *request, *names, *files], check=True, capture_output=True
    )
    for kind in ("key", "crt"):
        Path(f"{draft}.{kind}").replace(folder / f"tls.{kind}")
