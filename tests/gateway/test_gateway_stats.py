"""What a real Envoy counted, as the gateway's numbers: exactly what was sent, also across its restart."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.gateway.conftest import Answer, App, Asked, Gateway, ask, listener, new_port, upstream

from divertor.envoy.plan import Check, Endpoint, Listener, Route, Snapshot, Upstream
from divertor.gateway.admin import Admin
from divertor.gateway.metrics import PATTERN, Measured, Names, of_listener, of_upstream
from divertor.gateway.stats import PERIOD, Stats

GOOD, BAD = "shop/shop/shop:1.0.0/web", "shop/shop/shop:1.1.0/internal"


class Watched:
    """The gateway's numbers, looked at whenever a test wants."""

    def __init__(self, gateway: Gateway) -> None:
        self.stats = Stats(str(gateway.layout.envoy_admin), time.monotonic, self._nothing)
        self._loop = asyncio.new_event_loop()

    async def _nothing(self) -> None:
        """Nobody waits."""

    def look(self) -> bool:
        return self._loop.run_until_complete(self.stats.look())

    def over(self, names: Names) -> Measured:
        """Everything since the first look."""
        return self.stats.over(names, 1e9)

    def until(self, wanted: Callable[[], Any]) -> None:
        """Looks until it is so; Envoy sums up durations every five seconds."""
        deadline = time.monotonic() + 15
        while not wanted():
            assert time.monotonic() < deadline
            time.sleep(0.1)
            self.look()

    def close(self) -> None:
        self._loop.run_until_complete(self.stats.close())
        self._loop.close()


@pytest.fixture
def watched(gateway: Gateway) -> Iterator[Watched]:
    made = Watched(gateway)
    yield made
    made.close()


def behave(asked: Asked) -> Answer | None:
    if "slow" in asked.target:
        time.sleep(0.05)
    return Answer(500, [], b"") if "fail" in asked.target else None


def served(port: int, *upstreams: Upstream, weights: tuple[int, ...]) -> Snapshot:
    routes = [Route(each.name, each.name, weight) for each, weight in zip(upstreams, weights, strict=True)]
    return Snapshot((listener(port, *routes),), upstreams)


def name_of(port: int) -> Names:
    found: Listener = listener(port)
    return of_listener(found.name)


def test_requests_and_failures_are_those_that_were_sent(
    gateway: Gateway, apps: Callable[..., App], port: int, watched: Watched
) -> None:
    gateway.apply(served(port, upstream(GOOD, apps("one", behave)), weights=(100,)))
    watched.look()
    for number in range(12):
        ask(port, "/fail" if number < 3 else "/")
    watched.look()
    for names in (of_upstream(GOOD), name_of(port)):
        found = watched.over(names)
        assert (found.requests, found.errors, found.error_percent, found.active) == (12, 3, 25.0, 0)


def test_durations_are_told_to_the_millisecond(
    gateway: Gateway, apps: Callable[..., App], port: int, watched: Watched
) -> None:
    gateway.apply(served(port, upstream(GOOD, apps("one", behave)), weights=(100,)))
    watched.look()
    for number in range(10):
        ask(port, "/slow" if number < 2 else "/")
    watched.until(lambda: sum(watched.over(name_of(port)).durations.values()) == 10)
    found = watched.over(name_of(port))
    half, most = found.quantile(0.5), found.quantile(0.95)
    assert half is not None and half < 30 and most is not None and 50 <= most < 150


def test_a_version_nobody_can_reach_fails_and_says_so(gateway: Gateway, port: int, watched: Watched) -> None:
    gateway.apply(served(port, Upstream(BAD, (Endpoint("127.0.0.1", new_port()),)), weights=(100,)))
    watched.look()
    assert [ask(port).status for _ in range(3)] == [503] * 3
    watched.look()
    found = watched.over(of_upstream(BAD))
    assert (found.requests, found.errors) == (3, 3) and found.connect_failures >= 3


def test_what_was_counted_before_a_restart_is_not_counted_again(
    gateway: Gateway, apps: Callable[..., App], port: int, watched: Watched
) -> None:
    gateway.apply(served(port, upstream(GOOD, apps("one", behave)), weights=(100,)))
    watched.look()
    for _ in range(5):
        ask(port)
    watched.look()
    gateway.kill()
    assert not watched.look() and not watched.stats.connected
    gateway.start()
    for _ in range(9):
        ask(port)
    watched.look()
    assert watched.over(name_of(port)).requests == 14


def test_health_is_the_share_of_instances_that_are_well(
    gateway: Gateway, apps: Callable[..., App], port: int, watched: Watched
) -> None:
    well, ill = apps("well"), apps("ill", lambda _: Answer(500))
    checked = upstream(GOOD, well, ill, check=Check(interval=0.1, timeout=1, failures=1))
    gateway.apply(served(port, checked, weights=(100,)))
    watched.until(lambda: watched.stats.connected and watched.stats.health([of_upstream(GOOD)]) == 0.5)


def test_nothing_is_asked_for_that_is_not_used(gateway: Gateway, apps: Callable[..., App], port: int) -> None:
    """Envoy has hundreds of numbers for each version, and tells some twice."""
    gateway.apply(served(port, upstream(GOOD, apps("one", behave)), weights=(100,)))
    ask(port)
    names = asyncio.run(_asked(gateway))
    expected = {value for value in vars_of(of_upstream(GOOD)) | vars_of(name_of(port)) if value}
    assert {name for name in names if "shop" in name or str(port) in name} <= expected
    assert of_upstream(GOOD).requests in names and len(names) < 100


def vars_of(names: Names) -> set[str]:
    return {getattr(names, slot) for slot in Names.__slots__}


async def _asked(gateway: Gateway) -> set[str]:
    admin = Admin(str(gateway.layout.envoy_admin))
    try:
        found = await admin.stats(PATTERN)
    finally:
        await admin.close()
    histograms = [each for stat in found["stats"] for each in stat.get("histograms", {}).get("details", ())]
    return {stat["name"] for stat in [*found["stats"], *histograms] if "name" in stat}


def test_a_look_every_ten_seconds_of_the_clock_it_was_given(gateway: Gateway) -> None:
    slept: list[float] = []
    looks: list[int] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    async def looked() -> None:
        looks.append(1)

    stats = Stats(str(gateway.layout.envoy_admin), lambda: len(slept) * PERIOD, looked, sleep)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(stats.run())
    assert slept == [PERIOD] * 3 and len(looks) == 2 and stats.interval is not None
    assert stats.interval.seconds == PERIOD
