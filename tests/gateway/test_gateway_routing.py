"""Who gets which version through a real Envoy: conditions, strength, weights, stickiness, health."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.conftest import Answer, App, Gateway, Reply, ask, listener, new_port, raw, upstream

from divertor.conditions import parse, to_envoy
from divertor.envoy.plan import Check, Endpoint, Route, Snapshot, Upstream

Apps = Callable[..., App]
Pair = tuple[Upstream, Upstream]


def route(name: str, weight: int, condition: str = "", strength: int = 100) -> Route:
    predicate = to_envoy(parse(condition)) if condition else None
    return Route(f"shop/web/{name}/port", name, weight, predicate, strength)


def shares(port: int, count: int, **headers: Any) -> Counter[str | None]:
    return Counter(ask(port, **headers).by for _ in range(count))


def pin(reply: Reply) -> str:
    """The cookie a browser would send back."""
    return "; ".join(line.partition(";")[0] for line in reply.all("set-cookie"))


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def two(apps: Apps) -> Pair:
    return upstream("a", apps("a")), upstream("b", apps("b"))


def test_all_traffic_follows_the_only_weight(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 0), route("b", 100)),), two))
    assert shares(port, 20) == {"b": 20}


def test_weights_share_the_traffic(gateway: Gateway, two: Pair, port: int) -> None:
    """400 requests at 80 %: five standard deviations are 40."""
    gateway.apply(Snapshot((listener(port, route("a", 80), route("b", 20)),), two))
    assert 280 <= shares(port, 400)["a"] <= 360


def test_a_condition_takes_its_requests_and_no_others(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 100), route("b", 0, "has cookie beta")),), two))
    assert shares(port, 10, cookie="beta=1") == {"b": 10} and shares(port, 10) == {"a": 10}


def test_the_first_condition_that_matches_wins(gateway: Gateway, two: Pair, port: int) -> None:
    routes = route("b", 0, "has header x-one"), route("a", 100, "has header x-two")
    gateway.apply(Snapshot((listener(port, *routes),), two))
    assert shares(port, 10, x_one="1", x_two="1") == {"b": 10}


def test_half_of_firefox_and_its_share_of_the_rest(gateway: Gateway, two: Pair, port: int) -> None:
    """The manual's example: 50 % + 50 % * 20 % = 60 % of Firefox; 1600 requests, five deviations are 98."""
    routes = route("a", 80), route("b", 20, "user-agent = Firefox", 50)
    gateway.apply(Snapshot((listener(port, *routes),), two))
    assert 862 <= shares(port, 1600, user_agent="Firefox/9")["b"] <= 1058


def test_a_lost_draw_goes_by_weight_and_not_to_later_conditions(
    gateway: Gateway, two: Pair, port: int
) -> None:
    routes = route("a", 100, "has header x-one", 0), route("b", 0, "has header x-one")
    gateway.apply(Snapshot((listener(port, *routes),), two))
    assert shares(port, 30, x_one="1") == {"a": 30}


def test_without_any_weight_the_answer_is_503_in_words(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 0), route("b", 0, "has cookie beta")),), two))
    refused = ask(port)
    assert (refused.status, refused.body) == (503, b"No route of this gateway has a weight.\n")
    assert ask(port, cookie="beta=1").by == "b"


def test_a_sticky_client_stays_while_weights_change(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 50), route("b", 50), sticky="route"),), two))
    clients = [(reply.by, pin(reply)) for reply in (ask(port) for _ in range(12))]
    gateway.apply(Snapshot((listener(port, route("a", 1), route("b", 99), sticky="route"),), two))
    assert [ask(port, cookie=cookie).by for _, cookie in clients] == [by for by, _ in clients]


def test_a_sticky_client_moves_when_its_route_gets_nothing(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 100), route("b", 0), sticky="route"),), two))
    cookie = pin(ask(port))
    gateway.apply(Snapshot((listener(port, route("a", 0), route("b", 100), sticky="route"),), two))
    moved = ask(port, cookie=cookie)
    assert moved.by == "b" and ask(port, cookie=pin(moved)).by == "b"


def test_a_sticky_client_is_told_so_once(gateway: Gateway, two: Pair, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 50), route("b", 50), sticky="route"),), two))
    first = ask(port)
    assert "HttpOnly" in first.all("set-cookie")[0]
    assert ask(port, cookie=f"x=1; {pin(first)}; y=2").all("set-cookie") == []


def test_a_condition_beats_the_pin(gateway: Gateway, two: Pair, port: int) -> None:
    routes = route("a", 100), route("b", 0, "has header x-beta")
    gateway.apply(Snapshot((listener(port, *routes, sticky="route"),), two))
    assert ask(port, cookie=pin(ask(port)), x_beta="1").by == "b"


def test_the_strength_draw_is_sticky_too(gateway: Gateway, two: Pair, port: int) -> None:
    routes = route("a", 100), route("b", 0, "has header x-beta", 50)
    gateway.apply(Snapshot((listener(port, *routes, sticky="route"),), two))
    drawn = [ask(port, x_beta="1") for _ in range(10)]
    again = [ask(port, cookie=pin(reply), x_beta="1").by for reply in drawn for _ in range(3)]
    assert again == [reply.by for reply in drawn for _ in range(3)]


def test_a_sticky_client_stays_with_its_instance(gateway: Gateway, apps: Apps, port: int) -> None:
    many = upstream("a", *(apps(f"a{number}") for number in range(4)), by_instance=True)
    gateway.apply(Snapshot((listener(port, route("a", 100), sticky="instance"),), (many,)))
    clients = [(reply.by, pin(reply)) for reply in (ask(port) for _ in range(12))]
    assert len({by for by, _ in clients}) > 1
    assert [ask(port, cookie=cookie).by for _, cookie in clients] == [by for by, _ in clients]


def test_instances_share_the_requests(gateway: Gateway, apps: Apps, port: int) -> None:
    many = upstream("a", apps("a0"), apps("a1"))
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (many,)))
    assert min(shares(port, 40).values()) >= 10


def test_an_instance_that_refuses_connections_costs_no_request(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    dead = Endpoint("127.0.0.1", new_port())
    both = Upstream("a", (apps("a").endpoint, dead))
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (both,)))
    assert shares(port, 30) == {"a": 30}


def test_an_unhealthy_instance_gets_nothing_until_it_is_well(gateway: Gateway, apps: Apps, port: int) -> None:
    well = {"b": True}
    apps_ = (
        apps("a"),
        apps("b", lambda asked: None if well["b"] or asked.target != "/health" else Answer(500)),
    )
    both = upstream("a", *apps_, check=Check("/health", 0.1, 1.0, 1))
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (both,)))
    until(lambda: shares(port, 10).keys() == {"a", "b"})
    well["b"] = False
    until(lambda: shares(port, 10) == {"a": 10})
    well["b"] = True
    until(lambda: shares(port, 10).keys() == {"a", "b"})


def test_with_nobody_well_the_answer_is_503(gateway: Gateway, apps: Apps, port: int) -> None:
    ill = upstream("a", apps("a", lambda _: Answer(500)), check=Check("/", 0.1, 1.0, 1))
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (ill,)))
    until(lambda: ask(port).status == 503)


def test_a_host_name_is_looked_up(gateway: Gateway, apps: Apps, port: int) -> None:
    named = Upstream("a", (Endpoint("localhost", apps("a").port),))
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (named,)))
    until(lambda: ask(port).by == "a")


def test_a_tcp_gateway_passes_bytes(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 100), protocol="tcp"),), (upstream("a", apps("a")),)))
    until(lambda: ask(port).by == "a")


def test_a_shut_tcp_gateway_closes_the_connection(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 0), protocol="tcp"),), (upstream("a", apps("a")),)))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        assert connection.recv(1) == b""


def test_two_gateways_route_on_their_own(gateway: Gateway, two: Pair, port: int) -> None:
    other = new_port()
    gateway.apply(Snapshot((listener(port, route("a", 100)), listener(other, route("b", 100))), two))
    assert (ask(port).by, ask(other).by) == ("a", "b")


def test_a_client_cannot_order_envoy_about(gateway: Gateway, two: Pair, port: int) -> None:
    """Envoy's own control headers are the operator's."""
    gateway.apply(Snapshot((listener(port, route("a", 100)),), two))
    told = ask(port, x_envoy_max_retries="9", x_envoy_upstream_rq_timeout_ms="1", x_envoy_retry_on="5xx").seen
    assert not {"x-envoy-max-retries", "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on"} & told.keys()


def test_without_isolation_nothing_of_ours_is_believed_from_a_client(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    gateway.apply(Snapshot((listener(port, route("a", 100)),), (upstream("a", apps("a")),)))
    forged = (
        b"x_divertor_origin: 6.6.6.6\r\nX-Envoy_External-Address: 6.6.6.6\r\nX-Divertor-Token: 6.6.6.6\r\n"
    )
    seen = raw(port, b"GET / HTTP/1.1\r\nHost: a\r\n" + forged + b"\r\n").seen
    assert "6.6.6.6" not in str(seen) and seen["x-envoy-external-address"] == "127.0.0.1"
