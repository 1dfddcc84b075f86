"""Gateways that lead to gateways, copies, selectors and limits.

What a blueprint may say, what becomes of it when it is deployed, merged, reduced, printed and changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from divertor.errors import ConflictError, InputError
from divertor.model.artifacts import Gateway, Protocol, Sticky
from divertor.model.deploying import deploy, merge, remove
from divertor.model.deployments import Deployment
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import read_blueprint
from divertor.model.rendering import deployment_to_json, gateway_to_json
from divertor.model.traffic import CircuitBreaker, HeaderEdits, Mirror, OutlierDetection, RateLimit, Tls
from divertor.model.updating import deployment_from_json, gateway_from_json, read_deployment

BLUEPRINT = """
name: shop
gateways:
  9000: %s
  all: {port: 9001, routes: {inner: {weight: 50%%}, other/p: {weight: 50%%}}}
  inner: {virtual_hosts: inner.example, routes: {web/p: {condition: has cookie a}, "[10.0.0.1:80]": {}}}
clusters:
  web:
    services:
      - breed: {name: "web:1", deployable: i, ports: {p: 80/http2}}
        circuit_breaker: {requests: 7}
      - breed: {name: "web:2", deployable: i, ports: {p: 80/http2}}
    gateways: {timeout: 9s, routes: {"web:1": {weight: 100%%, mirror: {"web:2": 10%%}}}}
    outlier_detection: {errors: 2}
    circuit_breaker: {requests: 9}
  other: {breed: {name: "other:1", deployable: i, ports: {p: 80}}}
"""


def running(first: str = "all") -> Deployment:
    return deploy(read_blueprint(BLUEPRINT % first, "x.yaml"), "d")


def of_name(deployment: Deployment, name: str) -> Gateway:
    (found,) = (gateway for gateway in deployment.gateways if gateway.name == f"d/{name}")
    return found


def paths(deployment: Deployment, name: str) -> list[str]:
    return [route.path for route in of_name(deployment, name).routes]


def test_a_route_may_lead_to_another_gateway_of_the_blueprint() -> None:
    assert paths(running(), "9000") == ["d/all"]
    assert paths(running(), "all") == ["d/inner", "d/other/p"]
    assert paths(running(), "inner") == ["d/web/p", "[10.0.0.1:80]"]


def test_of_a_cluster_and_a_gateway_of_one_name_the_cluster_is_meant() -> None:
    assert paths(running("{name: web, routes: web}"), "web") == ["d/web/p"]


def test_the_gateway_of_an_http2_port_is_an_http_gateway() -> None:
    assert running().clusters[0].gateways[0].protocol is Protocol.HTTP


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("al", "x.yaml:4:9: no cluster or gateway 'al'; expected 'all'"),
        ("9000", "x.yaml:4:9: gateways that lead round in a circle: 9000; expected an end"),
        ("x\n  x: {port: 1, routes: y}\n  y: 9000", "gateways that lead round in a circle: 9000, x, y"),
        ("t\n  t: {port: 1/tcp}", "x.yaml:4:9: a http gateway to the tcp port 't'; expected one protocol"),
        ("{routes: all, virtual_hosts: Inner.Example}", "the host 'inner.example' leads to '9000' already"),
        (
            "{routes: all, mirror: web}",
            "x.yaml:4:9: a copy to 'web', which is no version; expected cluster/serv",
        ),
        ("{routes: all, mirror: wbe/x}", "no cluster 'wbe'; expected 'web'"),
        (
            "{routes: all, mirror: 'web/web:3'}",
            "a copy to 'web/web:3', which is no version; expected 'web:2'",
        ),
        ("{routes: all, mirror: 'web/web:2/q'}", "no port 'q'; expected p"),
        ("{routes: {(1): {weight: 60%}, (2): {weight: 50%}}, selector: true}", "at most 100% in all"),
    ],
)
def test_gateways_that_lead_nowhere_are_refused_at_their_place(first: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_blueprint(BLUEPRINT % first, "x.yaml")
    assert message in str(refused.value)


def test_a_copy_to_a_service_that_is_not_there_is_refused() -> None:
    text = (BLUEPRINT % "all").replace('mirror: {"web:2": 10%}', 'mirror: {"web:3": 10%}')
    with pytest.raises(InputError, match="x.yaml:13:38: no service 'web:3'; expected 'web:2'"):
        read_blueprint(text, "x.yaml")


def test_copies_go_to_a_version_by_its_full_path() -> None:
    route = running().clusters[0].gateways[0].routes[0]
    assert route.traffic.mirrors == (Mirror("d/web/web:2/p", 10),)
    mirrors = of_name(running("{routes: all, mirror: [web/web:1, other/other:1/p]}"), "9000").traffic.mirrors
    assert mirrors == (Mirror("d/web/web:1/p"), Mirror("d/other/other:1/p"))


def test_limits_of_a_service_win_over_the_clusters() -> None:
    first, second = running().clusters[0].services
    assert (first.circuit_breaker, second.circuit_breaker) == (
        CircuitBreaker(requests=7),
        CircuitBreaker(requests=9),
    )
    assert first.outlier_detection == second.outlier_detection == OutlierDetection(2)


def test_what_a_gateway_does_with_requests_comes_along() -> None:
    assert running().clusters[0].gateways[0].traffic.timeout == 9


SELECTING = "{port: 9000, selector: 'label(v)((.*))', routes: {(1): {weight: 30%, condition: has cookie a}}}"


def test_the_routes_of_a_gateway_that_selects_stay_as_they_are_asked_for() -> None:
    (route,) = of_name(running(SELECTING), "9000").routes
    assert (route.path, route.weight) == ("(1)", 30)


def test_a_route_that_selects_needs_no_cluster_of_its_name() -> None:
    assert paths(running("{routes: {red: {selector: name(red)}}}"), "9000") == ["red"]


def test_a_route_that_selects_may_be_called_like_its_gateway() -> None:
    assert paths(running("{name: red, routes: {red: {selector: name(red)}}}"), "red") == ["red"]


def without(deployment: Deployment, clusters: str) -> Deployment | None:
    return remove(deployment, read_blueprint(f"{{name: x, clusters: {clusters}}}", "x"))


def test_a_gateway_goes_with_the_last_that_it_led_to() -> None:
    text = "{name: b, gateways: {1: a, a: c/p}, clusters: {c: %s, e: %s}}"
    breed = "{breed: {name: s, deployable: i, ports: {p: 80}}}"
    left = without(deploy(read_blueprint(text % (breed, breed), "x"), "d"), "{c: s}")
    assert left is not None
    assert left.gateways == ()


def test_a_gateway_that_would_not_carry_everything_is_not_reduced() -> None:
    with pytest.raises(ConflictError, match="d/all would not carry 100%"):
        without(running(), '{other: "other:1"}')


def test_copies_to_a_version_end_with_it() -> None:
    left = without(running("{routes: all, mirror: web/web:2}"), '{web: {services: "web:2"}}')
    assert left is not None
    assert left.clusters[0].gateways[0].routes[0].traffic.mirrors == ()
    assert of_name(left, "9000").traffic.mirrors == ()


def test_a_merged_gateway_may_lead_to_one_that_runs() -> None:
    more = read_blueprint("{name: b, gateways: {9005: x, x: '[a:1]'}, clusters: {}}", "x")
    assert paths(merge(running(), more), "9005") == ["d/x"]


FULL = """{port: 9000, routes: {all: {rewrites: /a if true, timeout: 1s}}, virtual_hosts: [a.b, '*.c'],
  timeout: 3s, idle_timeout: 4s, retries: {attempts: 1, on: [5xx], per_try: 1s},
  headers: {request: {set: {a: b}}, response: {remove: server}}, mirror: {web/web:1: 5%},
  rate_limits: {requests: 1, every: 1m, per: client address, burst: 2},
  tls: {certificate: /c, key: /k, client_ca: /ca}, proxy_protocol: true, trusted_proxies: 10.0.0.0/8}"""


@pytest.mark.parametrize("first", ["all", FULL, SELECTING, "{routes: {red: {selector: name(red)}}}"])
def test_a_printed_deployment_reads_back_the_same(first: str) -> None:
    before = running(first)
    printed = json.loads(json.dumps(deployment_to_json(before)))
    assert read_deployment(printed) == before
    assert deployment_from_json(printed, before) == before


def test_what_a_put_does_not_say_of_a_gateway_stays() -> None:
    deployment = running(FULL)
    before = of_name(deployment, "9000")
    assert gateway_from_json({"sticky": "route"}, before, deployment) == replace(before, sticky=Sticky.ROUTE)


def test_a_tcp_gateway_cannot_be_put_to_do_what_takes_requests() -> None:
    deployment = running("{port: 9000/tcp, routes: '[a:1]'}")
    with pytest.raises(InputError, match="what is done with requests of a tcp gateway"):
        gateway_from_json({"timeout": "1s"}, of_name(deployment, "9000"), deployment)


def test_a_gateway_becomes_one_that_selects_only_without_its_old_routes() -> None:
    deployment = running()
    before = of_name(deployment, "9000")
    with pytest.raises(InputError, match="the route 'd/all' of a gateway that selects its routes"):
        gateway_from_json({"selector": "true"}, before, deployment)
    changed = gateway_from_json({"selector": "true", "routes": {}}, before, deployment)
    assert (changed.routes, changed.selector is None) == ((), False)


CHANGES: list[tuple[dict[str, Any], str, Any]] = [
    ({"timeout": "7s"}, "traffic.timeout", 7),
    ({"timeout": None}, "traffic.timeout", None),
    ({"idle_timeout": "8s"}, "traffic.idle", 8),
    ({"retries": None}, "traffic.retries", None),
    ({"headers": {"response": {"remove": ["via"]}}}, "traffic.request_headers", HeaderEdits()),
    ({"mirror": "other/other:1"}, "traffic.mirrors", (Mirror("d/other/other:1/p"),)),
    ({"virtual_hosts": []}, "virtual_hosts", ()),
    (
        {"rate_limits": "5/s per cookie a"},
        "rate_limits",
        (RateLimit(5, 1, KeySelector(KeyKind.COOKIE, "a")),),
    ),
    ({"tls": None}, "tls", None),
    ({"tls": {"certificate": "/x", "key": "/y"}}, "tls", Tls("/x", "/y")),
    ({"proxy_protocol": False}, "proxy_protocol", False),
    ({"trusted_proxies": ["::1"]}, "trusted_proxies", ("::1/128",)),
]


@pytest.mark.parametrize(("change", "name", "value"), CHANGES)
def test_a_put_changes_what_it_says(change: dict[str, Any], name: str, value: Any) -> None:
    deployment = running(FULL)
    found: Any = gateway_from_json(change, of_name(deployment, "9000"), deployment)
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_whole_printed_gateway_may_be_put_back_with_one_thing_changed() -> None:
    deployment = running(FULL)
    before = of_name(deployment, "9000")
    data = gateway_to_json(before) | {"selector": "true", "routes": {"(1)": {}}}
    changed = gateway_from_json(data, before, deployment)
    assert (changed.selector is not None, changed.tls, changed.traffic) == (True, before.tls, before.traffic)
