"""What is printed can be read back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import parse
from divertor.model import artifacts as a
from divertor.model import traffic as t
from divertor.model.deploying import deploy
from divertor.model.deployments import Instance, Status
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import blueprint_from_json, read_artifacts, read_blueprint
from divertor.model.reading_selectors import parse_selector
from divertor.model.rendering import (
    artifact_to_json,
    blueprint_to_json,
    deployment_to_json,
    gateway_to_json,
    status_to_json,
)
from divertor.model.updating import deployment_from_json

NAMES = st.from_regex(r"[a-z][a-z0-9:._-]{0,6}", fullmatch=True)
STRICT = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=8)
EXTRAS = st.dictionaries(
    st.just("metadata"), st.dictionaries(TEXTS, st.integers(0, 9), max_size=2), max_size=1
)
SECONDS = st.floats(0.001, 10_000).map(lambda value: round(value, 3))
CONDITIONS = st.sampled_from(
    ["has cookie a", "user-agent = 'x y' or host = b.c", "not (true and header x has é)"]
)

HEALTH = st.none() | st.lists(
    st.builds(
        a.HealthCheck,
        path=st.just("/up"),
        port=STRICT | st.just(""),
        protocol=st.sampled_from(["HTTP", "HTTPS"]),
        initial_delay=SECONDS,
        timeout=SECONDS,
        interval=SECONDS,
        failures=st.integers(1, 9),
    ),
    max_size=2,
).map(tuple)


def variables(names: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[a.EnvironmentVariable, ...]]:
    one = st.builds(a.EnvironmentVariable, names, st.none() | TEXTS, STRICT | st.just(""))
    return st.lists(one, max_size=2, unique_by=lambda variable: variable.name).map(tuple)


def references(kind: str) -> st.SearchStrategy[a.Reference]:
    return NAMES.map(lambda name: a.Reference(kind, name))


DEPLOYABLES = st.sampled_from(
    [
        a.Deployable(a.COMMAND, "run $PORT"),
        a.Deployable(a.ADDRESS, "[::1]:80"),
        a.Deployable(a.DOCKER, "a/b:c"),
    ]
)
SCALES = st.builds(
    a.Scale,
    st.integers(0, 10_000).map(lambda milli: milli / 1000),
    st.integers(0, 2**45),
    st.integers(0, 9999),
)


WHOLE = st.integers(1, 1000)
OUTLIERS = st.none() | st.builds(t.OutlierDetection, WHOLE, SECONDS, SECONDS, st.integers(0, 100))
BREAKERS = st.none() | st.builds(t.CircuitBreaker, WHOLE, WHOLE, WHOLE, WHOLE)
RETRIES = st.none() | st.builds(t.Retries, st.integers(0, 10), st.just(("5xx", "reset")), st.none() | SECONDS)
HEADERS = st.from_regex(r"x-[a-z]{1,4}", fullmatch=True).filter(lambda name: name != "x-envo")
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)
EDITS = st.builds(
    t.HeaderEdits,
    st.lists(st.tuples(HEADERS, VALUES), max_size=2, unique_by=lambda edit: edit[0]).map(tuple),
    st.lists(st.tuples(HEADERS, VALUES), max_size=2, unique_by=lambda edit: edit[0]).map(tuple),
    st.lists(HEADERS, max_size=2).map(tuple),
)
REWRITES = st.lists(
    st.builds(a.Rewrite, st.sampled_from(["/new", "/v1%[path]", "%[path]/x%20"]), CONDITIONS.map(parse)),
    max_size=2,
).map(tuple)


def traffics(versions: tuple[str, ...] = ()) -> st.SearchStrategy[t.Traffic]:
    """With copies to any of `versions`, and outside."""
    mirror = st.builds(t.Mirror, st.sampled_from([*versions, "[a.b:80]"]), st.integers(0, 100))
    mirrors = st.lists(mirror, max_size=2, unique_by=lambda one: one.to).map(tuple)
    full = st.builds(
        t.Traffic, st.none() | SECONDS | st.just(0.0), st.none() | SECONDS, RETRIES, EDITS, EDITS, mirrors
    )
    return st.just(t.Traffic()) | full


@st.composite
def breeds(draw: st.DrawFn, name: str, port: str) -> a.Breed:
    protocol = draw(st.sampled_from([a.Protocol.HTTP, a.Protocol.HTTP2]))
    ports = (a.Port(port, draw(st.integers(0, 65535)), protocol),)
    return a.Breed(name, draw(DEPLOYABLES), ports, draw(variables(STRICT)), draw(HEALTH), draw(EXTRAS))


@st.composite
def routes(draw: st.DrawFn, paths: list[str]) -> tuple[a.Route, ...]:
    listed = draw(st.lists(st.sampled_from(paths), unique=True, max_size=3))
    found = []
    for path in listed:
        condition = draw(st.none() | CONDITIONS.map(parse) | references("conditions"))
        named = condition if isinstance(condition, a.Reference) else None
        inline = None if isinstance(condition, a.Reference) else condition
        weight, strength = draw(st.none() | st.integers(0, 30)), draw(st.integers(0, 100))
        found.append(
            a.Route(
                path,
                weight,
                inline,
                strength,
                named,
                draw(REWRITES),
                traffic=draw(traffics()),
                extras=draw(EXTRAS),
            )
        )
    # A route without a weight takes the rest, so that the sum always fits.
    return (*found[:-1], a.Route(found[-1].path)) if found else ()


@st.composite
def clusters(draw: st.DrawFn, name: str) -> a.Cluster:
    versions = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    services = []
    for version in versions:
        breed = draw(breeds(version, "p") | st.just(a.Reference("breeds", version)))
        scale = draw(st.none() | SCALES | references("scales"))
        services.append(
            a.Service(
                breed,
                scale,
                draw(variables(STRICT)),
                draw(HEALTH),
                draw(OUTLIERS),
                draw(BREAKERS),
                draw(EXTRAS),
            )
        )
    gateway = st.builds(
        a.Gateway,
        st.sampled_from(["p", ""]),
        st.none() | st.integers(1, 65535),
        sticky=st.sampled_from(a.Sticky),
        routes=routes(versions),
        virtual_hosts=st.just(("a.example", "*.b")) | st.just(()),
        traffic=traffics(tuple(versions)),
        extras=EXTRAS,
    )
    gateways = draw(st.lists(gateway, max_size=1).map(tuple))
    return a.Cluster(
        name, tuple(services), gateways, draw(HEALTH), draw(OUTLIERS), draw(BREAKERS), draw(EXTRAS)
    )


KEYS = st.sampled_from(
    [
        KeySelector(KeyKind.COOKIE, "s"),
        KeySelector(KeyKind.HEADER, "x-k"),
        KeySelector(KeyKind.ADDRESS),
        KeySelector(KeyKind.PREFIX, "24/56"),
        KeySelector(KeyKind.BEARER),
        KeySelector(KeyKind.JA3),
        KeySelector(KeyKind.JA4),
    ]
)
RECORDINGS = st.builds(
    a.Recording,
    st.integers(0, 2**20),
    st.integers(0, 2**30),
    st.lists(st.sampled_from(["header authorization", "cookie s", "field pass.word"]), unique=True).map(
        tuple
    ),
)
LIMITS = st.builds(
    t.RateLimit,
    st.integers(1, 10**9),
    st.integers(50, 86_400_000).map(lambda milli: milli / 1000),
    st.none() | KEYS,
    st.none() | st.integers(1, 10**9),
)
TLS = st.builds(
    t.Tls, st.just("/c.pem"), st.just("/k.pem"), st.just("/ca.pem"), st.booleans(), st.just("1.3")
)


@st.composite
def external(draw: st.DrawFn, port: int, path: str) -> a.Gateway:
    """A gateway with a port: to a path, or to what a selector finds."""
    selector = draw(st.none() | st.just(parse_selector("name((.*)) and not false")))
    if selector is not None:
        paths: tuple[a.Route, ...] = (a.Route("(1)", 7), a.Route("(2)"))
    else:
        paths = draw(routes([path]))
    return a.Gateway(
        str(port),
        port,
        routes=paths,
        virtual_hosts=draw(st.just((f"{port}.example",)) | st.just(())),
        selector=selector,
        traffic=draw(traffics()),
        rate_limits=draw(st.lists(LIMITS, max_size=2).map(tuple)),
        tls=draw(st.none() | TLS),
        proxy_protocol=draw(st.booleans()),
        trusted_proxies=draw(st.just(("10.0.0.0/8", "::1/128")) | st.just(())),
        extras=draw(EXTRAS),
    )


@st.composite
def blueprints(draw: st.DrawFn) -> a.Blueprint:
    own = tuple(draw(clusters(name)) for name in draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)))
    ports = draw(st.lists(st.integers(1, 65535), max_size=2, unique=True))
    gateways = tuple(draw(external(port, f"{own[0].name}/p")) for port in ports)
    keys = st.lists(KEYS, min_size=1, unique=True).map(tuple)
    durations = st.none() | st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=99))
    policies = tuple(
        a.IsolationPolicy(
            cluster.name,
            cluster.services[0].name,
            draw(keys),
            draw(durations),
            draw(st.sampled_from(a.FailPolicy)),
            draw(st.sampled_from(a.Mode)),
            draw(st.none() | CONDITIONS.map(parse)),
            draw(st.none() | RECORDINGS),
        )
        for cluster in own
    )
    scoped = variables(STRICT.map(lambda name: f"{own[0].name}.{name}"))
    return a.Blueprint(draw(NAMES), own, gateways, draw(scoped), policies, draw(EXTRAS))


@settings(max_examples=150, deadline=None)
@given(blueprints())
def test_a_blueprint_survives_json(blueprint: a.Blueprint) -> None:
    assert blueprint_from_json(json.loads(json.dumps(blueprint_to_json(blueprint)))) == blueprint


@settings(max_examples=50, deadline=None)
@given(blueprints())
def test_a_blueprint_survives_json_read_as_text(blueprint: a.Blueprint) -> None:
    assert read_blueprint(json.dumps(blueprint_to_json(blueprint), indent=2), "x") == blueprint


ARTIFACTS = """
{kind: breeds, name: b, deployable: image, ports: {p: 80}, env: {A: ~}, health_checks: []}
---
{kind: scales, name: small, cpu: 100m, memory: 64MB}
---
{kind: conditions, name: beta, condition: has cookie beta or user-agent = safari}
---
{kind: gateways, name: x/c/p, port: 8080, sticky: route, routes: {x/c/b/p: {weight: 100%, condition: beta}}}
---
{kind: blueprints, name: bp, clusters: {c: b}}
"""


def test_every_kind_of_artifact_survives_json() -> None:
    artifacts = read_artifacts(ARTIFACTS, "x")
    printed = "\n---\n".join(json.dumps(artifact_to_json(artifact)) for artifact in artifacts)
    assert read_artifacts(printed, "x") == artifacts
    assert len({artifact.kind for artifact in artifacts}) == 5


SHOP = """
name: shop
gateways: {9051: c/p}
clusters:
  c:
    services:
      - breed: {name: "v:1", deployable: i, ports: {p: 80}}
      - breed: {name: "v:2", deployable: i, ports: {p: 80}}
    gateways: {routes: {"v:2": {weight: 100%}, "v:1": {condition: has cookie a or has cookie b}}}
"""


def printed_shop() -> Any:
    return deployment_to_json(deploy(read_blueprint(SHOP, "x"), "d"))


def test_a_deployment_has_vamps_shape() -> None:
    data = printed_shop()
    assert data["kind"] == "deployments"
    service = data["clusters"]["c"]["services"][0]
    assert service["status"] == {
        "intention": "Deployment",
        "since": None,
        "phase": {"name": "Initiated", "since": None},
    }
    assert data["clusters"]["c"]["gateways"]["p"]["routes"]["v:2"]["weight"] == "100%"
    assert list(data["gateways"]["9051"]["routes"]) == ["d/c/p"]


def test_a_route_says_its_condition_in_the_new_way_and_in_the_old() -> None:
    cluster = printed_shop()["clusters"]["c"]
    route, old = (cluster[key]["p"]["routes"]["v:1"] for key in ("gateways", "routing"))
    assert route["condition"] == {"condition": "has cookie a or has cookie b"}
    assert old["filters"] == [{"condition": "has cookie a"}, {"condition": "has cookie b"}]
    assert (route["condition_strength"], old["filter_strength"]) == ("100%", "100%")


@pytest.mark.parametrize(("name", "internal"), [("d/c/p", True), ("d/9051", False), ("web", False)])
def test_a_gateway_says_whether_it_is_internal(name: str, internal: bool) -> None:
    assert gateway_to_json(a.Gateway(name))["internal"] is internal


def test_a_running_service_tells_its_status_and_instances() -> None:
    status = status_to_json(Status("Deployment", "Done", datetime(2019, 4, 10, tzinfo=UTC)))
    assert status["phase"] == {"name": "Done", "since": "2019-04-10T00:00:00.000000Z"}
    running = deploy(read_blueprint(SHOP, "x"), "d")
    service = replace(
        running.clusters[0].services[0], instances=(Instance("i", "127.0.0.1", {"p": 1}, True),)
    )
    cluster = replace(running.clusters[0], services=(service,))
    data = deployment_to_json(replace(running, clusters=(cluster,)))
    assert data["clusters"]["c"]["services"][0]["instances"] == [
        {"name": "i", "host": "127.0.0.1", "ports": {"p": 1}, "deployed": True}
    ]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["has cookie a or has cookie a", "true", "not has header x"]), st.integers(0, 100))
def test_a_printed_deployment_is_taken_back_unchanged(condition: str, strength: int) -> None:
    text = SHOP.replace("has cookie a or has cookie b", f"{condition}, condition_strength: {strength}%")
    running = deploy(read_blueprint(text, "x"), "d")
    assert deployment_from_json(json.loads(json.dumps(deployment_to_json(running))), running) == running
