"""How requests are treated, as people write it: what is meant, and what is refused where."""

from __future__ import annotations

from typing import Any

import pytest

from divertor.conditions import parse
from divertor.errors import InputError
from divertor.model.artifacts import Gateway, Rewrite
from divertor.model.reading import read_blueprint, read_gateway
from divertor.model.reading_traffic import RETRIABLE
from divertor.model.traffic import (
    CircuitBreaker,
    HeaderEdits,
    Mirror,
    OutlierDetection,
    Retries,
    Traffic,
)

BREED = "{name: b, deployable: i, ports: {p: 80}}"


def gateway(fields: str) -> Gateway:
    return read_gateway(f"{{name: g, port: 80, {fields}}}", "g.yaml")


TRAFFIC: list[tuple[str, Traffic]] = [
    ("timeout: 30s", Traffic(timeout=30)),
    ("timeout: 0s", Traffic(timeout=0)),
    ("idle_timeout: 5m", Traffic(idle=300)),
    ("retries: 2", Traffic(retries=Retries(2))),
    ("retries: {}", Traffic(retries=Retries())),
    (
        "retries: {attempts: 0, on: [5xx, RESET], per_try: 250ms}",
        Traffic(retries=Retries(0, ("5xx", "reset"), 0.25)),
    ),
    ("retries: {on: 'gateway-error, reset reset'}", Traffic(retries=Retries(on=("gateway-error", "reset")))),
    (
        "headers: {request: {set: {X-A: 1}, add: {x-b: [c, 'd %REQ(x)%']}, remove: x-e}}",
        Traffic(
            request_headers=HeaderEdits((("x-a", "1"),), (("x-b", "c"), ("x-b", "d %REQ(x)%")), ("x-e",))
        ),
    ),
    (
        "headers: {response: {remove: [Server, X-Powered-By], set: {Host: a}}}",
        Traffic(response_headers=HeaderEdits(set=(("host", "a"),), remove=("server", "x-powered-by"))),
    ),
    ("mirror: '[10.0.0.1:80]'", Traffic(mirrors=(Mirror("[10.0.0.1:80]"),))),
    ("mirror: {a/b: 10%}", Traffic(mirrors=(Mirror("a/b", 10),))),
    ("mirror: [a/b, {c/d: 5%}]", Traffic(mirrors=(Mirror("a/b"), Mirror("c/d", 5)))),
    ("timeout: ~, retries: ~, headers: ~, mirror: ~, idle_timeout: ~", Traffic()),
    ("headers: {request: ~, response: {set: ~, add: {}}}", Traffic()),
]


@pytest.mark.parametrize(("fields", "traffic"), TRAFFIC)
def test_a_gateway_says_how_requests_are_treated(fields: str, traffic: Traffic) -> None:
    assert gateway(fields).traffic == traffic


@pytest.mark.parametrize(("fields", "traffic"), TRAFFIC)
def test_a_route_says_it_in_the_same_words(fields: str, traffic: Traffic) -> None:
    assert gateway(f"routes: {{a/b: {{{fields}}}}}").routes[0].traffic == traffic


@pytest.mark.parametrize("occasion", RETRIABLE)
def test_every_occasion_to_retry_is_taken(occasion: str) -> None:
    assert gateway(f"retries: {{on: {occasion}}}").traffic.retries == Retries(on=(occasion,))


REFUSED: list[tuple[str, int, str]] = [
    ("timeout: 30", 30, "'30' is no duration; expected a duration such as 30s"),
    ("timeout: -1s", 30, "'-1s' is no duration"),
    ("timeout: 8d", 30, "'8d' is too short or too long"),
    ("idle_timeout: 0.0001s", 35, "'0.0001s' is too short or too long"),
    ("retries: 11", 30, "expected a whole number from 0 to 10"),
    ("retries: {on: 5x}", 35, "'5x' is no occasion to retry; expected '5xx'"),
    ("retries: {on: []}", 35, "retries on no occasion"),
    ("retries: {per_try: 0s}", 40, "too short or too long; expected 1ms to 7d"),
    ("retries: {atempts: 1}", 31, "unknown key 'atempts' in retries; expected 'attempts'"),
    ("headers: {set: {a: b}}", 31, "unknown key 'set' in headers"),
    ("headers: {request: {set: {':path': /x}}}", 47, "':path' cannot be a header's name"),
    ("headers: {request: {set: {'a b': c}}}", 47, "cannot be a header's name"),
    ("headers: {request: {set: {Host: c}}}", 47, "the header 'host' is not a gateway's to edit"),
    ("headers: {request: {remove: [host]}}", 50, "the header 'host' is not a gateway's to edit"),
    ("headers: {request: {set: {X-Divertor-Token: c}}}", 47, "'x-divertor-token' is the gateway's own"),
    ("headers: {response: {add: {x-envoy-x: c}}}", 48, "'x-envoy-x' is the gateway's own"),
    ("headers: {response: {set: {Transfer-Encoding: c}}}", 48, "not a gateway's to edit"),
    ("headers: {response: {set: {content-length: 7}}}", 48, "not a gateway's to edit"),
    ('headers: {request: {set: {a: "b\\r\\nc: d"}}}', 50, "no value a header can have"),
    ('headers: {request: {set: {a: "b\\0"}}}', 50, "no value a header can have"),
    ("headers: {request: {set: {a: ''}}}", 50, "an empty value of a header"),
    ("headers: {request: {set: {a: [b, c]}}}", 50, "a header's value is a list"),
    ("headers: {request: {set: {a: b, A: c}}}", 40, "a header that is set twice"),
    ("mirror: 'a//b'", 29, "'a//b' is no path of a mirror"),
    ("mirror: {a: 101%}", 33, "'101%' is no share"),
    ("mirror: [a, {a: 5%}]", 29, "a second copy to the same place"),
    ("mirror: {" + ", ".join(f"{n}: 1%" for n in range(9)) + "}", 29, "9 copies of each request"),
]


@pytest.mark.parametrize(("fields", "column", "message"), REFUSED)
def test_what_cannot_be_done_with_requests_is_refused_at_its_place(
    fields: str, column: int, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        gateway(fields)
    assert message in str(refused.value)
    assert refused.value.position.column == column


def test_no_case_is_missing() -> None:
    assert (len(TRAFFIC), len(RETRIABLE), len(REFUSED)) == (14, 12, 27)


def test_edits_are_bounded() -> None:
    many = ", ".join(f"x-{n}: v" for n in range(65))
    with pytest.raises(InputError, match="too many header edits"):
        gateway(f"headers: {{request: {{set: {{{many}}}}}}}")


@pytest.mark.parametrize(
    "rewrites",
    [
        "/new if path is /old",
        "[/new if path is /old]",
        "{path: /new if path is /old}",
        "[{path: '/new   IF path is /old '}]",
    ],
)
def test_a_rewrite_may_be_written_short(rewrites: str) -> None:
    (route,) = gateway(f"routes: {{a/b: {{rewrites: {rewrites}}}}}").routes
    assert route.rewrites == (Rewrite("/new", parse("path is /old")),)


def test_a_rewrite_may_hold_the_path_as_it_came() -> None:
    (route,) = gateway("routes: {a/b: {rewrites: '/v1%[path] if true'}}").routes
    assert route.rewrites == (Rewrite("/v1%[path]", parse("true")),)


@pytest.mark.parametrize(
    ("rewrite", "column", "message"),
    [
        ("new if true", 46, "'new' is no path"),
        ("/new?a=b if true", 46, "'/new?a=b' is no path"),
        ("'/%[query] if true'", 46, "'/%[query]' is no path"),
        ("/a%zz if true", 46, "'/a%zz' is no path"),
        ("/new", 46, "'/new' is no rewrite; expected NEW_PATH if CONDITION"),
        ("/new if", 46, "is no rewrite"),
        ("/new if hots is a", 54, "unexpected 'hots'"),
        ("'/new if hots is a'", 55, "unexpected 'hots'"),
        ("'  /new if  host is *'", 66, "not a host"),
        ("{pth: /new if true}", 47, "unknown key 'pth' in a rewrite; expected 'path'"),
    ],
)
def test_what_is_no_rewrite_is_refused_at_its_place(rewrite: str, column: int, message: str) -> None:
    with pytest.raises(InputError) as refused:
        gateway(f"routes: {{a/b: {{rewrites: {rewrite}}}}}")
    assert (message in str(refused.value), refused.value.position.column) == (True, column)


def cluster_of(fields: str) -> Any:
    return read_blueprint(f"{{name: x, clusters: {{c: {{{fields}}}}}}}", "x.yaml").clusters[0]


def test_limits_of_a_version_are_read_of_services_and_of_clusters() -> None:
    found = cluster_of(
        f"services: [{{breed: {BREED}, outlier_detection: {{errors: 3, maximum: 10%, interval: 500ms}}}}], "
        "circuit_breaker: {requests: 5, retries: 0}, outlier_detection: true"
    )
    assert found.services[0].outlier_detection == OutlierDetection(3, 0.5, 30, 10)
    assert found.outlier_detection == OutlierDetection()
    assert found.circuit_breaker == CircuitBreaker(requests=5, retries=0)
    assert found.services[0].circuit_breaker is None


def test_a_cluster_that_is_one_breed_may_have_limits() -> None:
    assert cluster_of("breed: b, circuit_breaker: {pending: 0}").circuit_breaker == CircuitBreaker(pending=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("outlier_detection: 5", "outlier detection is the text '5'; expected a mapping"),
        ("outlier_detection: {errors: 0}", "'0' is no number of errors"),
        ("outlier_detection: {interval: 0s}", "too short or too long; expected 1ms to 7d"),
        ("outlier_detection: {maximum: 101%}", "'101%' is no share"),
        ("circuit_breaker: {conections: 1}", "unknown key 'conections' in a circuit breaker; expected 'conn"),
        ("circuit_breaker: {connections: 0}", "expected a whole number from 1 to"),
    ],
)
def test_what_is_no_limit_is_refused(fields: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        cluster_of(f"breed: b, {fields}")
    assert message in str(refused.value)
