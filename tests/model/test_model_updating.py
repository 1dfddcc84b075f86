"""What a PUT of a printed and changed document means."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import Condition, CookieContains, CookiePresent, Or
from divertor.errors import InputError
from divertor.model.artifacts import Artifact, Sticky
from divertor.model.deploying import deploy
from divertor.model.deployments import Deployment, Instance, Status
from divertor.model.reading import read_blueprint
from divertor.model.rendering import deployment_to_json, gateway_to_json
from divertor.model.updating import deployment_from_json, gateway_from_json, read_deployment

BLUEPRINT = """
name: hackable
gateways: {9051: hackable/port}
clusters:
  hackable:
    gateways: {routes: {"hackable:1.0.0": {weight: 0%}, "hackable:1.1.0": {weight: 100%}}}
    services:
      - breed: {name: "hackable:1.0.0", deployable: audited, ports: {port: 80/http}}
      - breed: {name: "hackable:1.1.0", deployable: devops, ports: {port: 80/http}}
isolation: {hackable: {to: "hackable:1.0.0", keys: cookie PHPSESSID}}
"""
AUDITED = "hackable:1.0.0"
ABC = "cookie PHPSESSID has abc"


def running() -> Deployment:
    """Deployed, and one instance of each service up."""
    deployment = deploy(read_blueprint(BLUEPRINT, "x"), "d")
    (cluster,) = deployment.clusters
    up = (Instance("i", "127.0.0.1", {"port": 20001}, True),)
    services = (replace(service, status=Status(phase="Done"), instances=up) for service in cluster.services)
    return replace(deployment, clusters=(replace(cluster, services=tuple(services)),))


def put(change: Callable[[Any], None], current: Deployment | None = None) -> Deployment:
    current = current or running()
    data = deployment_to_json(current)
    change(data)
    return deployment_from_json(data, current)


def route_of(data: Any, key: str) -> Any:
    return data["clusters"]["hackable"][key]["port"]["routes"][AUDITED]


def condition_of(deployment: Deployment) -> Condition | None:
    return deployment.clusters[0].gateways[0].routes[0].condition


@pytest.mark.parametrize("key", ["gateways", "routing"])
@pytest.mark.parametrize("condition", [ABC, {"condition": ABC}])
def test_a_condition_set_on_a_route_takes_effect(key: str, condition: Any) -> None:
    changed = put(lambda data: route_of(data, key).update(condition=condition))
    assert condition_of(changed) == CookieContains("PHPSESSID", "abc")


def test_a_filter_pushed_in_the_old_way_takes_effect() -> None:
    changed = put(lambda data: route_of(data, "routing")["filters"].append({"condition": ABC}))
    assert condition_of(changed) == CookieContains("PHPSESSID", "abc")


def test_a_second_filter_joins_the_first_and_a_repeated_one_does_not() -> None:
    changed = running()
    for condition in (ABC, "has cookie b", ABC):

        def push(data: Any, condition: str = condition) -> None:
            route_of(data, "routing")["filters"].append({"condition": condition})

        changed = put(push, changed)
    assert condition_of(changed) == Or((CookieContains("PHPSESSID", "abc"), CookiePresent("b")))


def test_a_condition_set_to_null_is_removed() -> None:
    with_condition = put(lambda data: route_of(data, "gateways").update(condition=ABC))
    changed = put(lambda data: route_of(data, "gateways").update(condition=None), with_condition)
    assert condition_of(changed) is None


def test_status_and_instances_stay_what_they_are() -> None:
    def claim(data: Any) -> None:
        for service in data["clusters"]["hackable"]["services"]:
            service.update(status={"phase": {"name": "Failed"}}, instances=[], health={"running": 0})
        data["ports"] = {"x": 1}

    assert put(claim) == running()


def test_what_is_left_out_stays() -> None:
    assert deployment_from_json({"name": "d"}, running()) == running()
    assert put(lambda data: data["clusters"]["hackable"].pop("services")) == running()


def half_and_half(data: Any) -> None:
    for route in data["clusters"]["hackable"]["gateways"]["port"]["routes"].values():
        route["weight"] = "50%"


def test_weights_change() -> None:
    assert [route.weight for route in put(half_and_half).clusters[0].gateways[0].routes] == [50, 50]


def test_a_scale_and_a_breed_change() -> None:
    def change(data: Any) -> None:
        service = data["clusters"]["hackable"]["services"][0]
        service["scale"]["instances"] = 3
        service["breed"]["deployable"]["definition"] = "other"

    service = put(change).clusters[0].services[0]
    assert (service.scale.instances, service.breed.deployable.definition) == (3, "other")
    assert service.status.phase == "Done"


def test_a_service_is_added_without_traffic() -> None:
    new = {"breed": {"name": "hackable:1.2.0", "deployable": "newest", "ports": {"port": 80}}}
    changed = put(lambda data: data["clusters"]["hackable"]["services"].append(new))
    assert [service.name for service in changed.clusters[0].services][-1] == "hackable:1.2.0"
    assert [route.weight for route in changed.clusters[0].gateways[0].routes] == [0, 100, 0]


def test_isolation_changes() -> None:
    changed = put(lambda data: data["isolation"]["hackable"].update(to="hackable:1.1.0", fail="open"))
    assert [policy.to for policy in changed.isolation] == ["hackable:1.1.0"]


def test_an_external_gateway_changes_and_another_is_added() -> None:
    def change(data: Any) -> None:
        data["gateways"]["9051"]["sticky"] = "route"
        data["gateways"]["9052"] = "hackable/port"

    old, new = put(change).gateways
    assert (old.name, old.port, old.sticky) == ("d/9051", 9051, Sticky.ROUTE)
    assert (new.name, new.port, new.routes[0].path) == ("d/9052", 9052, "d/hackable/port")


def set_both(data: Any) -> None:
    route_of(data, "gateways")["condition"] = "has cookie a"
    route_of(data, "routing")["condition"] = "has cookie b"


def set_condition_and_filter(data: Any) -> None:
    route_of(data, "routing")["condition"] = "has cookie a"
    route_of(data, "routing")["filters"] = [{"condition": "has cookie b"}]


def of_deployment(**fields: Any) -> Callable[[Any], Any]:
    return lambda data: data.update(fields)


def of_route(**fields: Any) -> Callable[[Any], Any]:
    return lambda data: route_of(data, "gateways").update(fields)


def of_gateways(gateway: Any) -> Callable[[Any], Any]:
    return lambda data: data["gateways"].update({"9": gateway})


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (set_both, "deployment at clusters.hackable: 'gateways' and 'routing' both changed"),
    (set_condition_and_filter, "filters: 'filters' and 'condition' both changed, and differ"),
    (of_route(weight="10%"), "gateways.port: the weights of d/hackable/port; expected .*not 110%"),
    (of_route(condition="hots = a"), "condition: unexpected 'hots'"),
    (of_route(condition="beta"), "nothing called 'beta'"),
    (of_deployment(name="e"), "deployment at name: the name of another deployment than 'd'"),
    (of_deployment(kind="blueprints"), "deployment at kind: a document of another kind"),
    (of_deployment(cluster={}), "unknown key 'cluster' in a deployment; expected 'clusters'"),
    (of_deployment(clusters={"x": {}}), "no cluster 'x' in d; expected hackable"),
    (of_deployment(clusters={"hackable": {"services": ["b:3"]}}), "no service 'b:3' here"),
    (of_deployment(isolation={"hackable": {"to": "x", "keys": "cookie s"}}), "hackable.to: no service 'x'"),
    (of_gateways({"port": 9051, "routes": "hackable"}), "two gateways on one port"),
    (of_gateways("nowhere"), "no port 'nowhere'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_change_that_cannot_be_understood_is_refused(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        put(change)


def test_no_refusal_is_missing() -> None:
    assert len(REFUSED) == 13


def test_a_condition_by_name_comes_from_the_library() -> None:
    library = {("conditions", "beta"): Artifact("conditions", "beta", CookiePresent("beta"))}
    data = deployment_to_json(running())
    route_of(data, "gateways")["condition"] = "beta"
    assert condition_of(deployment_from_json(data, running(), library=library)) == CookiePresent("beta")


def test_a_printed_deployment_is_read_without_one_that_runs() -> None:
    stored = put(lambda data: route_of(data, "routing").update(condition=ABC))
    stored = replace(put(half_and_half, stored), ports={"c.ports.p": 1}, hosts={"c": "h"})
    idle = (replace(own, status=Status(), instances=()) for own in stored.clusters[0].services)
    cluster = replace(stored.clusters[0], services=tuple(idle))
    assert read_deployment(deployment_to_json(stored)) == replace(stored, clusters=(cluster,))


def test_a_dollar_sign_of_a_running_process_is_not_read_as_a_reference() -> None:
    text = "{name: x, clusters: {c: {breed: {name: b, deployable: i, env: {A: '$$c.B'}}}}}"
    deployment = deploy(read_blueprint(text, "x"), "d")
    assert read_deployment(deployment_to_json(deployment)) == deployment


@pytest.mark.parametrize("path", [AUDITED, f"d/hackable/{AUDITED}/port", f"hackable/{AUDITED}/port"])
def test_a_cluster_gateway_is_changed_by_short_or_full_path(path: str) -> None:
    current = running().clusters[0].gateways[0]
    data = {"name": "d/hackable/port", "routes": {path: {"weight": "0%", "condition": ABC}}}
    changed = gateway_from_json(data, current, running())
    assert changed.routes[0].condition == CookieContains("PHPSESSID", "abc")
    assert [route.weight for route in changed.routes] == [0, 100]


@pytest.mark.parametrize("index", [0, 1])
def test_a_printed_gateway_is_taken_back_unchanged(index: int) -> None:
    deployment = running()
    gateway = (*deployment.gateways, *deployment.clusters[0].gateways)[index]
    assert gateway_from_json(gateway_to_json(gateway), gateway, deployment) == gateway


def test_an_external_gateway_is_changed() -> None:
    (current,) = running().gateways
    changed = gateway_from_json({"sticky": "instance"}, current, running())
    assert changed == replace(current, sticky=Sticky.INSTANCE)


def test_a_gateway_is_not_renamed() -> None:
    (current,) = running().gateways
    with pytest.raises(InputError, match="the name of another gateway than 'd/9051'"):
        gateway_from_json({"name": "d/9052"}, current, running())


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in inner for deeper in paths_in(item, (*path, key)))][
        0 if path else 1 :
    ]


PRINTED = deployment_to_json(running())
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([ABC, "50%"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["routes", "a"]), inner),
    max_leaves=4,
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(paths_in(PRINTED)), JUNK)
def test_a_damaged_deployment_is_taken_or_refused(path: tuple[Any, ...], junk: Any) -> None:
    data = copy.deepcopy(PRINTED)
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    try:
        changed = deployment_from_json(data, running())
    except InputError:
        return
    assert deployment_from_json(deployment_to_json(changed), changed) == changed


@settings(max_examples=200, deadline=None)
@given(JUNK)
def test_any_json_is_taken_for_a_gateway_or_refused(junk: Any) -> None:
    (current,) = running().gateways
    for data in (junk, {"routes": junk}, {"routes": {"hackable/port": junk}}):
        try:
            gateway_from_json(data, current, running())
        except InputError:
            continue
