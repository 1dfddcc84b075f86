"""Customers' requests in the log and as events: all that failed, a sample of the others, nothing private."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import (
    SCOPE,
    SESSION,
    Answer,
    App,
    Asked,
    Gateway,
    ask,
    isolated,
    listener,
    upstream,
)

from divertor.control.narration import narrate
from divertor.envoy import logging as wanted
from divertor.envoy.plan import Route, Snapshot
from divertor.gateway.admin import Admin
from divertor.gateway.requests import Budget, Request, RequestLog, parse_request

NAME = "shop/shop/shop:1.0.0/web"
OLD = "shop/shop/shop:0.9.0/web"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def behave(asked: Asked) -> Answer | None:
    return Answer(500, [], b"") if "fail" in asked.target else None


def line(status: int = 200, flags: str = "-", **more: Any) -> bytes:
    fields = {"time": "2026-01-02T03:04:05.000006Z", "status": status, "flags": flags, "gateway": "shop/9051"}
    return json.dumps({**fields, "upstream": NAME, "path": "/a", **more}).encode()


class Log:
    """Envoy's log of requests from here on."""

    def __init__(self, gateway: Gateway) -> None:
        self._path = gateway.layout.request_log
        self._start = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> bytes:
        return self._path.read_bytes()[self._start :] if self._path.exists() else b""

    def until(self, marker: str) -> list[dict[str, Any]]:
        """The lines before the one whose path is `marker`, which must come."""
        deadline = time.monotonic() + 10
        while f'"{marker}"'.encode() not in self.read():
            assert time.monotonic() < deadline, self.read()
            time.sleep(0.02)
        lines = [json.loads(each) for each in self.read().splitlines(keepends=True) if each.endswith(b"\n")]
        return [each for each in lines if each["path"] != marker]


def serve(gateway: Gateway, app: App, port: int, sampled: float, **more: Any) -> None:
    routes = (Route(NAME, NAME, 100), Route(OLD, OLD, 0))
    versions = (upstream(NAME, app), upstream(OLD, app))
    gateway.apply(Snapshot((listener(port, *routes, **more),), versions, sampled))


def test_every_failed_request_is_logged_and_no_other_when_nothing_is_sampled(
    gateway: Gateway, apps: Callable[..., App], port: int
) -> None:
    serve(gateway, apps("one", behave), port, sampled=0)
    log = Log(gateway)
    for number in range(40):
        ask(port, f"/fail/{number}" if number % 2 else f"/{number}")
    ask(port, "/fail/last")
    found = log.until("/fail/last")
    assert {each["path"] for each in found} == {f"/fail/{number}" for number in range(1, 40, 2)}
    assert {(each["status"], each["gateway"], each["upstream"]) for each in found} == {
        (500, f"gateway-{port}", NAME)
    }


def test_all_are_logged_when_all_are_sampled(gateway: Gateway, apps: Callable[..., App], port: int) -> None:
    serve(gateway, apps("one", behave), port, sampled=100)
    log = Log(gateway)
    for number in range(20):
        ask(port, f"/{number}")
    ask(port, "/last")
    assert len(log.until("/last")) == 20


def test_the_sample_is_changed_while_it_runs(gateway: Gateway, apps: Callable[..., App], port: int) -> None:
    app = apps("one", behave)
    serve(gateway, app, port, sampled=0)
    log = Log(gateway)
    ask(port, "/before")
    serve(gateway, app, port, sampled=100)
    ask(port, "/last")
    assert log.until("/last") == []


def test_a_sample_is_about_its_share(gateway: Gateway, apps: Callable[..., App], port: int) -> None:
    serve(gateway, apps("one", behave), port, sampled=20)
    log = Log(gateway)
    _ask_often(port, "/", 500)
    ask(port, "/fail/last")
    assert 50 <= len(log.until("/fail/last")) <= 160  # ± 5.5 standard deviations


def test_a_request_that_no_instance_answered_is_a_failed_one(
    gateway: Gateway, apps: Callable[..., App], port: int
) -> None:
    dead = apps("dead")
    serve(gateway, dead, port, sampled=0)
    dead.close()
    log = Log(gateway)
    ask(port, "/dead")
    ask(port, "/last")
    (found,) = log.until("/last")
    request = parse_request(json.dumps(found).encode(), 0)
    assert request is not None and request.failed and found["status"] == 503 and "UF" in found["flags"]


def test_nothing_private_is_in_the_log(gateway: Gateway, apps: Callable[..., App], port: int) -> None:
    serve(gateway, apps("one", behave), port, sampled=100)
    log = Log(gateway)
    ask(port, "/fail?card=hush", Cookie="session=hush", Authorization="Bearer hush", Referer="/hush")
    ask(port, "/last?hush=1")
    assert len(log.until("/last")) == 1 and b"hush" not in log.read()


def test_what_a_client_says_is_cut_and_cannot_break_a_line(
    gateway: Gateway, apps: Callable[..., App], port: int
) -> None:
    serve(gateway, apps("one", behave), port, sampled=100)
    log = Log(gateway)
    ask(port, "/" + "a" * 9000, User_Agent='"}\\ \xff' + "b" * 9000)
    ask(port, "/last")
    (found,) = log.until("/last")
    assert len(found["path"]) == 2048 and len(found["user_agent"]) <= 512


def test_the_isolated_are_in_their_own_log_only(
    gateway: Gateway, apps: Callable[..., App], port: int
) -> None:
    serve(gateway, apps("one", behave), port, sampled=100, isolated=isolated(OLD, SESSION))
    log = Log(gateway)
    gateway.isolate(SESSION, "attacker")
    ask(port, "/fail/isolated", Cookie="session=attacker")
    ask(port, "/last")
    gateway.release()
    assert log.until("/last") == []
    (kept,) = gateway.lines(lambda each: each["path"] == "/fail/isolated")
    assert (kept["scope"], kept["status"]) == (SCOPE, 500)


def test_a_flood_of_failures_is_bounded_and_counted(gateway: Gateway, port: int) -> None:
    gateway.apply(Snapshot((listener(port, Route(NAME, NAME, 100)),), (upstream(NAME),), sampled=0))
    log = Log(gateway)
    before, started = _denied(gateway), time.monotonic()
    _ask_often(port, "/down", 3000)
    allowed = wanted.FAILED_BURST + (time.monotonic() - started + 1) * wanted.FAILED_RATE
    deadline = time.monotonic() + 10
    while (lines := log.read().count(b"\n")) + _denied(gateway) - before < 3000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert wanted.FAILED_RATE <= lines <= allowed < 3000 and lines + _denied(gateway) - before == 3000


def _ask_often(port: int, target: str, times: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(times):
        connection.request("GET", target)
        connection.getresponse().read()
    connection.close()


def _denied(gateway: Gateway) -> int:
    async def ask_it() -> int:
        admin = Admin(str(gateway.layout.envoy_admin))
        try:
            return (await admin.counters("process_ratelimit")).get(wanted.UNLOGGED, 0)
        finally:
            await admin.close()

    return asyncio.run(ask_it())


# --- as events --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "flags", "failed"),
    [
        (200, "-", False),
        (404, "-", False),
        (404, "NR", False),
        (0, "DC", False),
        (500, "-", True),
        (503, "UH", True),
        (200, "UC", True),
        (200, "DC,UT", True),
        (504, "UT", True),
    ],
)
def test_a_request_failed_by_its_status_or_by_what_happened(status: int, flags: str, failed: bool) -> None:
    found = parse_request(line(status, flags), 0)
    assert found is not None and found.failed is failed


def test_the_event_says_who_answered_how_fast() -> None:
    found = parse_request(line(502, "UPE", milliseconds=12, method="GET", route="r", client="192.0.2.1"), 0)
    assert found is not None
    event = found.event(NOW)
    assert event.tags == (
        "request:failed",
        "gateways:shop/9051",
        "deployment:shop",
        "service:shop:1.0.0",
    )
    assert event.type == "request" and event.get("client.address") == "192.0.2.1"
    told = event.body["divertor"]
    assert (told["served_by"], told["version"], told["milliseconds"]) == ("shop:1.0.0", "1.0.0", 12)


def test_the_version_is_told_behind_a_selector_and_none_for_an_address() -> None:
    selected = parse_request(line(upstream=f"{NAME}?shop/9051?(1)"), 0)
    outside = parse_request(line(upstream="[127.0.0.1:80]"), 0)
    assert selected is not None and selected.event(NOW).get("divertor.served_by") == "shop:1.0.0"
    assert outside is not None and "service" not in str(outside.event(NOW).tags)


def test_the_live_log_does_not_tell_customers_requests() -> None:
    found = [parse_request(line(status), 0) for status in (200, 500)]
    assert [narrate(each.event(NOW), False) for each in found if each] == [None, None]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=40).map(lambda text: json.dumps({"flags": text}).encode()))
def test_a_damaged_line_is_no_request(data: bytes) -> None:
    assert parse_request(data, 0) is None


def requests(failed: int, sampled: int) -> list[Request]:
    made = [parse_request(line(500), n) for n in range(failed)]
    made += [parse_request(line(200), n) for n in range(sampled)]
    return [each for each in made if each is not None]


def test_the_budget_lets_every_failure_through_and_a_burst_of_the_others() -> None:
    budget = Budget(rate=1, burst=10)
    kept = budget.within(requests(20, 30), 0.0)
    assert [each.failed for each in kept] == [True] * 20 + [False] * 10 and budget.refused == 20


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30)), max_size=20))
def test_the_budget_is_never_exceeded(steps: list[tuple[float, int]]) -> None:
    budget, now, told = Budget(rate=2, burst=10), 100.0, 0
    for pause, count in steps:
        now += pause
        told += len(budget.within(requests(0, count), now))
    assert told <= 10 + (now - 100) * 2 + 1e-6
    assert told + budget.refused == sum(count for _, count in steps)


def test_of_a_log_nobody_can_catch_up_with_the_newest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    whole = [line(500, path=f"/{number}") + b"\n" for number in range(200)]
    path.write_bytes(b"".join(whole))
    log = RequestLog(path)
    log._backlog = 10 * len(whole[-1]) + 5
    found = [each.fields["path"] for each in log._read()]
    assert found == [f"/{number}" for number in range(190, 200)] and log.skipped > 0
