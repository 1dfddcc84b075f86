"""Virtual hosts: one port for all gateways, told apart by host, through a real Envoy and on paper."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import App, Gateway, ask, new_port
from tests.gateway.worlds import World, ask_host, blueprint, cluster, sensor

from divertor.envoy.plan import Snapshot
from divertor.errors import ConflictError
from divertor.gateway.hosts import automatic, require_served

Apps = Callable[..., App]
TWO = blueprint(cluster("web", "1"), cluster("api", "1"))


@pytest.fixture
def world(gateway: Gateway, apps: Apps, port: int) -> World:
    """`port` is the virtual hosts' port."""
    made = World(gateway, apps)
    made.choices = replace(made.choices, virtual_hosts_port=port)
    return made


def domains(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    (shared,) = [each for each in snapshot.listeners if each.name == "virtual hosts"]
    return {host.gate.name: host.domains for host in shared.hosts}


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("front", "front.vamp"),
        ("shop/9051", "9051.shop.vamp"),
        ("shop/web/port", "port.web.shop.vamp"),
        ("Shop/Web/port", "port.web.shop.vamp"),
        ("web:1.0", ""),
        ("größe", ""),
    ],
)
def test_a_gateway_has_its_path_backwards_for_a_host(name: str, host: str) -> None:
    assert automatic(name) == host


@given(st.text(max_size=30))
def test_an_automatic_host_is_one_that_envoy_takes_literally(name: str) -> None:
    assert not set(automatic(name)) & set("*:/ \t\r\n[]")


def test_every_gateway_is_reached_by_its_automatic_host(world: World, port: int) -> None:
    own = f"{{name: front, port: {new_port()}, routes: shop/api}}"
    world.serve(TWO.replace("gateways: {}", f"gateways: {{{new_port()}: web}}"), own)
    assert ask_host(port, "port.web.shop.vamp").by == "web:1"
    assert ask_host(port, "port.api.shop.vamp").by == ask_host(port, "front.vamp").by == "api:1"


def test_a_gateway_without_a_port_is_reached_by_the_hosts_it_asks_for(world: World, port: int) -> None:
    world.serve(TWO, "{name: front, virtual_hosts: [shop.example, '*.shop.example'], routes: shop/web}")
    assert ask_host(port, "shop.example").by == ask_host(port, "www.shop.example").by == "web:1"
    assert ask_host(port, "shop.example.org").status == 404


def test_a_host_counts_in_any_case_and_with_any_port(world: World, port: int) -> None:
    world.serve(TWO, "{name: front, virtual_hosts: Shop.Example, routes: shop/web}")
    assert ask_host(port, f"sHOP.eXAMPLE:{port}").by == ask_host(port, "shop.example:80").by == "web:1"


def test_the_exact_host_wins_over_a_pattern(world: World, port: int) -> None:
    front = "{name: front, virtual_hosts: '*.shop.example', routes: shop/web}"
    world.serve(TWO, front, "{name: back, virtual_hosts: api.shop.example, routes: shop/api}")
    assert (ask_host(port, "www.shop.example").by, ask_host(port, "api.shop.example").by) == (
        "web:1",
        "api:1",
    )


@pytest.mark.parametrize("name", ["shop", "web.shop.vamp", "vamp", "127.0.0.1", "port.web.shop.vamp.", "*"])
def test_an_unknown_host_is_not_found(world: World, port: int, name: str) -> None:
    world.serve(TWO)
    answer = ask_host(port, name)
    assert (answer.status, answer.body) == (404, b"")


def test_conditions_and_isolation_hold_on_virtual_hosts_too(world: World, port: int) -> None:
    world.behave = {"web:2": sensor}
    beta = "routes: {'web:1': {weight: 0%, condition: has cookie beta}, 'web:2': {weight: 100%}}"
    policy = "isolation: {web: {to: 'web:1', keys: [cookie session], for: 1h}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=beta), more=policy))
    served = [ask_host(port, "port.web.shop.vamp", target).by for target in ("/", "/attack")]
    assert served == ["web:2", "web:1"]


def test_hosts_come_and_go_without_a_new_listener(world: World, port: int) -> None:
    """A connection that is open meanwhile stays open."""
    world.serve(TWO)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        world.serve(TWO, "{name: front, virtual_hosts: shop.example, routes: shop/web}")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_host_wanted_twice_is_refused(world: World) -> None:
    own = "{name: %s, virtual_hosts: Shop.example, routes: shop/web}"
    with pytest.raises(ConflictError, match="the gateways a and b both want the host shop.example"):
        world.planned(TWO, own % "a", own % "b")


def test_an_automatic_host_wanted_by_another_is_refused(world: World) -> None:
    with pytest.raises(ConflictError, match="both want the host port.web.shop.vamp"):
        world.planned(TWO, "{name: a, virtual_hosts: port.web.shop.vamp, routes: shop/web}")


@pytest.mark.parametrize(
    "own",
    ["tls: {certificate: /c, key: /k}", "proxy_protocol: true", "trusted_proxies: 10.0.0.0/8"],
)
def test_a_gateway_that_is_particular_about_connections_keeps_to_its_port(world: World, own: str) -> None:
    text = f"{{name: a, port: {new_port()}, routes: shop/web, {own}}}"
    assert "a" not in domains(world.planned(TWO, text))
    with pytest.raises(ConflictError, match="gateway a: the virtual hosts' port is plain http"):
        world.planned(TWO, text.replace("name: a", "name: a, virtual_hosts: a.example"))


def test_a_tcp_gateway_has_no_host(world: World) -> None:
    text = TWO.replace("port: 80", "port: 80/tcp", 1)
    assert domains(world.planned(text)).keys() == {"shop/api/port"}


def test_the_port_of_virtual_hosts_is_no_other_gateways(world: World, port: int) -> None:
    with pytest.raises(ConflictError, match=f"both want port {port}"):
        world.planned(TWO, f"{{name: a, port: {port}, routes: shop/web}}")


def test_without_a_port_for_them_there_are_no_virtual_hosts(gateway: Gateway, apps: Apps) -> None:
    world = World(gateway, apps)
    assert world.planned(TWO).listeners == ()
    with pytest.raises(ConflictError, match="--virtual-hosts-port"):
        require_served(world.read(["{name: a, virtual_hosts: a.example, routes: shop/web}"]), 0)


def test_a_gateway_with_a_port_is_reached_by_any_host_there(world: World) -> None:
    own = new_port()
    world.serve(TWO, f"{{name: front, port: {own}, virtual_hosts: shop.example, routes: shop/web}}")
    assert ask(own).by == "web:1"
