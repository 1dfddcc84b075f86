"""Rate limits: each key has its own bucket, everybody is counted alike, and nobody pays who has none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.conftest import (
    ADDRESS,
    API_KEY,
    SESSION,
    App,
    Gateway,
    ask,
    attack,
    isolated,
    new_port,
    raw,
    upstream,
)

from divertor.envoy import resources
from divertor.envoy.plan import Gate, Host, Listener, Route, Snapshot
from divertor.gateway.process import paths_of
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.traffic import RateLimit

Apps = Callable[..., App]
BEARER = KeySelector(KeyKind.BEARER)
NETWORK = KeySelector(KeyKind.PREFIX, "24/64")
SLOW = 3600.0


def front(port: int, *limits: RateLimit, to: str = "a", **more: object) -> Listener:
    gate = Gate(f"gateway-{port}", (Route("r", to, 100),), **more)  # type: ignore[arg-type]
    return Listener(gate.name, "127.0.0.1", port, (Host(gate, rate_limits=limits),))


@pytest.fixture
def limited(gateway: Gateway, apps: Apps, port: int) -> Callable[..., int]:
    """A gateway with some limits; answers its port."""

    def make(*limits: RateLimit) -> int:
        gateway.apply(Snapshot((front(port, *limits),), (upstream("a", apps("a")),)))
        return port

    return make


def statuses(port: int, count: int, **headers: Any) -> list[int]:
    return [ask(port, **headers).status for _ in range(count)]


def test_beyond_the_limit_the_answer_is_429(limited: Callable[..., int]) -> None:
    assert statuses(limited(RateLimit(3, SLOW)), 5) == [200, 200, 200, 429, 429]


def test_a_bucket_holds_its_burst(limited: Callable[..., int]) -> None:
    assert statuses(limited(RateLimit(1, SLOW, burst=3)), 5) == [200, 200, 200, 429, 429]


def test_a_bucket_fills_evenly(limited: Callable[..., int]) -> None:
    """Ten a second: half a second after it ran dry, some may pass, and not all ten."""
    port = limited(RateLimit(10, 1.0))
    while ask(port).status == 200:
        pass
    time.sleep(0.5)
    assert 1 <= statuses(port, 20).count(200) <= 12


def test_an_answer_says_nothing_of_the_limit(limited: Callable[..., int]) -> None:
    port = limited(RateLimit(1, SLOW))
    answers = [ask(port) for _ in range(2)]
    assert not [name for reply in answers for name, _ in reply.headers if "rate" in name or "retry" in name]


#: A key, and how two clients and one who cannot be told apart carry it.
KEYS = [
    (SESSION, {"cookie": "a=1; session=one"}, {"cookie": "session=two; b=1"}),
    (API_KEY, {"x_api_key": "one"}, {"x_api_key": "two"}),
    (BEARER, {"authorization": "Bearer one"}, {"authorization": "Bearer two"}),
]


@pytest.mark.parametrize(("key", "one", "two"), KEYS)
def test_each_key_has_a_bucket_of_its_own(
    limited: Callable[..., int], key: KeySelector, one: dict[str, str], two: dict[str, str]
) -> None:
    port = limited(RateLimit(2, SLOW, key))
    assert statuses(port, 3, **one) == [200, 200, 429]
    assert statuses(port, 3, **two) == [200, 200, 429]


@pytest.mark.parametrize("key", [SESSION, API_KEY, BEARER])
def test_who_has_no_key_is_not_counted(limited: Callable[..., int], key: KeySelector) -> None:
    port = limited(RateLimit(1, SLOW, key))
    assert statuses(port, 4, cookie="other=1", authorization="Basic eHg6eXk=") == [200] * 4


@pytest.mark.parametrize("key", [ADDRESS, NETWORK])
def test_an_address_is_counted_whatever_a_client_says(limited: Callable[..., int], key: KeySelector) -> None:
    port = limited(RateLimit(2, SLOW, key))
    assert [ask(port, x_forwarded_for=f"192.0.{n}.1").status for n in range(3)] == [200, 200, 429]


def test_addresses_behind_a_trusted_proxy_are_counted_apart(gateway: Gateway, apps: Apps, port: int) -> None:
    gate = Gate("g", (Route("r", "a", 100),))
    host = Host(gate, rate_limits=(RateLimit(1, SLOW, ADDRESS),))
    shop = Listener("g", "127.0.0.1", port, (host,), trusted_proxies=("127.0.0.0/8",))
    gateway.apply(Snapshot((shop,), (upstream("a", apps("a")),)))
    clients = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "198.51.100.1, 192.0.2.2"]
    assert [ask(port, x_forwarded_for=client).status for client in clients] == [200, 200, 429, 429]


@pytest.mark.parametrize("spelling", ["bearer one", "BEARER   one", "Bearer\tone", "bEaReR one"])
def test_a_token_in_another_spelling_is_the_same_token(limited: Callable[..., int], spelling: str) -> None:
    port = limited(RateLimit(1, SLOW, BEARER))
    assert [ask(port, authorization=text).status for text in ("Bearer one", spelling)] == [200, 429]


@pytest.mark.parametrize("length", [257, 8100, 8300, 20000])
def test_a_key_that_goes_on_for_ever_is_no_new_one(limited: Callable[..., int], length: int) -> None:
    """Else each request could fill the gateway's memory with another one."""
    port = limited(RateLimit(1, SLOW, API_KEY))
    found = [ask(port, x_api_key=start + "k" * length).status for start in ("a", "b")]
    assert found == [200, 429]


def test_tokens_that_begin_alike_are_different_ones(limited: Callable[..., int]) -> None:
    port = limited(RateLimit(1, SLOW, BEARER))
    tokens = [f"Bearer {'header.' * 100}{end}" for end in ("one", "two")]
    assert [ask(port, authorization=token).status for token in tokens] == [200, 200]


def test_several_limits_hold_together(limited: Callable[..., int]) -> None:
    port = limited(RateLimit(2, SLOW, API_KEY), RateLimit(3, SLOW), RateLimit(1, SLOW, SESSION))
    assert statuses(port, 2, cookie="session=x") == [200, 429]
    assert statuses(port, 2, x_api_key="y")[0] == 200


def test_two_limits_of_one_key_both_hold(limited: Callable[..., int]) -> None:
    port = limited(RateLimit(100, 1.0, ADDRESS), RateLimit(3, SLOW, ADDRESS))
    assert statuses(port, 5) == [200, 200, 200, 429, 429]


def test_hosts_are_counted_apart(gateway: Gateway, apps: Apps, port: int) -> None:
    hosts = [
        Host(Gate(name, (Route("r", "a", 100),)), (name,), (RateLimit(1, SLOW),) if name != "free" else ())
        for name in ("one", "two", "free")
    ]
    gateway.apply(Snapshot((Listener("g", "127.0.0.1", port, tuple(hosts)),), (upstream("a", apps("a")),)))
    asked = {name: [by_name(port, name) for _ in range(2)] for name in ("one", "two", "free")}
    assert asked == {"one": [200, 429], "two": [200, 429], "free": [200, 200]}


def by_name(port: int, host: str) -> int:
    return raw(port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status


def test_a_change_of_weights_fills_no_bucket(gateway: Gateway, apps: Apps, port: int) -> None:
    versions = upstream("a", apps("a")), upstream("b", apps("b"))
    limit = RateLimit(2, SLOW)
    gateway.apply(Snapshot((front(port, limit),), versions))
    assert statuses(port, 3) == [200, 200, 429]
    gateway.apply(Snapshot((front(port, limit, to="b"),), versions))
    assert statuses(port, 2) == [429, 429]


def test_the_isolated_are_limited_like_everybody(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.release()
    versions = upstream("live", apps("live")), upstream("audited", apps("audited"))
    shop = front(port, RateLimit(2, SLOW, SESSION), to="live", isolated=isolated("audited", SESSION))
    gateway.apply(Snapshot((shop,), versions))
    gateway.isolate(SESSION, "limited")
    found = [ask(port, cookie="session=limited") for _ in range(3)]
    assert [(reply.status, reply.by) for reply in found] == [(200, "audited"), (200, "audited"), (429, None)]


def test_an_attack_counts_twice_and_is_noted_even_beyond_the_limit(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    """It is asked of two versions; the second time may be one too many, but the attacker is known by then."""
    gateway.release()
    live, audited = apps("live", attack), apps("audited")
    shop = front(port, RateLimit(1, 0.5, SESSION), to="live", isolated=isolated("audited", SESSION))
    gateway.apply(Snapshot((shop,), (upstream("live", live), upstream("audited", audited))))
    assert ask(port, "/attack", cookie="session=quick").status == 429
    deadline = time.monotonic() + 10
    while (reply := ask(port, cookie="session=quick")).status == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert reply.by == "audited"


def test_without_limits_there_is_no_filter(gateway: Gateway, port: int) -> None:
    shops = front(port), front(new_port(), RateLimit(1, 1.0, SESSION))
    plain, limited = resources.listeners(Snapshot(shops), paths_of(gateway.layout))
    assert "local_ratelimit" in json.dumps(limited) and "local_ratelimit" not in json.dumps(plain)
    assert "header_to_metadata" not in json.dumps(plain)
