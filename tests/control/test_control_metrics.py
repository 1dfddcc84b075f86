"""Which versions gateways and routes are measured at."""

from __future__ import annotations

from divertor.control.metrics import targets
from divertor.envoy import plan
from divertor.envoy.plan import Snapshot
from divertor.gateway.measurement import Target
from divertor.model.artifacts import Gateway, Route
from divertor.model.deploying import deploy, gateways_of
from divertor.model.reading import read_blueprint

BLUEPRINT = """\
name: shop
gateways:
  9051: web/port
clusters:
  web:
    services:
      - breed: {name: web:1, deployable: {type: address, definition: 127.0.0.1:9}, ports: {port: 80}}
      - breed: {name: web:2, deployable: {type: address, definition: 127.0.0.1:9}, ports: {port: 80}}
    gateways:
      routes: {web:1: {weight: 100%}, web:2: {weight: 0%}}
"""
SHOP = deploy(read_blueprint(BLUEPRINT, "test"), "shop")
OLD, NEW, OUTSIDE = "shop/web/web:1/port", "shop/web/web:2/port", "[192.0.2.1:80]"


def served(*names: str, **gates: plan.Gate) -> Snapshot:
    listeners = [plan.Listener(gate.name, "127.0.0.1", 80, (plan.Host(gate),)) for gate in gates.values()]
    return Snapshot(tuple(listeners), tuple(plan.Upstream(name) for name in names))


def found(snapshot: Snapshot, *more: Gateway) -> dict[tuple[str, ...], Target]:
    every = targets([*gateways_of(SHOP), *more], [SHOP], snapshot)
    return {(each.kind, *each.names().values()): each for each in every}


def test_gateways_routes_and_versions_are_measured() -> None:
    assert set(found(served(OLD, NEW))) == {
        ("gateways", "shop/web/port"),
        ("routes", "shop/web/port", OLD),
        ("routes", "shop/web/port", NEW),
        ("gateways", "shop/9051"),
        ("routes", "shop/9051", "shop/web/port"),
        ("services", "shop", "web", "web:1", "port"),
        ("services", "shop", "web", "web:2", "port"),
    }


def test_a_gateway_is_all_that_lies_behind_it_once() -> None:
    outer = Gateway("all", 80, routes=(Route("shop/9051", 50), Route("shop/web", 40), Route(OUTSIDE, 10)))
    every = found(served(OLD, NEW, OUTSIDE), outer)
    assert every["gateways", "all"].upstreams == (OLD, NEW, OUTSIDE)
    assert every["routes", "all", "shop/web"].upstreams == (OLD, NEW)


def test_a_gateway_with_a_port_that_is_served_is_measured_there() -> None:
    gate = plan.Gate("shop/9051")
    every = found(served(OLD, gate=gate))
    assert every["gateways", "shop/9051"].listener == "shop/9051"
    assert every["gateways", "shop/web/port"].listener == ""


def test_what_a_selector_found_is_measured_as_it_was_planned() -> None:
    part = f"{OLD}?chosen?(1)"
    gate = plan.Gate("chosen", (plan.Route("(1)", plan.Gate("x", (plan.Route(part, part, 1),)), 100),))
    chosen = Gateway("chosen", 81, routes=(Route("(1)", 100),))
    every = found(served(OLD, part, gate=gate), chosen)
    assert every["routes", "chosen", "(1)"].upstreams == (part,)
    assert every["services", "shop", "web", "web:1", "port"].upstreams == (OLD, part)


def test_gateways_in_a_circle_lead_nowhere() -> None:
    one, two = Gateway("one", 1, routes=(Route("two", 100),)), Gateway("two", 2, routes=(Route("one", 100),))
    assert found(served(OLD), one, two)["gateways", "one"].upstreams == ()
