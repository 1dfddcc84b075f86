"""Gateways whose routes follow from what runs, through a real Envoy and on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.gateway.conftest import App, Gateway, ask
from tests.gateway.worlds import World, blueprint, cluster, pins, sensor

from divertor.envoy.plan import Gate, Snapshot
from divertor.gateway.planning import settled_gateways
from divertor.model.artifacts import Route
from divertor.model.deploying import deploy
from divertor.model.reading import read_blueprint

Apps = Callable[..., App]
#: A group for each version of the service.
VERSIONS = r"name(web:(\d+))"


@pytest.fixture
def world(gateway: Gateway, apps: Apps) -> World:
    return World(gateway, apps)


def selecting(port: int, selector: str, more: str = "") -> str:
    return f"name: all\nport: {port}\nselector: '{selector}'\n{more}"


def leaves(snapshot: Snapshot) -> dict[str, int]:
    """The weights of the one port's routes, by name."""
    (listener,) = snapshot.listeners
    return {route.name: route.weight for route in listener.hosts[0].gate.routes}


def test_a_route_is_made_of_each_group(world: World, port: int) -> None:
    routes = "routes: {(1): {weight: 30%}, (2): {weight: 70%}}"
    planned = world.serve(blueprint(cluster("web", "1", "2")), selecting(port, VERSIONS, routes))
    assert leaves(planned) == {"(1)": 30, "(2)": 70}
    assert Counter(ask(port).by for _ in range(60)).keys() == {"web:1", "web:2"}


def test_the_first_group_gets_everything_and_a_new_one_nothing(world: World, port: int) -> None:
    first = world.serve(blueprint(cluster("web", "2")), selecting(port, VERSIONS))
    assert leaves(first) == {"(2)": 100} and ask(port).by == "web:2"
    then = world.serve(
        blueprint(cluster("web", "1", "2")), selecting(port, VERSIONS, "routes: {(2): {weight: 100%}}")
    )
    assert leaves(then) == {"(2)": 100, "(1)": 0}


def test_weights_of_vanished_groups_go_to_the_others_in_proportion(world: World, port: int) -> None:
    routes = "routes: {(1): {weight: 50%}, (2): {weight: 30%}, (3): {weight: 20%}}"
    planned = world.planned(blueprint(cluster("web", "2", "3")), selecting(port, VERSIONS, routes))
    assert leaves(planned) == {"(2)": 60, "(3)": 40}


def test_conditions_of_a_group_hold_as_long_as_it_runs(world: World, port: int) -> None:
    routes = "routes: {(1): {weight: 100%}, (2): {weight: 0%, condition: has cookie beta}}"
    world.serve(blueprint(cluster("web", "1", "2")), selecting(port, VERSIONS, routes))
    assert ask(port, cookie="beta=1").by == "web:2" and ask(port).by == "web:1"
    world.serve(blueprint(cluster("web", "1")), selecting(port, VERSIONS, routes))
    assert ask(port, cookie="beta=1").by == "web:1"


def test_with_nothing_selected_the_answer_is_503(world: World, port: int) -> None:
    world.serve(blueprint(cluster("web", "1")), selecting(port, "name(nothing)"))
    assert (ask(port).status, ask(port).body) == (503, b"No route of this gateway has a weight.\n")


def test_several_versions_of_one_group_share_it_by_their_instances(world: World, port: int) -> None:
    """400 requests at 3 of 4 instances: five standard deviations are 43."""
    text = blueprint(cluster("web", "1", "2"))
    planned = world.planned(text, selecting(port, "name(web:.*)"), instances={"web:1": 3})
    world.gateway.apply(planned)
    found = Counter((ask(port).by or "").partition("#")[0] for _ in range(400))
    assert 257 <= found["web:1"] <= 343 and found["web:1"] + found["web:2"] == 400


def test_customers_stay_with_one_version_of_a_group(world: World, port: int) -> None:
    text = selecting(port, "name(web:.*)", "sticky: instance")
    world.gateway.apply(world.planned(blueprint(cluster("web", "1", "2")), text, instances={"web:1": 2}))
    for _ in range(8):
        first = ask(port)
        assert [ask(port, cookie=pins(first)).by for _ in range(3)] == [first.by] * 3


def test_each_cluster_that_is_selected_from_keeps_its_isolation(world: World, port: int) -> None:
    world.behave = {"web:2": sensor, "api:2": sensor}
    policies = "".join(
        f"\n  {name}: {{to: '{name}:1', keys: [cookie session], for: 1h}}" for name in ("web", "api")
    )
    text = blueprint(cluster("web", "1", "2"), cluster("api", "1", "2"), more=f"isolation:{policies}")
    world.serve(text, selecting(port, "name((web|api):2)"))
    for at in range(12):
        first = ask(port, f"/attack{at}", cookie=f"session=s{at}").by
        assert first in ("web:1", "api:1")
        others = {ask(port, cookie=f"session=s{at}").by for _ in range(6)}
        assert others <= {first, "web:2", "api:2"} - {str(first).replace(":1", ":2")}


def test_a_route_can_select_the_instances_it_leads_to(world: World, port: int) -> None:
    routes = (
        "{new: {weight: 0%, condition: has cookie beta, selector: 'name(web:2)'}, "
        "old: {weight: 100%, selector: 'name(web:1)'}}"
    )
    world.serve(blueprint(cluster("web", "1", "2")), f"{{name: g, port: {port}, routes: {routes}}}")
    assert ask(port).by == "web:1" and ask(port, cookie="beta=1").by == "web:2"


def test_a_selected_upstream_is_told_by_its_version_first(world: World) -> None:
    """Logs and metrics take what was served from the upstream's name."""
    planned = world.planned(blueprint(cluster("web", "1")), selecting(9000, VERSIONS))
    assert [upstream.name for upstream in planned.upstreams] == ["shop/web/web:1/port?all?(1)"]


def test_an_instance_that_is_not_up_gets_no_request_and_keeps_its_groups_weight(world: World) -> None:
    deployment = world.running(deploy(read_blueprint(blueprint(cluster("web", "1", "2")), "b"), "shop"), {})
    (own,) = deployment.clusters
    first, second = own.services
    down = replace(second, instances=tuple(replace(each, deployed=False) for each in second.instances))
    halted = replace(deployment, clusters=(replace(own, services=(first, down)),))
    text = selecting(9000, VERSIONS, "routes: {(1): {weight: 60%}, (2): {weight: 40%}}")
    assert settled_gateways([halted], world.read([text])) == []


def test_what_selectors_change_is_told_apart_from_what_is_recorded(world: World) -> None:
    deployment = world.running(deploy(read_blueprint(blueprint(cluster("web", "1", "2")), "b"), "shop"), {})
    recorded = world.read([selecting(9000, VERSIONS, "routes: {(2): {weight: 100%}}")])
    (changed,) = settled_gateways([deployment], recorded)
    assert changed.routes == (Route("(2)", 100), Route("(1)", 0))
    assert settled_gateways([deployment], [changed]) == []


def test_a_tcp_gateway_selects_too(world: World, port: int) -> None:
    text = blueprint(cluster("web", "1", "2").replace("port: 80", "port: 80/tcp"))
    own = selecting(port, VERSIONS, "routes: {(1): {weight: 25%}, (2): {weight: 75%}}")
    planned = world.planned(text, own.replace(f"port: {port}", f"port: {port}/tcp"))
    (listener,) = planned.listeners
    assert sorted(route.weight for route in listener.hosts[0].gate.routes) == [25, 75]


def test_a_gateway_behind_another_selects_too(world: World, port: int) -> None:
    outer = f"{{name: outer, port: {port}, routes: {{all: {{rewrites: ['/v1%[path] if has header x']}}}}}}"
    own = f"{{name: all, selector: '{VERSIONS}'}}"
    planned = world.serve(blueprint(cluster("web", "2")), own, outer)
    assert ask(port, x="1").by == "web:2" and world.apps["web:2"].asked[-1].target == "/v1/"
    inner = planned.listeners[0].hosts[0].gate.routes[0].to
    assert isinstance(inner, Gate) and [route.name for route in inner.routes] == ["(2)"]
