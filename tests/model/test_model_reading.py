"""Blueprints and their parts as people write them: Vamp's short forms, and what is refused."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import CookiePresent, UserAgent
from divertor.errors import InputError
from divertor.model.artifacts import (
    Blueprint,
    Breed,
    Deployable,
    EnvironmentVariable,
    FailPolicy,
    HealthCheck,
    IsolationPolicy,
    Port,
    Protocol,
    Reference,
    Scale,
    Sticky,
)
from divertor.model.deploying import deploy
from divertor.model.documents import parse_documents, to_value
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import (
    blueprint_from_json,
    read_artifacts,
    read_blueprint,
    read_breed,
    read_condition,
    read_gateway,
    read_scale,
)

#: Two versions behind one port, and where attackers go.
SHOP = """
name: shop
gateways:
  9051: hackable/port
clusters:
  hackable:
    gateways:
      routes:
        hackable:1.0.0: {weight: 0%}
        hackable:1.1.0: {weight: 100%}
    services:
      - breed:
          name: hackable:1.0.0
          deployable: {type: command, definition: python app.py --port $PORT}
          ports: {port: 80/http}
        scale: {cpu: 0.2, memory: 512MB, instances: 1}
      - breed:
          name: hackable:1.1.0
          deployable: {type: address, definition: "127.0.0.1:8080"}
          ports: {port: 80}
isolation:
  hackable:
    to: hackable:1.0.0
    keys: [cookie session, client address]
    for: 24h
"""


def of_clusters(clusters: str) -> Blueprint:
    return read_blueprint(f"name: x\nclusters: {{{clusters}}}", "x.yaml")


def of_breed(breed: str) -> Blueprint:
    return of_clusters(f"c: {{breed: {breed}}}")


BREED = "{name: b, deployable: i, ports: {p: 80}}"
TWO = f"services: [{{breed: {BREED.replace(': b', ': a')}}}, {{breed: {BREED}}}]"


def with_gateway(gateways: str) -> Blueprint:
    return read_blueprint(f"{{name: x, clusters: {{c: {{breed: {BREED}}}}}, gateways: {gateways}}}", "x.yaml")


def with_routes(routes: str) -> Blueprint:
    return of_clusters(f"c: {{{TWO}, gateways: {routes}}}")


#: Vamp's table of what may be abbreviated: the short form, and the long form it must equal.
SHORT_FORMS: list[tuple[Blueprint, Blueprint]] = [
    # a cluster that is one breed
    *(
        (of_clusters(f"c: {short}"), of_clusters("c: {services: [{breed: {reference: b}}]}"))
        for short in ("b", "{breed: b}", "{services: b}", "{services: [b]}", "{services: {breed: b}}")
    ),
    # a breed by name
    *(
        (of_clusters(f"c: {{services: [{short}]}}"), of_clusters("c: {services: [{breed: {reference: b}}]}"))
        for short in (
            "{breed: {ref: b}}",
            "{breed: {name: b}}",
            "{breed: b}",
            "{ref: b}",
            "{reference: b}",
            "b",
        )
    ),
    # a scale by name
    *(
        (of_clusters(f"c: {{breed: b, scale: {short}}}"), of_clusters("c: {breed: b, scale: {reference: s}}"))
        for short in ("s", "{ref: s}")
    ),
    # a gateway to one place
    *(
        (with_gateway(short), with_gateway("{8080: {port: 8080/http, routes: {c/p: {}}}}"))
        for short in (
            "{8080: c/p}",
            "{8080/http: c/p}",
            "{8080: {routes: c/p}}",
            "{8080: {routes: [c/p]}}",
            "{8080: [c/p]}",
            "{8080: {routes: [{c/p: {}}]}}",
        )
    ),
    (
        with_gateway("{web: {port: 8080, routes: c/p}}"),
        with_gateway("{other: {name: web, port: 8080, routes: c/p}}"),
    ),
    # conditions
    *(
        (with_routes(f"{{routes: {{a: {{condition: {short}}}}}}}"), with_routes(f"{{routes: {{a: {long}}}}}"))
        for short, long in (
            ("has cookie x", "{condition: {condition: has cookie x}}"),
            ("named", "{condition: {reference: named}}"),
            ("{ref: named}", "{condition: {name: named}}"),
            ('""', "{}"),
            ("~", "{}"),
        )
    ),
    (
        with_routes("{routes: {a: {filters: [{condition: has cookie x}], filter_strength: 5%}}}"),
        with_routes("{routes: {a: {condition: has cookie x, condition_strength: 5%}}}"),
    ),
    # other spellings
    *(
        (of_breed(f"{{name: b, {short}}}"), of_breed(f"{{name: b, {long}}}"))
        for short, long in (
            ("deployable: i, env: {A: 1}", "deployable: i, environment_variables: {A: 1}"),
            ("deployable: i", "deployable: {type: container/docker, definition: i}"),
            ("deployable: {type: cmd, definition: i}", "deployable: {type: command, definition: i}"),
            ("deployable: i, ports: {x: 80}", "deployable: i, ports: {x: 80/http}"),
            (
                "deployable: i, health_checks: {path: /up}",
                "deployable: i, health_checks: [{path: up, protocol: http}]",
            ),
        )
    ),
    (of_clusters("c: {breed: b, dialect: {k: 1}}"), of_clusters("c: {breed: b, dialects: {k: 1}}")),
]  # fmt: skip


@pytest.mark.parametrize(("short", "long"), SHORT_FORMS)
def test_a_short_form_means_its_long_form(short: Blueprint, long: Blueprint) -> None:
    assert short == long


def test_no_short_form_is_missing() -> None:
    assert len(SHORT_FORMS) == 32


def test_the_blueprint_of_the_manual_is_read() -> None:
    manual = (Path(__file__).parents[2] / "docs/reference/blueprints.md").read_text(encoding="utf-8")
    blueprint = read_blueprint(manual.split("```")[1].removeprefix("yaml"), "blueprints.md")
    assert [policy.to for policy in blueprint.isolation] == ["hackable:1.0.0"]


VERSIONS = {
    "services": [
        {"breed": {"name": f"hackable:1.{minor}.0", "deployable": "i", "ports": {"port": 80}}}
        for minor in (0, 1)
    ]
}


def test_every_example_of_the_manual_is_read() -> None:
    """A part of a blueprint is put into one that has the rest."""
    manual = (Path(__file__).parents[2] / "docs/reference/blueprints.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    for example in examples:
        said = to_value(parse_documents(example, "blueprints.md")[0])
        routes = said.pop("routes", None)
        if routes is not None:
            said["gateways"] = {"9051": {"routes": routes}}
        clusters = said.pop("clusters", {"hackable": {}})
        hackable = clusters["hackable"]
        whole = hackable if {"breed", "services"} & hackable.keys() else VERSIONS | hackable
        blueprint = {"name": "x", **said, "clusters": {"hackable": whole}}
        deploy(blueprint_from_json(blueprint), "d")
    assert len(examples) == 8


def test_a_whole_blueprint_is_read() -> None:
    blueprint = read_blueprint(SHOP, "shop.yaml")
    assert (blueprint.name, [gateway.port for gateway in blueprint.gateways]) == ("shop", [9051])
    old, new = blueprint.clusters[0].services
    assert old.scale == Scale(0.2, 512 * 1024**2, 1)
    assert isinstance(new.breed, Breed)
    assert new.breed.deployable == Deployable("address", "127.0.0.1:8080")
    assert new.breed.ports == (Port("port", 80, Protocol.HTTP),)


def test_an_isolation_policy_is_read() -> None:
    (policy,) = read_blueprint(SHOP, "shop.yaml").isolation
    keys = (KeySelector(KeyKind.COOKIE, "session"), KeySelector(KeyKind.ADDRESS))
    assert policy == IsolationPolicy("hackable", "hackable:1.0.0", keys, timedelta(days=1), FailPolicy.CLOSED)


def test_an_isolation_may_fail_open_and_last() -> None:
    (policy,) = read_blueprint(SHOP.replace("for: 24h", "for: forever\n    fail: open"), "x").isolation
    assert (policy.duration, policy.fail) == (None, FailPolicy.OPEN)


def test_a_name_stays_a_reference_with_its_place() -> None:
    breed = of_clusters("c: nginx").clusters[0].services[0].breed
    assert isinstance(breed, Reference)
    assert (breed.kind, breed.name, str(breed.position)) == ("breeds", "nginx", "x.yaml:2:15")


def test_a_condition_is_read_where_it_stands() -> None:
    route = (
        with_routes("{routes: {a: {condition: User-Agent = Chrome, condition_strength: 50%}}}")
        .clusters[0]
        .gateways[0]
        .routes[0]
    )
    assert (route.condition, route.condition_strength) == (UserAgent("Chrome"), 50)


def test_a_canary_may_be_sticky() -> None:
    gateway = (
        with_routes("{sticky: ROUTE, routes: {a: {weight: 50%}, b: {weight: 50}}}").clusters[0].gateways[0]
    )
    assert (gateway.sticky, [route.weight for route in gateway.routes]) == (Sticky.ROUTE, [50, 50])


def test_text_of_an_environment_variable_stays_as_written() -> None:
    breed = read_breed("{name: b, deployable: i, env: {A: 1.10, B: yes, 'C[d]': ~}}", "x")
    expected = (
        EnvironmentVariable("A", "1.10"),
        EnvironmentVariable("B", "yes"),
        EnvironmentVariable("C", None, "d"),
    )
    assert breed.environment == expected


def test_an_empty_list_of_health_checks_is_not_the_same_as_none() -> None:
    assert read_breed("{name: b, deployable: i}", "x").health_checks is None
    assert read_breed("{name: b, deployable: i, health_checks: []}", "x").health_checks == ()


def test_a_health_check_is_read_in_seconds() -> None:
    check = "{port: p, initial_delay: 1m, timeout: 0.5s, interval: 3s, failures: 2}"
    checks = read_breed(f"{{name: b, deployable: i, health_checks: {check}}}", "x").health_checks
    assert checks == (HealthCheck(port="p", initial_delay=60, timeout=0.5, interval=3, failures=2),)


def test_keys_of_vamp_that_do_nothing_here_are_kept() -> None:
    cluster = of_clusters(
        "c: {breed: b, sla: {ref: s, escalations: [e]}, network: host, metadata: {k: [1]}}"
    ).clusters[0]
    assert cluster.extras == {
        "metadata": {"k": [1]},
        "network": "host",
        "sla": {"ref": "s", "escalations": ["e"]},
    }


def test_a_stream_of_documents_gives_artifacts_of_each_kind() -> None:
    text = """
kind: breeds
name: b
deployable: image
---
{kind: scale, name: small, cpu: 1}
---
{kind: conditions, name: beta, condition: has cookie beta}
---
{kind: gateways, name: x/c/p, routes: {x/c/b/p: {weight: 100%}}}
---
{name: bp, clusters: {c: b}}
"""
    artifacts = read_artifacts(text, "x.yaml")
    assert [(artifact.kind, artifact.name) for artifact in artifacts] == [
        ("breeds", "b"),
        ("scales", "small"),
        ("conditions", "beta"),
        ("gateways", "x/c/p"),
        ("blueprints", "bp"),
    ]
    assert artifacts[2].value == CookiePresent("beta")


def test_single_readers_read_their_kind() -> None:
    assert read_scale("cpu: 500m", "x") == Scale(cpu=0.5)
    assert read_condition("{name: c, condition: has cookie a}", "x") == CookiePresent("a")
    assert (
        read_gateway("{name: g, port: 80/tcp, routes: '[10.0.0.1:80]'}", "x").routes[0].path
        == "[10.0.0.1:80]"
    )


REFUSED: list[tuple[str, str, str]] = [
    ("clusters:", "clutsers:", "x.yaml:5:1: unknown key 'clutsers' in a blueprint; expected 'clusters'"),
    ("name: shop", "nmae: shop", "x.yaml:2:1: unknown key 'nmae' in a blueprint; expected 'name'"),
    ("name: shop", "name: sh op", "x.yaml:2:7: 'sh op' cannot be the name of a blueprint"),
    ("name: shop", "kind: breeds", "x.yaml:2:7: a document of kind 'breeds'; expected kind blueprints"),
    ("name: shop", "name: shop\nimport: base", "'import' of a blueprint is not supported yet"),
    ("weight: 0%", "weight: 10%", "x.yaml:9:9: the weights of a cluster's routes; expected .*not 110%"),
    ("weight: 0%", "weight: -1%", "x.yaml:9:34: '-1%' is no weight; expected a whole percentage"),
    ("weight: 0%", "weight: [1]", "x.yaml:9:34: weight is a list; expected a text"),
    ("{weight: 0%}", "{condition: hots == a}", "x.yaml:9:37: unexpected 'hots'; expected host"),
    ("{weight: 0%}", "{condition: 'host = *'}", "x.yaml:9:45: not a host"),
    ("{weight: 0%}", "{condition: host==a&&}", "x.yaml:9:43: not a host"),
    ("{weight: 0%}", "{condition: <raw>}", "x.yaml:9:37: raw HAProxy rules are not supported"),
    ("{weight: 0%}", "{rewrites: [path: a if b]}", "x.yaml:9:43: 'a' is no path"),
    ("{weight: 0%}", "{selector: true}", "x.yaml:9:9: a selector of the route to the service"),
    (
        "9051: hackable/port",
        "9051: {routes: hackable/port, virtual_hosts: 'a b'}",
        "x.yaml:4:48: 'a b' is no host name",
    ),
    (
        "9051: hackable/port",
        "9051: {routes: hackable/port, selector: true}",
        "x.yaml:4:18: the route 'hackable/port' of a gateway that selects its routes",
    ),
    ("9051: hackable/port", "99999: hackable/port", "x.yaml:4:3: '99999' is no port"),
    (
        "9051: hackable/port",
        "9051: hackble/port",
        "x.yaml:4:9: no cluster or gateway 'hackble'; expected 'hackable'",
    ),
    ("9051: hackable/port", "9051: hackable/prt", "x.yaml:4:9: no port 'prt'; expected 'port'"),
    ("9051: hackable/port", "9051/tcp: hackable/port", "x.yaml:4:13: a tcp gateway to the http port"),
    ("9051: hackable/port", "9051: hackable//port", "'hackable//port' is no path of a route"),
    ("9051: hackable/port", "9051/http: a\n  9051: b", "two gateways are called or listen on 9051"),
    ("9051: hackable/port", "a: {port: 1/tcp, sticky: route}", "x.yaml:4:28: a tcp gateway cannot be sticky"),
    (
        "hackable:1.0.0: {",
        "hackable:1.0: {",
        "x.yaml:9:9: no service 'hackable:1.0'; expected 'hackable:1.1.0'",
    ),
    ("name: hackable:1.0.0", "name: hackable:1.1.0", "x.yaml:17:9: service 'hackable:1.1.0' is there twice"),
    ("ports: {port: 80/http}", "ports: {p.q: 80/http}", "x.yaml:15:19: 'p.q' cannot be the name of a port"),
    (
        "ports: {port: 80/http}",
        "ports: {port: $db.ports.x}",
        "the port of another service is not supported yet",
    ),
    ("type: command", "type: comand", "x.yaml:14:30: 'comand' is no type of deployable; expected 'command'"),
    ("type: address", "type: address, a: 1", "unknown key 'a' in a deployable"),
    ("127.0.0.1:8080", "127.0.0.1", "'127.0.0.1' is no address; expected host:port"),
    ("127.0.0.1:8080", "127.0.0.1:0", "is no address"),
    ("memory: 512MB", "memory: much", "'much' is no memory size; expected a size such as 512MB"),
    ("instances: 1", "instances: -1", "'-1' is no number; expected a whole number from 0 to 9999"),
    ("to: hackable:1.0.0", "to: hackable:0.9", "x.yaml:23:9: no service 'hackable:0.9'"),
    ("to: hackable:1.0.0", "to: ~", "x.yaml:23:5: an isolation policy without 'to'"),
    ("keys: [cookie session, client address]", "keys: []", "x.yaml:24:11: no keys"),
    ("keys: [cookie session, client address]", "keys: [cookie]", "x.yaml:24:12: 'cookie' is no key"),
    ("client address", "cookie session", "a key given twice"),
    ("for: 24h", "for: 24", "x.yaml:25:10: '24' is no duration; expected a duration such as"),
    ("for: 24h", "until: 24h", "unknown key 'until' in an isolation policy"),
    ("isolation:\n  hackable:", "isolation:\n  hackble:", "no cluster 'hackble'; expected 'hackable'"),
    ("isolation:", "environment_variables: {nowhere.X: 1}\nisolation:", "no cluster 'nowhere'"),
    ("isolation:", "environment_variables: {X: 1}\nisolation:", "the variable 'X' of no cluster"),
    (
        "        hackable:1.0.0: {w",
        "        hackable:1.1.0: {w",
        "x.yaml:10:9: the key 'hackable:1.1.0' is given twice",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_a_blueprint_that_cannot_be_understood_is_refused_at_its_place(
    old: str, new: str, message: str
) -> None:
    assert old in SHOP
    with pytest.raises(InputError, match=message):
        read_blueprint(SHOP.replace(old, new, 1), "x.yaml")


def test_no_refusal_is_missing() -> None:
    assert len(REFUSED) == 44


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n---\nb: 2", "x:1:1: 2 documents; expected one"),
        ("", "0 documents"),
        ("[1]", "a blueprint is a list; expected a mapping"),
        ("name: x\nclusters: {a/b: c}", "'a/b' cannot be the name of a cluster"),
        ("name: x\nclusters: {c: a/b}", "'a/b' cannot be the name of one of breeds"),
        ("name: x\nclusters: {c: {services: [{scale: s}]}}", "a service without its breed"),
        ("name: x\nclusters: {c: {services: [{breed: a, ref: b}]}}", "a service with two breeds"),
        ("name: x\nclusters: {c: {breed: {name: b, ports: {p: 1}}}}", "a breed without 'deployable'"),
        (
            "name: x\ngateways: {a/b: {port: 80}}",
            "the gateway name 'a/b'; expected a port, or one name without '/'",
        ),
    ],
)
def test_a_document_that_is_no_blueprint_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_blueprint(text, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: workflow\nname: x", "x:1:7: 'workflow' is no supported kind"),
        ("name: x", "a document without 'kind'; expected blueprints, breeds"),
        ("kind: scale", "a document without 'name'"),
        ("kind: breeds\nname: x", "a breed without 'deployable'"),
        ("5", "a document is the text '5'; expected a mapping"),
    ],
)
def test_a_document_of_no_known_kind_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_artifacts(text, "x")


PIECES = st.sampled_from(
    [*SHOP.split(), "\n", "\n  ", "\n    ", ": ", "- ", "{", "}", "[", "]", ",", "~", "0", "1"]
)


@settings(max_examples=700, deadline=None)
@given(
    st.integers(0, len(SHOP)),
    st.integers(0, 12),
    st.lists(PIECES, max_size=4).map("".join) | st.text(max_size=6),
)
def test_a_damaged_blueprint_is_read_or_refused(at: int, length: int, junk: str) -> None:
    damaged = SHOP[:at] + junk + SHOP[at + length :]
    for read in (read_blueprint, read_artifacts):
        try:
            read(damaged, "x")
        except InputError as problem:
            assert problem.position.source == "x"


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_any_document_is_read_or_refused(text: str) -> None:
    for read in (read_artifacts, read_breed, read_scale, read_condition, read_gateway):
        try:
            read(text, "x")
        except InputError:
            continue
