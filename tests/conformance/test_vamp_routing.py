"""What Vamp's gateways do with blueprints as people write them, through a real Envoy.

Only what no other test shows from the text to the answer; the rest is named in `docs/reference/vamp.md`.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from tests.conformance.conftest import versions
from tests.gateway.conftest import Gateway, ask, new_port, over
from tests.gateway.worlds import World, blueprint, cluster, pins


@pytest.fixture
def world(gateway: Gateway) -> Iterator[World]:
    with versions(gateway) as made:
        yield made


def test_a_condition_without_a_strength_takes_all_that_match(world: World, port: int) -> None:
    beta = "routes: {'web:1': {weight: 100%}, 'web:2': {weight: 0%, condition: has cookie beta}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=beta), gateways=f"{port}: web"))
    assert {ask(port, cookie="beta=1").by for _ in range(40)} == {"web:2"}
    assert {ask(port).by for _ in range(40)} == {"web:1"}


def test_a_strength_of_zero_takes_nothing(world: World, port: int) -> None:
    beta = "{weight: 0%, condition: has cookie beta, condition_strength: 0%}"
    routes = f"routes: {{'web:1': {{weight: 100%}}, 'web:2': {beta}}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=routes), gateways=f"{port}: web"))
    assert {ask(port, cookie="beta=1").by for _ in range(40)} == {"web:1"}


def test_routes_are_tried_in_the_order_they_are_written_in(world: World, port: int) -> None:
    conditions = ("has cookie b", "has cookie a", "true")
    routes = ", ".join(
        f"'web:{version}': {{weight: {100 if version == '3' else 0}%, condition: {condition}}}"
        for version, condition in zip("321", conditions, strict=True)
    )
    world.serve(
        blueprint(cluster("web", "1", "2", "3", gateways=f"routes: {{{routes}}}"), gateways=f"{port}: web")
    )
    served = [ask(port, cookie=cookie).by for cookie in ("a=1; b=1", "a=1", "b=1", "c=1")]
    assert served == ["web:3", "web:2", "web:3", "web:1"]


def test_a_version_sees_the_cookie_and_the_answer_that_sets_it_is_private(world: World, port: int) -> None:
    half = "sticky: route, routes: {'web:1': {weight: 50%}, 'web:2': {weight: 50%}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=half), gateways=f"{port}: web"))
    first = ask(port)
    cookie = pins(first)
    assert cookie.startswith("dvt-") and "web" not in cookie and first.get("cache-control") == "private"
    again = ask(port, cookie=cookie)
    assert again.seen["cookie"] == cookie and again.get("cache-control") is None


def connect(port: int) -> tuple[socket.socket, str | None]:
    """A connection that stays open, and who has it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return connection, over(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").by


def wait_until_idle(world: World, instance: str) -> None:
    """Until Envoy has noticed that nobody is connected to an instance any more."""
    line = f":{world.apps[instance].port}::rq_active::0\n".encode()
    deadline = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(world.gateway.layout.envoy_admin))
            admin.sendall(b"GET /clusters HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            with admin.makefile("rb") as answer:
                if line in answer.read():
                    return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_tcp_connection_goes_to_the_instance_with_the_fewest(world: World, port: int) -> None:
    """Ten connections; those of one instance end, so the next five are its. One may be drawn past it."""
    text = blueprint(cluster("web", "1"), gateways=f"{port}/tcp: web").replace("port: 80", "port: 80/tcp")
    world.gateway.apply(world.planned(text, instances={"web:1": 2}))
    opened = [connect(port) for _ in range(10)]
    for connection, by in opened:
        if by == "web:1":
            connection.close()
    wait_until_idle(world, "web:1")
    more = [connect(port) for _ in range(5)]
    for connection, _ in opened + more:
        connection.close()
    assert [by for _, by in opened].count("web:1") in (4, 5, 6)
    assert [by for _, by in more].count("web:1") >= 4


@pytest.mark.parametrize(
    ("said", "balance"),
    [
        ("", "roundrobin"),
        ("balance: roundrobin", "roundrobin"),
        ("balance: static-rr", "roundrobin"),
        ("balance: leastconn", "leastconn"),
        ("balance: random", "random"),
        ("balance: uri", "roundrobin"),
    ],
)
@pytest.mark.parametrize("kind", ["'shop/web/web:1': {%s}", "all: {selector: 'name(web:1)', %s}"])
def test_a_route_says_whose_turn_it_is(world: World, kind: str, said: str, balance: str) -> None:
    own = "{name: a, port: 9000, routes: {" + kind.replace("%s", said) + "}}"
    (found,) = world.planned(blueprint(cluster("web", "1")), own).upstreams
    assert found.balance == balance


#: What a route may lead to, and who answers then.
PATHS: list[tuple[str, str, str]] = [
    ("gateway", "inner", "web:1"),
    ("deployment-gateway", "shop/front", "web:1"),
    ("deployment-cluster", "shop/web", "web:1"),
    ("deployment-cluster-port", "shop/web/port", "web:1"),
    ("service", "shop/web/web:2", "web:2"),
    ("service-port", "shop/web/web:2/port", "web:2"),
    ("address", "[127.0.0.1:PORT]", "other"),
    ("host-name", "[localhost:PORT]", "other"),
]


@pytest.fixture(scope="module")
def by_path(gateway: Gateway) -> Iterator[dict[str, int]]:
    """Where a gateway with one route of each kind listens."""
    found = {path: new_port() for _, path, _ in PATHS}
    live = "routes: {'web:1': {weight: 100%}, 'web:2': {weight: 0%}}"
    with versions(gateway) as world:
        other = world.make("other").port
        outer = (
            f"{{name: g{port}, port: {port}, routes: '{path.replace('PORT', str(other))}'}}"
            for path, port in found.items()
        )
        text = blueprint(cluster("web", "1", "2", gateways=live), gateways="front: web")
        world.serve(text, "{name: inner, routes: shop/web}", *outer)
        yield found


@pytest.mark.parametrize(
    ("path", "served"), [pytest.param(path, served, id=kind) for kind, path, served in PATHS]
)
def test_a_route_leads_where_its_path_says(by_path: dict[str, int], path: str, served: str) -> None:
    assert {ask(by_path[path]).by for _ in range(5)} == {served}


#: Three versions that differ in all that a selector can ask, but for the address.
SELECTED = """
name: shop
gateways: {GATEWAYS}
clusters:
  web:
    services:
      - breed: {name: "web:1", deployable: acme/w:1.0, ports: {port: 80}, metadata: {app: foo, version: "1"}}
      - breed: {name: "web:2", deployable: acme/w:2.0, ports: {port: 80}, metadata: {app: foo, version: "2"}}
  api:
    services:
      - breed: {name: "api:1", deployable: {type: address, definition: "a.b:1"}, ports: {port: 8080}}
"""
WEB, API = {"web:1", "web:2"}, {"api:1"}

#: Vamp's operands and examples. Of several groups the first ever has everything.
SELECTORS: list[tuple[str, str, set[str]]] = [
    ("1.6-name", "name(web:1)", {"web:1"}),
    ("1.6-id", "id(web:1)", {"web:1"}),
    ("1.6-kind", "kind(container/docker)", WEB),
    ("1.6-type", "type(address)", API),
    ("1.6-namespace", "namespace(shop)", WEB | API),
    ("1.6-group", "group(other)", set()),
    ("1.6-own-namespace", "namespace($namespace)", WEB | API),
    ("1.6-image", "image(acme/w:2.*)", {"web:2"}),
    ("1.6-label", "label(app)(foo)", WEB),
    ("1.6-ip", "ip(127.0.0.1)", WEB | API),
    ("1.6-host", "host(192.0.2.1)", set()),
    ("1.6-port", "port(8080)", API),
    ("1.6-port_index", "port_index(0)", WEB | API),
    ("1.6-index", "index(1)", set()),
    ("1.6-true", "true", WEB | API),
    ("1.6-false", "false", set()),
    ("1.6-or", "port(8080) or name(web:2)", {"web:2", "api:1"}),
    ("1.6-e2", "label(io.vamp.*)(web:(.*)) and index(0)", {"web:1"}),
    ("1.6-e3", "!(port(8080) || name(web:2)) && true", {"web:1"}),
    ("1.6-e4", "label(app)(foo) && label(version)((.*))", {"web:1"}),
    ("1.6-e5", "label(version)(2) and id(web:.*)", {"web:2"}),
]


@pytest.fixture(scope="module")
def by_selector(gateway: Gateway) -> Iterator[dict[str, int]]:
    found = {selector: new_port() for _, selector, _ in SELECTORS}
    gateways = ", ".join(f"{port}: {{selector: {json.dumps(text)}}}" for text, port in found.items())
    with versions(gateway) as world:
        world.serve(SELECTED.replace("GATEWAYS", gateways))
        yield found


@pytest.mark.parametrize(
    ("selector", "served"), [pytest.param(text, served, id=number) for number, text, served in SELECTORS]
)
def test_a_selector_leads_to_what_it_selects(
    by_selector: dict[str, int], selector: str, served: set[str]
) -> None:
    port = by_selector[selector]
    if not served:
        assert ask(port).status == 503
        return
    found = {ask(port).by for _ in range(20)}
    for _ in range(200):  # every draw may miss a version
        if found >= served:
            break
        found.add(ask(port).by)
    assert found == served


def test_no_selector_is_missing() -> None:
    assert (len(SELECTORS), len(PATHS)) == (21, 8)
