"""What a gateway with a port says of its names, its encryption, who is in front of it, and rates."""

from __future__ import annotations

from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.artifacts import Gateway, Protocol
from divertor.model.isolation import KeyKind, KeySelector
from divertor.model.reading import read_blueprint, read_gateway
from divertor.model.traffic import RateLimit, Tls

ADDRESS, COOKIE = KeySelector(KeyKind.ADDRESS), KeySelector(KeyKind.COOKIE, "x")


def gateway(fields: str) -> Gateway:
    return read_gateway(f"{{name: g, port: 80, {fields}}}", "g.yaml")


ACCEPTED: list[tuple[str, str, Any]] = [
    ("virtual_hosts: Shop.Example", "virtual_hosts", ("shop.example",)),
    ("virtual_hosts: ['*.a.b', a_1.b-c.d]", "virtual_hosts", ("*.a.b", "a_1.b-c.d")),
    ("virtual_hosts: []", "virtual_hosts", ()),
    ("trusted_proxies: 10.0.0.0/8", "trusted_proxies", ("10.0.0.0/8",)),
    ("trusted_proxies: [10.0.0.1, '2001:db8::/32']", "trusted_proxies", ("10.0.0.1/32", "2001:db8::/32")),
    ("proxy_protocol: true", "proxy_protocol", True),
    ("proxy_protocol: ~", "proxy_protocol", False),
    ("tls: {certificate: /c.pem, key: /k.pem}", "tls", Tls("/c.pem", "/k.pem")),
    (
        "tls: {certificate: /c, key: /k, client_ca: /ca, optional: true, minimum: 1.3}",
        "tls",
        Tls("/c", "/k", "/ca", True, "1.3"),
    ),
    ("rate_limits: 100/minute", "rate_limits", (RateLimit(100, 60),)),
    ("rate_limits: 10/s per client address", "rate_limits", (RateLimit(10, 1, ADDRESS),)),
    ("rate_limits: 7 / 500ms per cookie x", "rate_limits", (RateLimit(7, 0.5, COOKIE),)),
    ("rate_limits: {requests: 5}", "rate_limits", (RateLimit(5, 1),)),
    (
        "rate_limits: [{requests: 5, every: 1m, per: client address, burst: 9}, 1000/s]",
        "rate_limits",
        (RateLimit(5, 60, ADDRESS, 9), RateLimit(1000, 1)),
    ),
    ("selector: ''", "selector", None),
]


@pytest.mark.parametrize(("fields", "name", "value"), ACCEPTED)
def test_a_gateway_says_what_its_port_does(fields: str, name: str, value: Any) -> None:
    assert getattr(gateway(fields), name) == value


REFUSED: list[tuple[str, int, str]] = [
    ("virtual_hosts: '*'", 36, "'*' is no host name; expected a name such as shop.example"),
    ("virtual_hosts: a.b:80", 36, "is no host name"),
    ("virtual_hosts: [a, 'b..c']", 40, "'b..c' is no host name"),
    ("virtual_hosts: [a, A]", 36, "a host name given twice"),
    ("trusted_proxies: 10.0.0.1/8", 38, "expected an address or a network"),
    ("trusted_proxies: [lb.example]", 39, "'lb.example' is no network"),
    ("trusted_proxies: 'fe80::1%eth0'", 38, "is no network"),
    ("proxy_protocol: v2", 37, "'proxy_protocol' is neither true nor false"),
    ("tls: {certificate: /c}", 26, "tls without 'key'"),
    ("tls: {certificate: c.pem, key: /k}", 40, "'c.pem' is no file; expected an absolute path"),
    ("tls: {certificate: /c, key: /k, optional: true}", 26, "an optional client certificate that nobody"),
    ("tls: {certificate: /c, key: /k, minimum: 1.1}", 62, "'1.1' is no version of TLS"),
    ("tls: {cert: /c}", 27, "unknown key 'cert' in tls"),
    ("rate_limits: 100", 34, "'100' is no rate limit"),
    ("rate_limits: 0/s", 34, "'0/s' is no rate limit"),
    ("rate_limits: 1/week", 34, "'1/week' is no rate limit"),
    ("rate_limits: 1/10ms", 34, "expected a period from 50ms"),
    ("rate_limits: 5/s per user id", 34, "expected a key that requests carry"),
    ("rate_limits: {every: 1m}", 34, "a rate limit without 'requests'"),
    ("rate_limits: {requests: 1, per: client}", 53, "'client' is no key"),
    ("rate_limits: {requests: 1, burst: 0}", 55, "'0' is no number of requests"),
    ("selector: nam(a)", 31, "unexpected 'nam'"),
    ("selector: 'name(a'", 36, "the value of name does not end"),
]


@pytest.mark.parametrize(("fields", "column", "message"), REFUSED)
def test_what_no_port_does_is_refused_at_its_place(fields: str, column: int, message: str) -> None:
    with pytest.raises(InputError) as refused:
        gateway(fields)
    assert (message in str(refused.value), refused.value.position.column) == (True, column)


def test_no_case_is_missing() -> None:
    assert (len(ACCEPTED), len(REFUSED)) == (15, 23)


@pytest.mark.parametrize(
    "fields",
    [
        "virtual_hosts: a",
        "rate_limits: 1/s",
        "trusted_proxies: 10.0.0.1",
        "timeout: 1s",
        "headers: {request: {remove: a}}",
        "mirror: '[a:1]'",
        "routes: {a/b: {timeout: 1s}}",
        "routes: {a/b: {rewrites: /a if true}}",
        "routes: {a/b: {condition: has cookie a}}",
    ],
)
def test_a_tcp_gateway_cannot_do_what_takes_requests(fields: str) -> None:
    with pytest.raises(InputError, match="an http port"):
        read_gateway(f"{{name: g, port: 80/tcp, {fields}}}", "g.yaml")


def test_a_tcp_gateway_may_be_encrypted_and_stand_behind_a_proxy() -> None:
    found = read_gateway(
        "{name: g, port: 80/tcp, tls: {certificate: /c, key: /k}, proxy_protocol: true}", "g.yaml"
    )
    assert (found.protocol, found.proxy_protocol, found.tls is None) == (Protocol.TCP, True, False)


def test_the_key_file_is_not_shown_by_accident() -> None:
    assert "/k" not in repr(gateway("tls: {certificate: /c, key: /k}"))


SERVICES = "services: [{breed: {name: b, deployable: i, ports: {tls: 80}}}]"


@pytest.mark.parametrize("field", ["tls: {certificate: /c, key: /k}", "rate_limits: 1/s", "selector: true"])
def test_a_clusters_gateway_has_no_port_to_do_it_with(field: str) -> None:
    with pytest.raises(InputError, match="of a cluster's gateway; expected .* of a gateway with a port"):
        read_blueprint(f"{{name: x, clusters: {{c: {{{SERVICES}, gateways: {{{field}}}}}}}}}", "x")


@pytest.mark.parametrize("field", ["timeout: 1s", "headers: {}", "virtual_hosts: a.b", "sticky: route"])
def test_a_clusters_lone_gateway_is_known_by_any_of_its_fields(field: str) -> None:
    text = f"{{name: x, clusters: {{c: {{{SERVICES}, gateways: {{{field}}}}}}}}}"
    assert read_blueprint(text, "x").clusters[0].gateways[0].name == ""


def test_a_port_may_be_called_like_a_field() -> None:
    text = f"{{name: x, clusters: {{c: {{{SERVICES}, gateways: {{tls: {{routes: b}}}}}}}}}}"
    assert read_blueprint(text, "x").clusters[0].gateways[0].name == "tls"
