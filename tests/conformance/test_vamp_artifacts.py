"""Vamp's gateways, routes, conditions and rewrites: how each field may be written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from divertor.conditions import CookiePresent, UserAgent, parse
from divertor.errors import InputError
from divertor.model.artifacts import Gateway, Protocol, Route, Sticky
from divertor.model.deploying import deploy
from divertor.model.reading import read_artifacts, read_blueprint, read_gateway
from divertor.model.rendering import gateway_to_json
from divertor.model.resolving import resolve


def gateway(fields: str) -> Gateway:
    return read_gateway(f"{{name: g, port: 80, {fields}}}", "g.yaml")


def route(fields: str, path: str = "a/b") -> Route:
    (found,) = gateway(f"routes: {{'{path}': {{{fields}}}}}").routes
    return found


def refused(text: str) -> str:
    with pytest.raises(InputError) as problem:
        read_artifacts(text, "x")
    return str(problem.value)


@pytest.mark.parametrize("kind", ["gateway", "gateways", "condition", "conditions"])
def test_a_document_may_say_its_kind_in_singular_or_plural(kind: str) -> None:
    (found,) = read_artifacts(f"{{kind: {kind}, name: a, {'' if 'g' in kind else 'condition: true'}}}", "x")
    assert found.kind == kind.rstrip("s") + "s"


@pytest.mark.parametrize("kind", ["routes", "rewrites"])
def test_routes_and_rewrites_are_written_where_they_are_used(kind: str) -> None:
    assert f"'{kind}' is no supported kind" in refused(f"{{kind: {kind}, name: a}}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{kind: gateway, name: a, prot: 80}", "prot"),
        ("{kind: gateway, name: a, routes: {b: {weigth: 5%}}}", "weigth"),
        ("{kind: gateway, name: a, routes: {b: {rewrites: [{pth: /a if true}]}}}", "pth"),
        ("{kind: condition, name: a, conditon: true}", "conditon"),
    ],
)
def test_an_unknown_key_is_refused(text: str, key: str) -> None:
    assert f"unknown key '{key}'" in refused(text)


@pytest.mark.parametrize("fields", ["import: b", "routes: {b: {import: c}}"])
def test_an_import_is_refused(fields: str) -> None:
    assert "unknown key 'import'" in refused(f"{{kind: gateway, name: a, {fields}}}")


@pytest.mark.parametrize("name", ["x", "d/8080", "d/c/p", "a/b/c/d", "x.y"])
def test_a_gateways_name_has_one_to_four_parts(name: str) -> None:
    assert read_gateway(f"{{name: '{name}'}}", "x").name == name


@pytest.mark.parametrize("name", ["a/b/c/d/e", "a b", "a[b", "a]b", "a//b", "/a", "a/", ""])
def test_another_name_of_a_gateway_is_refused(name: str) -> None:
    assert "is no path of a gateway" in refused(f'{{kind: gateway, name: "{name}"}}')


@pytest.mark.parametrize("name", ["a b", "a/b", "a[b", "a]b", ""])
def test_another_name_of_a_condition_is_refused(name: str) -> None:
    assert "cannot be the name" in refused(f'{{kind: condition, name: "{name}", condition: true}}')


@pytest.mark.parametrize(
    ("text", "number", "protocol"),
    [
        ("8080", 8080, Protocol.HTTP),
        ("8080/http", 8080, Protocol.HTTP),
        ("8080/HTTP", 8080, Protocol.HTTP),
        ("8080/tcp", 8080, Protocol.TCP),
        ("65535", 65535, Protocol.HTTP),
        ("0", None, Protocol.HTTP),
        ("0/tcp", None, Protocol.TCP),
    ],
)
def test_a_gateways_port_is_a_number_and_a_protocol(
    text: str, number: int | None, protocol: Protocol
) -> None:
    found = read_gateway(f"{{name: a, port: {text}}}", "x")
    assert (found.port, found.protocol) == (number, protocol)


@pytest.mark.parametrize("text", ["65536", "-1", "8080/udp", "http", "''"])
def test_another_port_of_a_gateway_is_refused(text: str) -> None:
    assert "is no port" in refused(f"{{kind: gateway, name: a, port: {text}}}")


@pytest.mark.parametrize(
    ("text", "sticky"),
    [
        ("none", Sticky.NONE),
        ("NONE", Sticky.NONE),
        ("route", Sticky.ROUTE),
        ("Route", Sticky.ROUTE),
        ("instance", Sticky.INSTANCE),
        ("INSTANCE", Sticky.INSTANCE),
    ],
)
def test_stickiness_is_one_of_three_in_any_case(text: str, sticky: Sticky) -> None:
    assert gateway(f"sticky: {text}").sticky is sticky


@pytest.mark.parametrize("kind", ["route", "instance"])
def test_a_tcp_gateway_cannot_be_sticky(kind: str) -> None:
    message = "a tcp gateway cannot be sticky; expected an http port"
    assert message in refused(f"{{kind: gateway, name: a, port: 80/tcp, sticky: {kind}}}")


@pytest.mark.parametrize("hosts", ["a.example", "[a.example]"])
def test_virtual_hosts_are_one_or_a_list(hosts: str) -> None:
    assert gateway(f"virtual_hosts: {hosts}").virtual_hosts == ("a.example",)


@pytest.mark.parametrize(
    "fields",
    ["service: {host: h, port: 1}", "deployed: true", "lookup_name: x", "internal: true"],
)
def test_what_a_running_gateway_says_of_itself_is_taken_and_ignored(fields: str) -> None:
    assert gateway(fields) == gateway("")


@pytest.mark.parametrize("fields", ["targets: [{name: i, host: h, port: 1}]", "lookup_name: x"])
def test_what_a_running_route_says_of_itself_is_taken_and_ignored(fields: str) -> None:
    assert route(fields) == route("")


def test_metadata_of_a_gateway_and_a_route_is_kept() -> None:
    printed: Any = gateway_to_json(
        gateway("metadata: {team: a, n: [1]}, routes: {a/b: {metadata: {k: {l: v}}}}")
    )
    assert printed["metadata"] == {"team": "a", "n": [1]}
    assert printed["routes"]["a/b"]["metadata"] == {"k": {"l": "v"}}


@pytest.mark.parametrize(("text", "weight"), [("100%", 100), ("100", 100), ("'100 %'", 100), ("~", None)])
def test_a_weight_is_a_whole_percentage(text: str, weight: int | None) -> None:
    assert route(f"weight: {text}").weight == weight


@pytest.mark.parametrize("text", ["101%", "-1%", "0.5%", "half"])
@pytest.mark.parametrize("field", ["weight", "condition_strength"])
def test_another_weight_or_strength_is_refused(field: str, text: str) -> None:
    message = refused(f"{{kind: gateway, name: a, routes: {{b: {{{field}: {text}}}}}}}")
    assert f"is no {field.replace('_', ' ')}; expected a whole percentage" in message


def test_a_strength_that_is_not_given_is_100() -> None:
    assert route("condition: has cookie a").condition_strength == 100


def test_what_is_said_of_balance_is_kept() -> None:
    printed: Any = gateway_to_json(gateway("routes: {a/b: {balance: leastconn}}"))
    assert printed["routes"]["a/b"]["balance"] == "leastconn"


@pytest.mark.parametrize(
    "path", ["other", "d/8080", "d/c", "d/c/s", "d/c/s/p", "[10.0.0.1:80]", "[h.example:80]", "[[::1]:80]"]
)
def test_a_route_is_a_path_or_an_address(path: str) -> None:
    assert route("", path).path == path


@pytest.mark.parametrize("path", ["a/b/c/d/e", "a b", "[10.0.0.1]", "[h:0]", "[h:65536]", "[h/x:80]", "a[b"])
def test_another_path_of_a_route_is_refused(path: str) -> None:
    assert "is no path of a route" in refused(f"{{kind: gateway, name: a, routes: {{'{path}': {{}}}}}}")


@pytest.mark.parametrize("asked", ["beta", "{ref: beta}", "{reference: beta}", "{name: beta}"])
def test_a_condition_may_be_meant_by_its_name(asked: str) -> None:
    breed = "{name: b, deployable: i, ports: {p: 80}}"
    gateways = f"{{routes: {{b: {{condition: {asked}}}}}}}"
    text = f"{{name: x, clusters: {{c: {{services: [{{breed: {breed}}}], gateways: {gateways}}}}}}}"
    library = {
        ("conditions", "beta"): read_artifacts(
            "{kind: condition, name: beta, condition: has cookie beta}", "x"
        )[0]
    }
    (found,) = deploy(resolve(read_blueprint(text, "x"), library), "d").clusters[0].gateways[0].routes
    assert found.condition == CookiePresent("beta")


@pytest.mark.parametrize("asked", ["has cookie a", "{condition: has cookie a}"])
def test_a_condition_may_stand_in_its_route(asked: str) -> None:
    assert route(f"condition: {asked}").condition == CookiePresent("a")


@pytest.mark.parametrize("asked", ["''", "' '", "~", "{condition: ''}"])
def test_an_empty_condition_is_none(asked: str) -> None:
    assert route(f"condition: {asked}").condition is None


def test_a_condition_on_a_tcp_port_is_refused() -> None:
    message = refused("{kind: gateway, name: a, port: 80/tcp, routes: {b: {condition: has cookie c}}}")
    assert "an http port" in message


@pytest.mark.parametrize(
    "rewrite", ["/new if has cookie a", "/new IF has cookie a", "/new If  has cookie a "]
)
def test_a_rewrite_is_a_path_and_a_condition(rewrite: str) -> None:
    (found,) = route(f"rewrites: [{{path: '{rewrite}'}}]").rewrites
    assert (found.path, found.condition) == ("/new", CookiePresent("a"))


@pytest.mark.parametrize(
    "rewrite",
    ["/%[query] if true", "/new if { path_beg /old }", "/new unless true", "/new", "if true"],
)
def test_what_only_haproxy_could_do_is_refused(rewrite: str) -> None:
    with pytest.raises(InputError, match=r"^g\.yaml:1:\d+: "):
        route(f"rewrites: [{{path: '{rewrite}'}}]")


EQUAL = ["== ", "==", "= ", "=", " is ", " has ", " contains "]
OPPOSITE = ["!= ", "!=", "! ", "!", " not ", " misses "]


@pytest.mark.parametrize("spelling", EQUAL + OPPOSITE)
@pytest.mark.parametrize("subject", ["user-agent", "user.agent", "useragent", "host"])
def test_hosts_and_agents_are_compared_in_each_spelling(subject: str, spelling: str) -> None:
    named = "host" if subject == "host" else "user-agent"
    same = f"{named} == a.b" if spelling in EQUAL else f"not {named} == a.b"
    assert parse(f"{subject}{spelling}a.b") == parse(same)


@pytest.mark.parametrize("subject", ["cookie", "header"])
@pytest.mark.parametrize(("spelling", "there"), [("has", True), ("contains", True), ("misses", False)])
def test_presence_and_content_are_asked_in_each_spelling(subject: str, spelling: str, there: bool) -> None:
    sign = "" if there else "not "
    assert parse(f"{spelling} {subject} a") == parse(f"{sign}has {subject} a")
    assert parse(f"{subject} a {spelling} b") == parse(f"{sign}{subject} a has b")


@pytest.mark.parametrize(
    "text",
    [
        "HOST IS localhost",
        "Host Is localhost",
        "HAS COOKIE a",
        "Contains Header a",
        "MISSES Cookie a",
        "COOKIE a MISSES b",
        "Header a CONTAINS b",
        "USER-AGENT HAS b",
        "User.Agent Misses b",
        "has cookie a AND has cookie b OR NOT has cookie a",
    ],
)
def test_every_key_word_is_read_in_any_case(text: str) -> None:
    assert parse(text) == parse(text.lower())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("user-agent = 'a b'", "a b"),
        ('user-agent = "a b"', "a b"),
        ("user-agent = 'a''b'", "a'b"),
        ('user-agent = "a""b"', 'a"b'),
        ("user-agent = '(a)'", "(a)"),
        ("user-agent = 'a \"b\"'", 'a "b"'),
        ('user-agent = "it\'s"', "it's"),
        ("user-agent = a==b&&c", "a==b&&c"),
        ("(user-agent = a/1.0;x)", "a/1.0;x"),
    ],
)
def test_a_value_is_quoted_or_runs_to_a_space_or_parenthesis(text: str, value: str) -> None:
    assert parse(text) == UserAgent(value)


@pytest.mark.parametrize("symbol", ["&&", "&", "||", "|"])
def test_white_space_is_needed_before_a_symbol_but_not_after_it(symbol: str) -> None:
    word = "and" if "&" in symbol else "or"
    assert parse(f"has cookie a {symbol}has cookie b") == parse(f"has cookie a {word} has cookie b")
    assert parse(f"user-agent = a{symbol}b") == UserAgent(f"a{symbol}b")
