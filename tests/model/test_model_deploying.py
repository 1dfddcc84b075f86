"""Blueprints become deployments; new versions join, old ones leave."""

from __future__ import annotations

import pytest

from divertor.errors import ConflictError, InputError
from divertor.model.artifacts import Gateway, HealthCheck, Protocol, Scale
from divertor.model.deploying import deploy, gateways_of, merge, remove, replace_gateway
from divertor.model.deployments import Deployment
from divertor.model.reading import read_blueprint


def blueprint_text(*versions: str, routes: str = "", extra: str = "") -> str:
    services = ", ".join(
        f"{{breed: {{name: {version}, deployable: i, ports: {{p: 80}}}}}}" for version in versions
    )
    gateways = f", gateways: {{routes: {{{routes}}}}}" if routes else ""
    return f"{{name: x, clusters: {{c: {{services: [{services}]{gateways}}}}}{extra}}}"


def deployed(*versions: str, routes: str = "", extra: str = "") -> Deployment:
    return deploy(read_blueprint(blueprint_text(*versions, routes=routes, extra=extra), "x"), "d")


def weights(deployment: Deployment) -> dict[str, int | None]:
    return {route.path: route.weight for route in deployment.clusters[0].gateways[0].routes}


def test_a_cluster_gets_a_gateway_for_each_port_and_a_route_for_each_service() -> None:
    (gateway,) = deployed("a", "b", "e").clusters[0].gateways
    assert (gateway.name, gateway.port, gateway.protocol) == ("d/c/p", None, Protocol.HTTP)
    assert weights(deployed("a", "b", "e")) == {"d/c/a/p": 33, "d/c/b/p": 33, "d/c/e/p": 34}


def test_an_external_gateway_leads_to_the_clusters_gateway() -> None:
    for route in ("c/p", "c"):
        (gateway,) = deployed("a", extra=f", gateways: {{9051: {route}}}").gateways
        assert (gateway.name, gateway.port) == ("d/9051", 9051)
        assert [(own.path, own.weight) for own in gateway.routes] == [("d/c/p", 100)]


def test_routes_keep_their_order_and_the_others_follow() -> None:
    assert weights(deployed("a", "b", routes="b: {weight: 95%}")) == {"d/c/b/p": 95, "d/c/a/p": 5}


def test_a_service_without_scale_gets_the_default() -> None:
    assert deployed("a").clusters[0].services[0].scale == Scale(1.0, 1024**3, 1)


@pytest.mark.parametrize(
    ("service", "cluster", "breed", "path"),
    [("/s", "/c", "/b", "/s"), (None, "/c", "/b", "/c"), (None, None, "/b", "/b"), ("", "/c", "/b", None)],
)
def test_the_closest_health_checks_count(
    service: str | None, cluster: str | None, breed: str | None, path: str | None
) -> None:
    def said(where: str | None) -> str:
        if where is None:
            return ""
        return f", health_checks: {'[]' if where == '' else '{path: ' + where + '}'}"

    own = f"{{breed: {{name: b, deployable: i{said(breed)}}}{said(service)}}}"
    text = f"{{name: x, clusters: {{c: {{services: [{own}]{said(cluster)}}}}}}}"
    checks = deploy(read_blueprint(text, "x"), "d").clusters[0].services[0].health_checks
    assert checks == (() if path is None else (HealthCheck(path=path),))


def test_an_unresolved_blueprint_is_not_deployed() -> None:
    with pytest.raises(InputError, match="x:1:25: 'b' among the breeds is not resolved"):
        deploy(read_blueprint("{name: x, clusters: {c: b}}", "x"), "d")


def test_a_merged_version_gets_what_the_others_leave() -> None:
    assert weights(merge(deployed("a"), read_blueprint(blueprint_text("b"), "x"))) == {
        "d/c/a/p": 100,
        "d/c/b/p": 0,
    }


def test_a_canary_goes_from_a_to_b_in_three_merges() -> None:
    both = merge(deployed("a"), read_blueprint(blueprint_text("b"), "x"))
    moved = merge(
        both, read_blueprint(blueprint_text("a", "b", routes="a: {weight: 0%}, b: {weight: 100%}"), "x")
    )
    alone = remove(moved, read_blueprint(blueprint_text("a"), "x"))
    assert alone is not None and weights(alone) == {"d/c/b/p": 100}


def test_a_merge_keeps_the_scale_unless_it_gives_one() -> None:
    running = deployed("a")
    breed = "{name: a, deployable: j, ports: {p: 80}}"
    text = f"{{name: x, clusters: {{c: {{services: [{{breed: {breed}, scale: {{instances: 3}}}}]}}}}}}"
    scaled = merge(running, read_blueprint(text, "x"))
    again = merge(scaled, read_blueprint(blueprint_text("a"), "x"))
    assert [own.clusters[0].services[0].scale.instances for own in (running, scaled, again)] == [1, 3, 3]
    assert scaled.clusters[0].services[0].breed.deployable.definition == "j"


def test_a_merged_gateway_that_names_no_routes_leaves_the_weights() -> None:
    before = deployed("a", "b", routes="a: {weight: 0%}, b: {weight: 100%}")
    text = blueprint_text("e").replace("services", "gateways: {timeout: 5s}, services")
    after = merge(before, read_blueprint(text, "x"))
    assert weights(after) == {"d/c/a/p": 0, "d/c/b/p": 100, "d/c/e/p": 0}
    assert after.clusters[0].gateways[0].traffic.timeout is not None


def test_a_merged_external_gateway_that_names_no_routes_keeps_them() -> None:
    before = deployed("a", extra=", gateways: {9051: c/p}")
    after = merge(before, read_blueprint(blueprint_text("a", extra=", gateways: {9051: {timeout: 5s}}"), "x"))
    assert after.gateways[0].routes == before.gateways[0].routes
    assert after.gateways[0].traffic.timeout is not None


def test_a_merge_replaces_external_gateways_by_port() -> None:
    running = deployed("a", extra=", gateways: {9051: c/p, 9052: c/p}")
    new = "{name: y, clusters: {e: {breed: {name: z, deployable: i, ports: {q: 1}}}}, gateways: {9051: e/q}}"
    merged = merge(running, read_blueprint(new, "x"))
    assert {own.name: own.routes[0].path for own in merged.gateways} == {"d/9051": "d/e/q", "d/9052": "d/c/p"}


def test_a_merge_replaces_isolation_by_cluster() -> None:
    running = deployed("a", "b", extra=", isolation: {c: {to: a, keys: cookie s}}")
    new = blueprint_text("a", "b", extra=", isolation: {c: {to: b, keys: cookie t}}")
    assert [policy.to for policy in merge(running, read_blueprint(new, "x")).isolation] == ["b"]


def test_merging_the_same_blueprint_changes_nothing() -> None:
    text = blueprint_text(
        "a",
        "b",
        routes="a: {weight: 1%}",
        extra=", gateways: {80: c}, isolation: {c: {to: a, keys: cookie s}}",
    )
    running = deploy(read_blueprint(text, "x"), "d")
    assert merge(running, read_blueprint(text, "x")) == running


def test_a_service_that_carries_traffic_is_not_removed() -> None:
    with pytest.raises(ConflictError, match="d/c/p would not carry 100% without a"):
        remove(deployed("a", "b"), read_blueprint(blueprint_text("a"), "x"))


def test_the_target_of_an_isolation_is_not_removed() -> None:
    running = deployed("a", "b", routes="a: {weight: 0%}", extra=", isolation: {c: {to: a, keys: cookie s}}")
    with pytest.raises(ConflictError, match="attackers of c are sent to a"):
        remove(running, read_blueprint(blueprint_text("a"), "x"))


def test_removing_the_last_service_leaves_nothing() -> None:
    assert remove(deployed("a"), read_blueprint(blueprint_text("a"), "x")) is None


def test_removing_nothing_changes_nothing() -> None:
    running = deployed("a", extra=", gateways: {9051: c}")
    assert remove(running, read_blueprint("{name: x}", "x")) == running


def test_the_gateways_of_a_cluster_that_goes_go_with_it() -> None:
    both = (
        "{name: x, clusters: {c: {breed: {name: a, deployable: i, ports: {p: 1}}}, "
        "e: {breed: {name: b, deployable: i, ports: {p: 1}}}}, gateways: {1: c, 2: e}}"
    )
    left = remove(deploy(read_blueprint(both, "x"), "d"), read_blueprint(blueprint_text("a"), "x"))
    assert left is not None
    assert [gateway.name for gateway in gateways_of(left)] == ["d/2", "d/e/p"]


def test_a_gateway_is_replaced_by_name() -> None:
    running = deployed("a", extra=", gateways: {9051: c}")
    changed = replace_gateway(running, Gateway("d/c/p"))
    assert [own.routes == () for own in gateways_of(changed)] == [False, True]
    assert replace_gateway(running, Gateway("other")) == running
