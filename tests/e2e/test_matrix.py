"""Every framework under every server, with the sensor in it, behind a real gateway.

One Envoy serves all of them as the control plane would have it; what is audited is one plain server. Each app
runs in its own process, and nothing in it or its command mentions the sensor.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.conftest import missing_server
from tests.e2e.matrix.combinations import COMBINATIONS, Combination
from tests.gateway.conftest import SECRET, SESSION, App, Gateway, Reply, ask, new_port
from tests.gateway.worlds import DIVERT, World, blueprint, cluster

from divertor.errors import UnavailableError
from divertor.gateway.planning import divert_token
from divertor.isolation.layout import FOREVER, fingerprint, scope_key

HERE = Path(__file__).parent
ATTACK = "' union select sql from sqlite_master --"
CITY = b"Berlin"
#: Servers that end a response which fails midway as if it were complete; each says so of any failure.
ENDING = {"granian", "uwsgi", "wsgiref", "werkzeug"}
#: Servers started before their turn comes, while others are asked.
AHEAD = 3
DEADLINE = 60.0


class Reports:
    """Where the sensors report to: the sessions that were attacked, as soon as they are known."""

    def __init__(self) -> None:
        self._seen: dict[str | None, str | None] = {}
        self._changed = threading.Condition()
        reports = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                reports._take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", new_port()), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _take(self, document: dict[str, Any]) -> None:
        for record in document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            told = {each["key"]: each["value"].get("stringValue") for each in record["attributes"]}
            with self._changed:
                self._seen[told.get("session.id")] = told.get("divertor.detection.outcome")
                self._changed.notify_all()

    def outcome(self, session: str) -> str | None:
        """What was done about the attack of `session`; waits for its report."""
        with self._changed:
            assert self._changed.wait_for(lambda: session in self._seen, DEADLINE), "no report"
            return self._seen[session]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(slots=True)
class Farm:
    """The servers, each started shortly before its turn."""

    folder: Path
    reports: str
    wanted: list[Combination]
    ports: dict[str, int]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    #: What became of the streamed attack, by framework and server.
    streams: dict[tuple[str, str], str] = field(default_factory=dict)

    def serve(self, combination: Combination) -> None:
        """Waits until it listens; the next ones are on their way."""
        at = self.wanted.index(combination)
        for each in self.wanted[at : at + AHEAD]:
            if each.name not in self.running:
                self.running[each.name] = self._start(each)
        process, deadline = self.running[combination.name], time.monotonic() + DEADLINE
        while not _listens(self.ports[combination.name]):
            assert process.poll() is None and time.monotonic() < deadline, self.log(combination)
            time.sleep(0.02)

    def stop(self, combination: Combination) -> None:
        process = self.running[combination.name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self, combination: Combination) -> str:
        return (self.folder / f"{combination.name}.log").read_text(errors="replace")[-4000:]

    def _start(self, combination: Combination) -> subprocess.Popen[bytes]:
        folder = self.folder / combination.name
        folder.mkdir()
        with closing(sqlite3.connect(folder / "shop.db")) as database:
            database.executescript(
                "create table customers (name, city); insert into customers values ('bob', 'Berlin')"
            )
        with (self.folder / f"{combination.name}.log").open("wb") as log:
            return subprocess.Popen(
                combination.arguments(self.ports[combination.name]),
                cwd=folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "DIVERTOR_SENSOR": "1",
            "DIVERTOR_MODE": "divert",
            "DIVERTOR_DIVERT_TOKEN": divert_token(DIVERT, "shop"),
            "DIVERTOR_ENDPOINT": self.reports,
            "DIVERTOR_SENSOR_STRICT": "1",
        }


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    try:
        running = Gateway(tmp_path_factory.mktemp("gw"))
        running.start()
    except UnavailableError as problem:
        missing_server(str(problem))
    yield running
    running.close()


@pytest.fixture(scope="module")
def reports() -> Iterator[Reports]:
    running = Reports()
    yield running
    running.close()


@pytest.fixture(scope="module")
def fronts(gateway: Gateway) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """The ports of the gateways, and of what stands behind them, by combination: one snapshot for all."""
    audited = App("audited")
    own = {each.name: new_port() for each in COMBINATIONS}
    front = {each.name: new_port() for each in COMBINATIONS}

    def at(service: str) -> object:
        name, _, version = service.partition(":")
        return audited if version == "audited" else Standing(own[COMBINATIONS[int(name[3:])].name])

    world = World(gateway, at)  # type: ignore[arg-type]
    live = "routes: {'%s:live': {weight: 100%%}, '%s:audited': {weight: 0%%}}"
    clusters, doors, policies = [], [], []
    for number, each in enumerate(COMBINATIONS):
        name = f"app{number}"
        clusters.append(cluster(name, "live", "audited", gateways=live % (name, name)))
        doors.append(f"{front[each.name]}: {name}")
        policies.append(f"\n  {name}: {{to: '{name}:audited', keys: [cookie session], for: 1h}}")
    world.serve(blueprint(*clusters, gateways=", ".join(doors), more=f"isolation:{''.join(policies)}"))
    yield front, own
    audited.close()


@dataclass(frozen=True, slots=True)
class Standing:
    """A server that is, or will be, at a port."""

    port: int


@pytest.fixture(scope="module")
def farm(
    request: pytest.FixtureRequest,
    reports: Reports,
    fronts: tuple[dict[str, int], dict[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Farm]:
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    asked = [call.params.get("combination") for call in calls]
    wanted = [each for each in asked if isinstance(each, Combination)]
    running = Farm(tmp_path_factory.mktemp("farm"), reports.url, wanted, fronts[1])
    yield running
    running.close()


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody at the gateway of one combination."""

    port: int
    prefix: str
    session: str

    def find(self, name: str) -> Reply:
        body, kind = urlencode({"name": name}).encode(), "application/x-www-form-urlencoded"
        return ask(self.port, "/find", "POST", body, cookie=f"session={self.session}", content_type=kind)

    def get(self, what: str, name: str) -> Reply:
        return ask(self.port, f"{self.prefix}/{what}?name={quote(name)}", cookie=f"session={self.session}")


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda each: each.name)
def test_an_attack_is_diverted_and_nothing_else_is(
    combination: Combination,
    farm: Farm,
    gateway: Gateway,
    reports: Reports,
    fronts: tuple[dict[str, int], dict[str, int]],
) -> None:
    if combination.server == "uwsgi" and find_spec("pyuwsgi") is None:
        missing_server("uWSGI is not installed")
    farm.serve(combination)
    port, name = fronts[0][combination.name], combination.name

    def customer(number: int) -> Customer:
        return Customer(port, combination.prefix, f"{name}-{number}")

    try:
        honest = customer(0)
        benign = [honest.find("bob"), honest.get("pool", "bob"), honest.get("stream", "bob")]
        assert [CITY in reply.body and reply.by is None for reply in benign] == [True] * 3, list(
            map(repr, benign)
        )
        assert customer(1).find(ATTACK).by == "audited", "in the form"
        assert customer(2).get("pool", ATTACK).by == "audited", "in a pool"
        outcome = _stream(customer(3), reports, ends=combination.server in ENDING)
        isolate(gateway, combination, customer(3).session)
        assert customer(3).find("bob").by == "audited", "after its isolation"
        assert honest.find("bob").by is None
        farm.streams[combination.framework, combination.server] = outcome
    except AssertionError:
        print(farm.log(combination))
        raise
    finally:
        farm.stop(combination)


def _stream(customer: Customer, reports: Reports, ends: bool) -> str:
    """Diverted if nothing was sent; else cut, and reported, so that the session can be isolated."""
    outcome = "cut"
    with suppress(http.client.HTTPException, OSError):
        reply = customer.get("stream", ATTACK)
        if reply.by == "audited":
            return "diverted"
        assert reply.status >= 500 or (ends and reply.body == b"first "), reply
        outcome = "ended" if ends else "cut"
    assert reports.outcome(customer.session) == "blocked"
    return outcome


def isolate(gateway: Gateway, combination: Combination, session: str) -> None:
    """As the control plane does when it hears of an attack."""
    scope = f"shop/app{COMBINATIONS.index(combination)}"
    gateway.table.put(fingerprint(scope_key(SECRET, scope, SESSION), session), FOREVER, 0)


def test_the_table(farm: Farm) -> None:
    """For reading (`pytest -s`): what became of the attack in a stream; all others were diverted."""
    servers = sorted({server for _, server in farm.streams})
    for framework in dict.fromkeys(framework for framework, _ in farm.streams):
        cells = [
            f"{server}: {farm.streams[framework, server]}"
            for server in servers
            if (framework, server) in farm.streams
        ]
        print(f"{framework:14}", ", ".join(cells))
    assert set(farm.streams.values()) <= {"cut", "diverted", "ended"}


def test_how_many_were_tried() -> None:
    assert len(COMBINATIONS) == 72
