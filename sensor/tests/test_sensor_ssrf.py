"""What the detectors of forged requests, operators and directory filters promise beyond their vectors."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import time
import unicodedata
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor import AttackInterrupted
from divertor_sensor.detectors import Candidate, Finding, ldap, nosql, ssrf
from divertor_sensor.detectors.ssrf_hosts import canonical, is_inside, named_hosts
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sinks import network
from divertor_sensor.sources.inputs import Input
from divertor_sensor.trail import Trail
from divertor_sensor.work import Work

MakeSensor = Callable[..., Sensor]
V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


def finding(statement: str, value: str, source: str = "query", name: str = "q") -> Finding | None:
    origin = Input(source, name, value)
    candidates = [Candidate(text, origin) for text in ssrf.select(value)]
    return ssrf.judge(statement, candidates, Work()).finding


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """The ways to write an address that resolvers and URL parsers take."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        f"{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c << 8 | d}",
        f"{a}.{b << 16 | c << 8 | d}",
        f"{number}",
        f"0x{number:x}",
        f"0{a:o}.0x{b:x}.{c}.0{d:o}",
        f"{a}.{b}.{c}.{d}.",
        f"{a}。{b}．{c}｡{d}",
        "".join(chr(ord(digit) + 0xFEE0) if digit.isdigit() else digit for digit in str(address)),
        f"[::ffff:{address}]",
        f"[::ffff:{a << 8 | b:x}:{c << 8 | d:x}]",
        f"[64:ff9b::{address}]",
    ]


@given(V4)
@settings(max_examples=150, deadline=None)
def test_every_spelling_of_an_address_is_one_address(address: ipaddress.IPv4Address) -> None:
    mapped = int(address) >> 16 == 0  # what little is left looks like another notation
    for spelling in spellings(address):
        assert mapped or canonical(spelling) == str(address)
        assert is_inside(spelling) == is_inside(str(address))


@given(V4.filter(lambda address: int(address) >> 24 > 0))
@settings(max_examples=100, deadline=None)
def test_an_inside_address_is_found_in_a_url_however_it_is_written(address: ipaddress.IPv4Address) -> None:
    for spelling in spellings(address):
        found = finding(ssrf.statement_of(spelling, 80, str(address)), f"http://{spelling}/x")
        assert (found is not None and found.hostile) == is_inside(str(address))


@given(V4)
@settings(max_examples=300, deadline=None)
def test_what_the_interpreter_calls_private_is_inside(address: ipaddress.IPv4Address) -> None:
    documentation = any(
        address in ipaddress.IPv4Network(network)
        for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
    )
    assert documentation or not address.is_private or is_inside(str(address))


INSIDE = """
    0.0.0.0 127.255.255.255 10.255.0.1 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254 100.64.0.1
    100.100.100.200 168.63.129.16 192.0.0.192 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1 fc00::1
    fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1
    64:ff9b:1::1 2002:a00:1:: ::ffff:0:127.0.0.1
""".split()
OUTSIDE = """
    1.1.1.1 9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 100.63.255.255
    100.128.0.0 203.0.113.9 223.255.255.255 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::1.1.1.1 2002:101:101::
""".split()


def test_the_inside_has_its_borders() -> None:
    assert [address for address in INSIDE if not is_inside(address)] == []
    assert [address for address in OUTSIDE if is_inside(address)] == []
    assert (len(INSIDE), len(OUTSIDE)) == (28, 15)


LOOPBACK = "127.0.0.1:80 at 127.0.0.1"
METADATA = "169.254.169.254:80 at 169.254.169.254"


@pytest.mark.parametrize(
    "header", ["host", "referer", "origin", "x-forwarded-host", "x-real-ip", "forwarded"]
)
def test_a_header_with_addresses_counts_for_metadata_services_only(header: str) -> None:
    assert finding(LOOPBACK, "http://127.0.0.1/", "header", header) is None
    found = finding(METADATA, "http://169.254.169.254/", "header", header)
    assert found is not None and found.hostile


def test_the_issuer_of_a_token_may_be_inside() -> None:
    issuer = "http://keycloak:8080/realms/shop"
    statement = "keycloak:8080 at 10.0.0.9"
    assert finding(statement, issuer, "jwt", "authorization.iss") is None
    assert finding(statement, issuer, "jwt", "authorization.aud[0]") is None
    found = finding(statement, issuer, "query", "iss")
    assert found is not None and not found.hostile


def test_where_a_token_says_its_keys_are_counts() -> None:
    found = finding("10.0.0.9:80 at 10.0.0.9", "http://10.0.0.9/keys", "jwt", "authorization.jku")
    assert found is not None and found.hostile


def test_a_route_called_like_a_service_is_no_finding() -> None:
    assert finding("orders:8080 at 10.0.0.9", "orders", "path", "0") is None


def asking(sensor: Sensor, body: bytes, content_type: str) -> Request:
    made = Request(sensor, lambda: Head("POST", "/", "", {"content-type": content_type}, ""))
    made.body.record(body)
    return made


def test_a_large_upload_does_not_keep_the_app_from_its_services(make_sensor: MakeSensor) -> None:
    made = asking(make_sensor(), b"\x00\x01" * 2**20, "application/octet-stream")
    network.judge_connection(made, "socket.connect", "storage", 9000, "10.0.0.7")
    assert not made.interrupted


def test_padding_does_not_hide_a_host_named_before_it(make_sensor: MakeSensor) -> None:
    body = json.dumps({"url": "http://storage:9000/", "pad": "x" * 2**21}).encode()
    made = asking(make_sensor(), body, "application/json")
    with pytest.raises(AttackInterrupted):
        network.judge_connection(made, "socket.connect", "storage", 9000, "10.0.0.7")
    assert made.interrupted


def test_a_statement_says_what_it_was_made_of() -> None:
    for root in ("", "evil.example:80"):
        statement = ssrf.statement_of("::1", 8080, "::1", root)
        assert ssrf.parsed(statement) == ssrf.Connection(root, "::1", 8080, "::1")
    assert ssrf.parsed("file:///etc/passwd") is None and ssrf.parsed("a at b") is None


def test_a_trail_is_bounded() -> None:
    trail = Trail()
    for number in range(1000):
        trail.resolved(f"name{number}", "10.0.0.1")
        trail.resolved("name", f"10.0.1.{number}")
        trail.redirected("root:80", f"target{number}:80")
    assert trail.names("10.0.0.1") == ("name996", "name997", "name998", "name999")
    assert trail.names("10.0.1.999") == () and trail.root("target999:80") == ""


def test_base64_of_a_url_is_looked_into() -> None:
    assert finding(LOOPBACK, base64.b64encode(b"http://127.0.0.1/").decode()) is not None


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_looked_at(text: str) -> None:
    for named in named_hosts(text):
        assert 0 <= named.port <= 99999
    for module in (ssrf, nosql, ldap):
        module.DETECTOR.marks(text), module.DETECTOR.is_innocent(text)
        candidates = [Candidate(form, Input("query", "q", text)) for form in module.select(text)]
        for statement in (text, f"dn: {text}", f"{nosql.DOCUMENT}{text}", f"{text}:80 at 127.0.0.1"):
            module.judge(statement, candidates, Work())


LONG = 40_000
LONG_TEXTS = [
    "/" * LONG, "\\" * LONG, "//" + "@" * LONG, "http://" * (LONG // 7), "a@" * LONG, ":" * LONG, "." * LONG,
    "(" * LONG, "(a=" * LONG, "'" * LONG, "\\'" * LONG, "/*" * LONG, "{" * LONG, '{"$a":' * LONG, "*" * LONG,
    "[" * LONG, "0x" * LONG, "//[" * LONG, "`" * LONG, "+a=" * LONG, ", " * LONG, "\\\\" * LONG,
]  # fmt: skip


@pytest.mark.parametrize("module", [ssrf, nosql, ldap])
def test_no_text_takes_more_than_linear_time(module: ModuleType) -> None:
    """A second for 40,000 repetitions is far above what they take, and far below anything quadratic."""
    assert len(LONG_TEXTS) == 22
    for text in LONG_TEXTS:
        began = time.process_time()
        forms = module.select(text)
        candidates = [Candidate(form, Input("query", "q", text)) for form in forms]
        for statement in (f"({text})", f"dn: {text}", nosql.DOCUMENT + text, text):
            module.judge(statement, candidates, Work(10**9))
        assert time.process_time() - began < 1, text[:8]


@pytest.mark.parametrize("value", ["se\0arch", "\x01search", "search\x1b "])
def test_a_host_is_found_of_which_the_app_strips_what_cannot_be_seen(value: str) -> None:
    assert finding(ssrf.statement_of("search", 9200, "10.0.0.7"), value) is not None


@given(
    st.lists(st.sampled_from(["a", "é", "ß", "ﷺ", ".", "-", "_", "\ufe0f", "中", "x" * 31, "é" * 29, "'"]))
)
@settings(max_examples=300, deadline=None)
def test_every_international_name_is_encoded(pieces: list[str]) -> None:
    text = unicodedata.normalize("NFKC", "".join(pieces)).strip(".")
    try:
        encoded = text.encode("idna").decode().lower()
    except UnicodeError:
        return
    if len(text) <= 253 and re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,252}", encoded):
        assert canonical(text) == encoded


@pytest.mark.parametrize("unseen", "\u00ad\u180e\u2061\u206a\u115f\u17b4\U000e0100\U000e01ef\U000e0041")
def test_what_cannot_be_seen_is_no_part_of_a_name(unseen: str) -> None:
    assert canonical(f"loc{unseen}alhost") == "localhost"


def test_what_can_be_no_name_is_not_encoded() -> None:
    """Encoding takes long, and any text in another script is asked about."""
    for text in ("é'" * 100, "é" * 200, f"{'é.' * 130}"):
        assert canonical(text) == text.rstrip(".")
