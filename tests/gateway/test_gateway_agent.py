"""The agent brings Envoy from one snapshot to the next: nothing fails, what is refused changes nothing."""

from __future__ import annotations

import asyncio
import http.client
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.gateway.conftest import (
    SESSION,
    TOKEN,
    App,
    Gateway,
    ask,
    attack,
    isolated,
    listener,
    new_port,
    upstream,
)

from divertor.envoy.plan import Endpoint, Gate, Host, Route, Snapshot, Upstream
from divertor.errors import UnavailableError
from divertor.gateway import agent as agents
from divertor.gateway import process
from divertor.gateway.access import AccessLog
from divertor.gateway.admin import Admin, EnvoyDown
from divertor.gateway.agent import Agent
from divertor.gateway.files import ConfigFiles
from divertor.gateway.process import paths_of, prepare

Apps = Callable[..., App]


class Load:
    """Customers who never pause, each on a connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port, self.served, self.failed = port, Counter[str | None](), list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(3)]

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.served[answer.getheader("served-by")] += 1
                if answer.status != 200:
                    self.failed.append(f"{answer.status}")
            except (OSError, http.client.HTTPException) as problem:
                self.failed.append(repr(problem))
                connection.close()
        connection.close()

    def wait_for(self, more: int) -> None:
        """Until so many more requests were served."""
        wanted = sum(self.served.values()) + more
        while sum(self.served.values()) < wanted and not self.failed:
            self._stop.wait(0.005)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def routes(**weights: int) -> tuple[Route, ...]:
    return tuple(Route(f"r/{name}", name, weight) for name, weight in weights.items())


def test_a_canary_from_nothing_to_everything_costs_no_request(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    two = upstream("a", apps("a")), upstream("b", apps("b"))
    gateway.apply(Snapshot((listener(port, *routes(a=100, b=0)),), two))
    with Load(port) as load:
        for share in range(5, 101, 5):
            gateway.apply(Snapshot((listener(port, *routes(a=100 - share, b=share)),), two))
            load.wait_for(100)
    assert load.failed == [] and sum(load.served.values()) >= 2000
    assert ask(port).by == "b"


def test_versions_come_and_go_without_a_failed_request(gateway: Gateway, apps: Apps, port: int) -> None:
    old = upstream("a", apps("a"))
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (old,)))
    with Load(port) as load:
        for turn in range(6):
            new = upstream(f"b{turn}", app := apps(f"b{turn}"))
            gateway.apply(Snapshot((listener(port, *routes(**{"a": 50, f"b{turn}": 50})),), (old, new)))
            load.wait_for(60)
            gateway.apply(Snapshot((listener(port, *routes(a=100)),), (old,)))
            app.asked.clear()
            load.wait_for(60)
            assert app.asked == []
    assert load.failed == [] and load.served["b0"] > 0


def test_an_instance_is_let_go_of_before_it_is_stopped(gateway: Gateway, apps: Apps, port: int) -> None:
    """`applied` is the sign for the runtime to stop what is no longer wanted."""
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),)))
    with Load(port) as load:
        for turn in range(8):
            fresh = apps(f"a{turn}")
            gateway.apply(Snapshot((listener(port, *routes(a=100)),), (upstream("a", fresh),)))
            load.wait_for(40)
            assert load.served.keys() <= {"a", *(f"a{number}" for number in range(turn + 1))}
    assert load.failed == []


def test_a_gateway_that_goes_leaves_the_others_alone(gateway: Gateway, apps: Apps, port: int) -> None:
    other, one = new_port(), (upstream("a", apps("a")),)
    fronts = listener(port, *routes(a=100)), listener(other, *routes(a=100))
    with_both, with_one = Snapshot(fronts, one), Snapshot(fronts[:1], one)
    gateway.apply(with_both)
    with Load(port) as load:
        for _ in range(4):
            gateway.apply(with_one)
            load.wait_for(30)
            gateway.apply(with_both)
            load.wait_for(30)
    assert load.failed == [] and ask(other).by == "a"


def with_predicate(predicate: dict[str, Any]) -> Host:
    return Host(Gate("g", (Route("r", "a", 100, predicate),)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hosts": (with_predicate({"nonsense": 1}),)}, "match_type"),
        (
            {"hosts": (with_predicate({"or_matcher": {"predicate": []}}),)},
            "Predicate",
        ),
        ({"address": "not an address"}, "not an address"),
    ],
)
def test_what_envoy_refuses_changes_nothing_and_is_told_in_its_words(
    gateway: Gateway, apps: Apps, port: int, change: dict[str, Any], told: str
) -> None:
    one, good = (upstream("a", apps("a")),), listener(port, *routes(a=100))
    gateway.apply(Snapshot((good,), one))
    before = ConfigFiles(paths_of(gateway.layout)).read()
    with Load(port) as load:
        (refusal,) = gateway.refused(Snapshot((replace(good, **change),), one))
        load.wait_for(30)
    assert ConfigFiles(paths_of(gateway.layout)).read() == before
    assert "Envoy refused" in refusal and told in refusal and TOKEN not in refusal
    assert load.failed == [] and ask(port).by == "a"


def test_after_a_refusal_the_next_good_snapshot_is_served(gateway: Gateway, apps: Apps, port: int) -> None:
    two = upstream("a", apps("a")), upstream("b", apps("b"))
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), two))
    assert gateway.refused(Snapshot((listener(port, Route("r", "a", 100, {"nonsense": 1})),), two))
    gateway.apply(Snapshot((listener(port, *routes(b=100)),), two))
    assert ask(port).by == "b"


def test_a_full_disk_is_told_and_changes_nothing(
    gateway: Gateway, apps: Apps, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = upstream("a", apps("a")), upstream("b", apps("b"))
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), two))
    real = os.fsync

    def full(_: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (refusal,) = gateway.refused(Snapshot((listener(port, *routes(b=100)),), two))
    assert "No space left on device" in refusal and ask(port).by == "a"


def test_an_envoy_that_was_killed_serves_what_was_wanted_meanwhile(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    versions = upstream("a", apps("a", attack)), upstream("b", apps("b"))
    policy = isolated("b", SESSION)
    gateway.apply(Snapshot((listener(port, *routes(a=100), isolated=policy),), versions))
    gateway.isolate(SESSION, "kept")
    gateway.kill()
    other = new_port()
    fronts = [listener(at, *routes(a=100), isolated=policy) for at in (port, other)]
    gateway.apply(Snapshot(tuple(fronts), versions))
    gateway.start()
    assert _eventually(other) == "a" and _eventually(port) == "a"
    assert ask(port, cookie="session=kept").by == ask(other, cookie="session=kept").by == "b"


def _eventually(port: int) -> str | None:
    for _ in range(200):
        try:
            if by := ask(port).by:
                return by
        except ConnectionError:
            pass
        threading.Event().wait(0.02)
    return None


def test_a_restarted_control_plane_takes_away_what_the_last_one_left(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    """Every `apply` is a new agent: it knows the old clusters and files from the disk alone."""
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),)))
    gateway.apply(Snapshot((listener(port, *routes(b=100)),), (upstream("b", apps("b")),)))
    folder = gateway.layout.envoy / "xds"
    assert len(list((folder / "eds").iterdir())) == 1 and b'"a"' not in (folder / "cds/cds.json").read_bytes()
    assert ask(port).by == "b"


def test_an_unchanged_snapshot_touches_no_file(gateway: Gateway, apps: Apps, port: int) -> None:
    snapshot = Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),))
    gateway.apply(snapshot)
    folder = gateway.layout.envoy / "xds"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}
    gateway.apply(snapshot)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")} == before


def test_only_the_newest_waiting_snapshot_counts(gateway: Gateway, apps: Apps, port: int) -> None:
    two = upstream("a", apps("a")), upstream("b", apps("b"))
    applied: list[Snapshot] = []

    async def work() -> None:
        agent = Agent(paths_of(gateway.layout), applied.append, lambda problem: pytest.fail(problem))
        running = asyncio.create_task(agent.run())
        for share in range(0, 101, 10):
            agent.want(Snapshot((listener(port, *routes(a=100 - share, b=share)),), two))
        await agent.settled()
        assert agent.status.connected and agent.status.refusals == ()
        running.cancel()

    asyncio.run(work())
    assert len(applied) == 1 and ask(port).by == "b"


@pytest.mark.parametrize("kind", ["rds", "cds", "lds"])
@pytest.mark.parametrize("junk", [b"\x93junk", b"[]", b'{"resources": [1, {"name": []}]}'])
def test_files_that_somebody_damages_are_written_again(
    gateway: Gateway, apps: Apps, port: int, kind: str, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy restarts meanwhile, and so has nothing but the junk."""
    monkeypatch.setattr(agents, "CHECK", 0.05)
    snapshot = Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),))

    async def damage() -> None:
        agent = Agent(paths_of(gateway.layout), lambda _: None, gateway.refusals.append)
        running = asyncio.create_task(agent.run())
        agent.want(snapshot)
        await agent.settled()
        gateway.kill()
        for path in (gateway.layout.envoy / "xds" / kind).iterdir():
            path.write_bytes(junk)
        await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(_eventually, port) == "a"
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(damage())
    assert not gateway.refusals


def test_a_new_control_plane_mends_what_was_damaged_while_there_was_none(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    snapshot = Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),))
    gateway.apply(snapshot)
    gateway.kill()
    for path in (gateway.layout.envoy / "xds").glob("*/*.json"):
        path.write_bytes(b"junk")
    gateway.start()
    gateway.apply(snapshot)
    assert _eventually(port) == "a"


def test_the_access_log_is_the_owners_alone_also_when_it_was_begun_anew(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    """It holds session ids."""
    two = upstream("a", apps("a", attack)), upstream("b", apps("b"))
    gateway.apply(Snapshot((listener(port, *routes(a=100), isolated=isolated("b", SESSION)),), two))
    gateway.layout.access_log.rename(gateway.layout.envoy / "aside")

    async def reopen() -> None:
        admin = Admin(str(gateway.layout.envoy_admin))
        await admin.reopen_logs()
        await admin.close()

    asyncio.run(reopen())
    ask(port, "/attack", cookie="session=private")
    gateway.lines(lambda line: line["path"] == "/attack")
    assert gateway.layout.access_log.stat().st_mode & 0o777 == 0o600


def test_the_configuration_is_the_owners_alone(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (upstream("a", apps("a")),)))
    written = [*(gateway.layout.envoy / "xds").glob("*/*.json"), gateway.layout.envoy / "bootstrap.json"]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600} and len(written) >= 5
    assert gateway.layout.envoy_admin.stat().st_mode & 0o777 == 0o600


def test_the_admin_says_when_envoy_is_down(gateway: Gateway) -> None:
    async def work() -> None:
        admin = Admin(str(gateway.layout.run / "nobody.sock"))
        with pytest.raises(EnvoyDown):
            await admin.version()
        await admin.close()

    asyncio.run(work())


def test_a_log_is_rotated_under_fire_without_losing_a_line(gateway: Gateway, apps: Apps, port: int) -> None:
    versions = upstream("a", apps("a")), upstream("b", apps("b"))
    front = listener(port, *routes(a=100), isolated=isolated("b", SESSION))
    gateway.apply(Snapshot((front,), versions))
    gateway.isolate(SESSION, "watched")
    log = AccessLog(gateway.layout.access_log)
    while log._read():
        pass
    log.confirm()
    told: list[str] = []

    async def work() -> None:
        agent = Agent(paths_of(gateway.layout), lambda _: None, lambda _: None)
        for number in range(60):
            await asyncio.to_thread(ask, port, f"/watched-{number}", cookie="session=watched")
            if number % 15 == 5:
                log.put_aside()
                await agent.reopen_logs()
            told.extend(seen.fields["path"] for seen in log._read())
            log.confirm()
        async with asyncio.timeout(5):
            while len(told) < 60:
                told.extend(seen.fields["path"] for seen in log._read())
                await asyncio.sleep(0.01)
        await agent._admin.close()

    asyncio.run(work())
    assert sorted(told) == sorted(f"/watched-{number}" for number in range(60))


def test_a_second_control_plane_is_refused(gateway: Gateway) -> None:
    with pytest.raises(UnavailableError, match="another process writes"):
        prepare(gateway.layout)


def test_a_filter_that_was_not_built_is_told(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> None:
    monkeypatch.setattr(process, "FILTER", gateway.layout.root / "nothing.so")
    with pytest.raises(UnavailableError, match="not built"):
        process.envoy_binary()


def test_an_upstream_that_runs_nowhere_is_503(gateway: Gateway, port: int) -> None:
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (Upstream("a"),)))
    assert ask(port).status == 503


def test_a_hostname_nobody_knows_is_503_and_no_refusal(gateway: Gateway, port: int) -> None:
    named = Upstream("a", (Endpoint("nowhere.invalid", 80),))
    gateway.apply(Snapshot((listener(port, *routes(a=100)),), (named,)))
    assert ask(port).status == 503


def test_hundreds_of_versions_and_gateways_take_no_more_watches_than_there_are(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    app = apps("a")
    versions = tuple(upstream(f"v{n}", app) for n in range(150))
    ports = [port, *(new_port() for _ in range(49))]
    fronts = tuple(listener(each, Route("r", "v7", 100)) for each in ports)
    gateway.apply(Snapshot(fronts, versions))
    with Load(port) as load:
        gateway.apply(Snapshot(fronts[:2], versions[:9]))
        load.wait_for(30)
        gateway.apply(Snapshot(fronts, versions))
        load.wait_for(30)
    assert load.failed == [] and {ask(each).by for each in ports} == {"a"}
