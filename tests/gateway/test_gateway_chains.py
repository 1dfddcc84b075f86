"""Gateways behind gateways, as blueprints describe them, through a real Envoy and on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.gateway.conftest import App, Gateway, ask
from tests.gateway.worlds import World, blueprint, cluster, pins, sensor

from divertor.envoy import resources
from divertor.envoy.plan import Gate, Paths, Snapshot
from divertor.errors import ConflictError
from divertor.model.isolation import KeyKind

Apps = Callable[..., App]
PATHS = Paths("/xds", "/table", "/recent", "/log", "/admin")
POLICY = "{keys: [cookie session], for: 1h, to: "


@pytest.fixture
def world(gateway: Gateway, apps: Apps) -> World:
    return World(gateway, apps)


def shares(port: int, count: int, **more: Any) -> Counter[str | None]:
    return Counter(ask(port, **more).by for _ in range(count))


def gates(snapshot: Snapshot) -> dict[str, Gate]:
    return {gate.name: gate for listener in snapshot.listeners for gate in listener.gates}


def test_conditions_are_asked_at_both_levels(world: World, port: int) -> None:
    api = "{weight: 0%, condition: path starts with /api}"
    outer = f"{port}: {{routes: {{web: {{weight: 100%}}, api: {api}}}}}"
    beta = "routes: {'api:1': {weight: 100%}, 'api:2': {weight: 0%, condition: has cookie beta}}"
    world.serve(blueprint(cluster("web", "1"), cluster("api", "1", "2", gateways=beta), gateways=outer))
    assert ask(port, cookie="beta=1").by == "web:1" and ask(port, "/api/x").by == "api:1"
    assert ask(port, "/api/x", cookie="beta=1").by == "api:2"


def test_weights_of_both_levels_multiply(world: World, port: int) -> None:
    """400 requests at 50 % of 40 %: five standard deviations are 40."""
    outer = f"{port}: {{routes: {{web: {{weight: 50%}}, api: {{weight: 50%}}}}}}"
    inner = "routes: {'web:1': {weight: 40%}, 'web:2': {weight: 60%}}"
    world.serve(blueprint(cluster("web", "1", "2", gateways=inner), cluster("api", "1"), gateways=outer))
    found = shares(port, 400)
    assert 150 <= found["api:1"] <= 250 and 40 <= found["web:1"] <= 120 and 76 <= found["web:2"] <= 164


def test_a_lost_draw_of_the_outer_gateway_goes_by_the_weights_of_all_its_routes(
    world: World, port: int
) -> None:
    """50 % + 50 % * 20 % = 60 % of Firefox; 1200 requests, five deviations are 85."""
    beta = "{weight: 20%, condition: user-agent = Firefox, condition_strength: 50%}"
    outer = f"{port}: {{routes: {{web: {{weight: 80%}}, api: {beta}}}}}"
    world.serve(blueprint(cluster("web", "1"), cluster("api", "1"), gateways=outer))
    assert 635 <= shares(port, 1200, user_agent="Firefox/9")["api:1"] <= 805


def test_gateways_of_their_own_lead_to_gateways_of_deployments(world: World, port: int) -> None:
    text = blueprint(cluster("web", "1"), cluster("api", "1"), gateways="front: web")
    routes = "{shop/front: {weight: 100%}, shop/api: {weight: 0%, condition: has header x-api}}"
    world.serve(text, f"{{name: middle, routes: {routes}}}", f"{{name: outer, port: {port}, routes: middle}}")
    assert ask(port).by == "web:1" and ask(port, x_api="1").by == "api:1"


def test_a_gateway_leads_to_a_version_and_to_an_address(world: World, apps: Apps, port: int) -> None:
    other = apps("other")
    routes = (
        f"{{'shop/web/web:2': {{weight: 100%}}, '[127.0.0.1:{other.port}]': {{condition: has header x}}}}"
    )
    world.serve(blueprint(cluster("web", "1", "2")), f"{{name: outer, port: {port}, routes: {routes}}}")
    assert ask(port).by == "web:2" and ask(port, x="1").by == "other"


def test_a_gateway_called_like_a_version_is_not_in_its_place(world: World, port: int) -> None:
    own = "{name: 'shop/web/web:1/port', routes: '[192.0.2.1:80]'}"
    world.serve(blueprint(cluster("web", "1"), gateways=f"{port}: web"), own)
    assert ask(port).by == "web:1"


def test_a_circle_is_refused_by_its_names(world: World) -> None:
    own = "{name: a, port: 9000, routes: b}", "{name: b, routes: c}", "{name: c, routes: a}"
    with pytest.raises(ConflictError, match="in a circle: a → b → c → a"):
        world.planned(blueprint(cluster("web", "1")), *own)


def test_five_gateways_one_behind_the_other_work_and_six_do_not(world: World, port: int) -> None:
    own = [f"{{name: g{at}, routes: g{at + 1}}}" for at in range(1, 4)] + ["{name: g4, routes: shop/web}"]
    text = blueprint(cluster("web", "1"))
    world.serve(text, f"{{name: g0, port: {port}, routes: g1}}".replace("g1", "g2"), *own[1:])
    assert ask(port).by == "web:1"
    with pytest.raises(ConflictError, match="more than 5 gateways .* g0 → g1 → g2 → g3 → g4 → shop/web/port"):
        world.planned(text, f"{{name: g0, port: {port}, routes: g1}}", *own)


def test_a_chain_that_would_grow_beyond_reason_is_refused(world: World) -> None:
    targets = [f"'[127.0.0.1:{at}]'" for at in range(1, 41)]
    strong = "{weight: 2%, condition: has header x, condition_strength: 50%}"
    wide = ", ".join(f"{at}: {strong}" for at in targets)
    routes = ", ".join(f"b{at}: {strong}" for at in range(40))
    inner = [f"{{name: b{at}, routes: {{{wide}, '[1.2.3.4:5]': {{weight: 20%}}}}}}" for at in range(40)]
    outer = f"{{name: a, port: 9000, routes: {{{routes}, '[1.2.3.4:5]': {{weight: 20%}}}}}}"
    with pytest.raises(ConflictError, match="gateway a: its routes .* ends, more than 10000"):
        world.planned(blueprint(cluster("web", "1")), outer, *inner)


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_a_web_of_gateways_is_refused_before_it_is_spun(world: World, protocol: str) -> None:
    """20 gateways at each of four levels, all leading to all of the next: 160,000 ways."""
    own = ["{name: g0, port: 9000/%s, routes: [%s]}" % (protocol, level(1))]  # noqa: UP031
    for at in range(1, 5):
        to = level(at + 1) if at < 4 else "'[192.0.2.1:80]'"
        own += [f"{{name: g{at}x{n}, port: 0/{protocol}, routes: [{to}]}}" for n in range(20)]
    with pytest.raises(ConflictError, match="branch beyond 10000 ways: g0 → g1x"):
        world.planned(blueprint(cluster("web", "1")), *own)


def level(at: int) -> str:
    return ", ".join(f"g{at}x{number}" for number in range(20))


def test_a_route_that_leads_nowhere_is_refused(world: World) -> None:
    with pytest.raises(ConflictError, match="shop/web/web:9 leads to no gateway and to no service"):
        world.planned(blueprint(cluster("web", "1")), "{name: a, port: 9000, routes: 'shop/web/web:9'}")


def test_each_cluster_behind_a_gateway_has_its_own_isolation(world: World, port: int) -> None:
    """An attacker of one is still a customer of the other."""
    world.behave = {"web:2": sensor, "api:2": sensor}
    world.serve(two_isolated(port, "condition: path starts with /api, weight: 0%"))
    assert ask(port, "/attack", cookie="session=1").by == "web:1"
    assert ask(port, cookie="session=1").by == "web:1"
    assert ask(port, "/api/x", cookie="session=1").by == "api:2"
    assert ask(port, "/api/attack", cookie="session=1").by == "api:1"
    assert (
        ask(port, "/api/x", cookie="session=2").by == "api:2" and ask(port, cookie="session=2").by == "web:2"
    )


def test_a_replayed_attack_reaches_the_audited_version_of_the_cluster_that_met_it(
    world: World, port: int
) -> None:
    """The second look at the same request draws what the first one drew; 40 attacks, half of them each."""
    world.behave = {"web:2": sensor, "api:2": sensor}
    world.serve(two_isolated(port, "weight: 50%"))
    served = Counter(ask(port, f"/attack{at}", cookie=f"session=r{at}").by for at in range(40))
    assert served.keys() == {"web:1", "api:1"} and min(served.values()) >= 5
    for name in ("web", "api"):
        met = [asked.target for asked in world.apps[f"{name}:2"].asked]
        assert met == [asked.target for asked in world.apps[f"{name}:1"].asked]


def two_isolated(port: int, api: str) -> str:
    weight = 50 if "50" in api else 100
    live = "routes: {'%s:1': {weight: 0%%}, '%s:2': {weight: 100%%}}"
    clusters = (cluster(name, "1", "2", gateways=live % (name, name)) for name in ("web", "api"))
    policies = "".join(f"\n  {name}: {POLICY}'{name}:1'}}" for name in ("web", "api"))
    outer = f"{port}: {{routes: {{web: {{weight: {weight}%}}, api: {{{api}}}}}}}"
    return blueprint(*clusters, gateways=outer, more=f"isolation:{policies}")


def test_who_leads_past_a_clusters_gateway_does_not_lead_past_its_isolation(world: World, port: int) -> None:
    world.behave = {"web:2": sensor}
    text = blueprint(cluster("web", "1", "2"), more=f"isolation: {{web: {POLICY}'web:1'}}}}")
    world.serve(text, f"{{name: direct, port: {port}, routes: 'shop/web/web:2'}}")
    assert ask(port, "/attack", cookie="session=1").by == "web:1"
    assert ask(port, cookie="session=1").by == "web:1" and ask(port, cookie="session=2").by == "web:2"


def test_customers_stay_at_both_levels(world: World, port: int) -> None:
    half = "sticky: route, routes: {'%s:1': {weight: 50%%}, '%s:2': {weight: 50%%}}"
    clusters = [cluster(name, "1", "2", gateways=half % (name, name)) for name in ("web", "api")]
    outer = f"{port}: {{sticky: route, routes: {{web: {{weight: 50%}}, api: {{weight: 50%}}}}}}"
    world.serve(blueprint(*clusters, gateways=outer))
    customers = [(reply.by, pins(reply)) for reply in (ask(port) for _ in range(24))]
    assert {by for by, _ in customers} == {"web:1", "web:2", "api:1", "api:2"}
    assert [ask(port, cookie=kept).by for _, kept in customers for _ in range(3)] == [
        by for by, _ in customers for _ in range(3)
    ]


def test_a_gateway_with_one_route_keeps_its_clients_by_the_gateway_behind_it(world: World) -> None:
    text = blueprint(cluster("web", "1", "2"), gateways="9000: {sticky: instance, routes: web}")
    found = gates(world.planned(text))
    assert (found["shop/9000"].sticky, found["shop/web/port"].sticky) == ("none", "instance")
    assert all(upstream.by_instance for upstream in world.planned(text).upstreams)


def test_headers_are_edited_at_both_levels(world: World, port: int) -> None:
    inner = "headers: {request: {set: {x-inner: '2', x-both: inner}}}, routes: {'web:1': {}}"
    outer = f"{port}: {{routes: web, headers: {{request: {{set: {{x-outer: '1', x-both: outer}}}}}}}}"
    world.serve(blueprint(cluster("web", "1", gateways=inner), gateways=outer))
    seen = ask(port).seen
    assert (seen["x-outer"], seen["x-inner"], seen["x-both"]) == ("1", "2", "inner")


def test_a_plain_gateway_in_front_costs_nothing(world: World) -> None:
    """What Envoy is asked to do is, but for the name, what the inner gateway alone asks of it."""
    weights = "routes: {'web:1': {weight: 40%}, 'web:2': {weight: 60%}}"
    planned = world.planned(blueprint(cluster("web", "1", "2", gateways=weights), gateways="9000: web"))
    (listener,) = planned.listeners
    (host,) = listener.hosts
    inner = host.gate.routes[0].to
    assert isinstance(inner, Gate)
    alone = replace(listener, hosts=(replace(host, gate=replace(inner, name="shop/9000")),))
    one, other = (resources.route_configuration(each, PATHS) for each in (listener, alone))
    assert str(one).replace("shop/web/port#", "shop/9000#").replace("'shop/web/port'", "'shop/9000'") == str(
        other
    )


def test_tcp_weights_are_multiplied_out(world: World) -> None:
    text = blueprint(tcp("web"), tcp("api"), gateways="")
    routes = "{shop/web: {weight: 10%}, shop/api: {weight: 90%}}"
    planned = world.planned(text, f"{{name: a, port: 9000/tcp, routes: {routes}}}")
    found = {route.name: route.weight for route in planned.listeners[0].hosts[0].gate.routes}
    assert found == {"shop/web/web:1/port": 5, "shop/web/web:2/port": 5, **halves("api", 45)}


def tcp(name: str) -> str:
    return cluster(name, "1", "2").replace("port: 80", "port: 80/tcp")


def halves(name: str, weight: int) -> dict[str, int]:
    return {f"shop/{name}/{name}:{version}/port": weight for version in (1, 2)}


def test_shares_below_one_per_cent_are_kept_in_tcp(world: World) -> None:
    routes = "{shop/web: {weight: 1%}, shop/api: {weight: 99%}}"
    planned = world.planned(
        blueprint(tcp("web"), tcp("api")), f"{{name: a, port: 9000/tcp, routes: {routes}}}"
    )
    found = {route.name: route.weight for route in planned.listeners[0].hosts[0].gate.routes}
    assert found == {**halves("web", 5_000), **halves("api", 495_000)}


@pytest.mark.parametrize(("outer", "inner"), [("9000/tcp", "80/http"), ("9000/http", "80/tcp")])
def test_tcp_and_http_do_not_stand_one_behind_the_other(world: World, outer: str, inner: str) -> None:
    text = blueprint(cluster("web", "1").replace("port: 80", f"port: {inner}"))
    with pytest.raises(ConflictError, match="gateway a speaks"):
        world.planned(text, f"{{name: a, port: {outer}, routes: shop/web}}")


def test_tcp_does_not_lead_past_an_isolation(world: World) -> None:
    text = blueprint(cluster("web", "1", "2"), more=f"isolation: {{web: {POLICY}'web:1'}}}}")
    with pytest.raises(ConflictError, match="tcp cannot tell attackers"):
        world.planned(text, "{name: a, port: 9000/tcp, routes: 'shop/web/web:2'}")


def test_a_policy_reaches_the_gateway_whole(world: World) -> None:
    policy = (
        "{to: 'web:1', keys: [user id, cookie s], for: 1h, mode: simulate, "
        "allow: client address in 10.0.0.0/8, record: {body: 1KB}}"
    )
    planned = world.planned(
        blueprint(cluster("web", "1", "2"), gateways="9000: web", more=f"isolation: {{web: {policy}}}")
    )
    isolated = gates(planned)["shop/web/port"].isolated
    assert isolated is not None and isolated.simulate and isolated.allow and isolated.record
    assert [key.selector.kind for key in isolated.keys] == [KeyKind.COOKIE]  # a request tells no user


def test_a_services_limits_and_protocol_reach_its_upstream(world: World) -> None:
    text = blueprint(cluster("web", "1"), gateways="9000: web").replace("port: 80", "port: 80/http2")
    text = text.replace(
        "    services:",
        "    circuit_breaker: {connections: 7}\n    outlier_detection: {errors: 3}\n    services:",
    )
    (upstream,) = world.planned(text).upstreams
    assert upstream.http2 and upstream.breaker and upstream.outliers
    assert (upstream.breaker.connections, upstream.outliers.errors) == (7, 3)


def test_a_mirror_is_a_version(world: World, port: int) -> None:
    inner = "mirror: 'web:2', routes: {'web:1': {weight: 100%}, 'web:2': {weight: 0%}}"
    planned = world.planned(blueprint(cluster("web", "1", "2", gateways=inner), gateways="9000: web"))
    (mirror,) = gates(planned)["shop/web/port"].traffic.mirrors
    assert mirror.to == "shop/web/web:2/port"


def test_rate_limits_are_those_of_all_gateways_that_every_request_passes(world: World) -> None:
    own = "{name: a, port: 9000, routes: b, rate_limits: [{requests: 5, every: 1m}]}"
    behind = "{name: b, routes: %s, rate_limits: [{requests: 3, every: 1s}]}"
    text = blueprint(cluster("web", "1"))
    (listener,) = world.planned(text, own, behind % "shop/web").listeners
    assert [limit.requests for limit in listener.hosts[0].rate_limits] == [5, 3]
    both = own.replace("routes: b", "routes: {b: {}, shop/web: {}}")
    with pytest.raises(ConflictError, match="gateway b has rate limits"):
        world.planned(text, both, behind % "shop/web")


def test_two_gateways_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(ConflictError, match="two gateways are called shop/9000"):
        world.planned(
            blueprint(cluster("web", "1"), gateways="9000: web"), "{name: shop/9000, routes: shop/web}"
        )
