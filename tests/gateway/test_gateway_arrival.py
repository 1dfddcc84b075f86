"""Hostile requests between their arrival and their routing: no harm to anybody else, no token for them."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BufferedReader

import pytest
from tests.gateway.conftest import (
    ADDRESS,
    API_KEY,
    SESSION,
    TOKEN,
    App,
    Gateway,
    ask,
    attack,
    isolated,
    listener,
    new_port,
    raw,
    upstream,
)
from tests.gateway.test_gateway_http2 import END_HEADERS, HEADERS, RESET, frame, text

from divertor.conditions import parse, to_envoy
from divertor.envoy.plan import Endpoint, Route, Snapshot, Upstream
from divertor.model.isolation import KeyKind, KeySelector

Apps = Callable[..., App]
BEARER = KeySelector(KeyKind.BEARER)
SECONDS = 1.5
_hosts = itertools.count(10)


class Hasty:
    """A version whose sensor has seen enough as soon as it has the head: it answers before the body comes."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", new_port()), backlog=128)
        self.endpoint = Endpoint("127.0.0.1", self._server.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            head = {}
            while line := stream.readline().strip():
                name, _, value = line.partition(b": ")
                head[name.lower()] = value
            told = b"Location: " + head.get(b"x-divertor-origin", b"?")
            token = b"X-Divertor-Token: " + TOKEN.encode()
            connection.sendall(b"\r\n".join((b"HTTP/1.1 307 X", told, token, b"Content-Length: 0", b"", b"")))
            while stream.read1():
                pass

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def hasty(gateway: Gateway, apps: Apps, port: int) -> Iterator[int]:
    """The port of a gateway in front of one."""
    app = Hasty()
    live = Upstream("live", (app.endpoint,))
    front = listener(port, Route("r", "live", 100), isolated=isolated("audited", SESSION))
    gateway.apply(Snapshot((front,), (live, upstream("audited", apps("audited")))))
    yield port
    app.close()


@pytest.fixture
def shop(gateway: Gateway, apps: Apps, port: int) -> int:
    gateway.release()
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    front = listener(port, Route("r", "live", 100), isolated=isolated("audited", SESSION))
    gateway.apply(Snapshot((front,), versions))
    return port


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("more", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_who_holds_back_the_body_of_an_attack_is_refused_and_isolated(
    hasty: int, method: str, more: str
) -> None:
    session = f"Cookie: session=held-{method}-{more[:3]}"
    head = f"{method} /attack HTTP/1.1\r\nHost: a\r\n{session}\r\n{more}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hasty), timeout=10) as connection:
        connection.sendall(head.encode() + b"5\r\n")
        time.sleep(0.1)  # the answer is there
        connection.sendall(b"ab")
        with connection.makefile("rb") as stream:
            answer = b"".join(iter(stream.readline, b"\r\n"))
    assert b" 403 " in answer and TOKEN.encode() not in answer and b"location" not in answer
    assert ask(hasty, cookie=session[8:]).by == "audited"


def test_a_body_held_back_over_http2_gets_no_token(hasty: int) -> None:
    """Nothing tells as such a request arrives that it has a body."""
    fields = (":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/attack")
    block = b"".join(b"\x00" + text(name) + text(value) for name, value in fields)
    with socket.create_connection(("127.0.0.1", hasty), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        connection.sendall(frame(HEADERS, END_HEADERS, 1, block))
        time.sleep(0.1)
        connection.sendall(frame(0, 0, 1, b"ab"))
        answer = b""
        with connection.makefile("rb") as stream:
            while head := stream.read(9):
                answer += stream.read(int.from_bytes(head[:3], "big"))
                if head[3] in (HEADERS, RESET):
                    break
    assert answer and TOKEN.encode() not in answer and b"divertor" not in answer


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "Host"])
def test_a_header_that_envoy_writes_isolates_as_written(
    gateway: Gateway, apps: Apps, port: int, header: str
) -> None:
    """What the client says under such a name, or does not say, is not what the version gets."""
    gateway.release()
    key = KeySelector(KeyKind.HEADER, header)
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    front = listener(port, Route("r", "live", 100), isolated=isolated("audited", key))
    gateway.apply(Snapshot((front,), versions))
    value = ask(port).seen[header.lower()]
    gateway.isolate(key, value)
    known = header != "X-Request-Id"  # a new one for each request: nobody is known by it
    assert ask(port).by == ("audited" if known else "live")
    gateway.release()


@pytest.fixture
def allowing(gateway: Gateway, apps: Apps, port: int) -> int:
    """A gateway that never moves who says `X-Known`."""
    gateway.release()
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    policy = replace(isolated("audited", SESSION), allow=to_envoy(parse("has header x-known")))
    gateway.apply(Snapshot((listener(port, Route("r", "live", 100), isolated=policy),), versions))
    return port


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * 3_000_000])
def test_an_attack_of_somebody_who_is_never_moved_is_refused_without_a_token(
    allowing: int, body: bytes
) -> None:
    reply = ask(allowing, "/attack", "POST", body, cookie="session=known", x_known="1")
    assert (reply.status, reply.get("x-divertor-token"), reply.get("location")) == (403, None, None)
    assert ask(allowing, cookie="session=known", x_known="1").by == "live"


def test_an_attacker_does_not_fill_the_disk_with_one_line(gateway: Gateway, shop: int) -> None:
    gateway.isolate(SESSION, "long")
    ask(shop, "/long" + "a" * 25_000, user_agent="b" * 25_000, cookie="session=long")
    (line,) = gateway.lines(lambda each: each["path"].startswith("/longa"))
    assert (len(line["path"]), len(line["user_agent"])) == (8192, 512)


@pytest.fixture
def keyed(gateway: Gateway, apps: Apps, port: int) -> Callable[[KeySelector], int]:
    """A gateway behind one proxy that isolates by a key; its port."""

    def serve(key: KeySelector) -> int:
        gateway.release()
        versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
        policy = isolated("audited", key)
        gateway.apply(
            Snapshot((listener(port, Route("r", "live", 100), isolated=policy, trusted_hops=1),), versions)
        )
        return port

    return serve


@pytest.mark.parametrize("name", ["x-api-key", "X_Api_Key", "X-Api_Key", "x_api-key"])
def test_a_header_is_known_as_application_servers_read_it(
    gateway: Gateway, keyed: Callable[[KeySelector], int], name: str
) -> None:
    port = keyed(API_KEY)
    gateway.isolate(API_KEY, "isolated")
    head = f"GET / HTTP/1.1\r\nHost: a\r\n{name}: "
    assert raw(port, f"{head}isolated\r\n\r\n".encode()).by == "audited"
    assert raw(port, f"{head}other\r\n\r\n".encode()).by == "live"
    raw(port, f"{head}attacker-{name}\r\n\r\n".replace("GET /", "GET /attack").encode())
    assert ask(port, x_api_key=f"attacker-{name}").by == "audited"


@pytest.mark.parametrize("said", ["Bearer {}", "bearer\t{} x", "BEARER  {}, x", 'Bearer "{}"'])
def test_a_bearer_token_is_known_with_anything_behind_it(
    gateway: Gateway, keyed: Callable[[KeySelector], int], said: str
) -> None:
    """Many applications take the second word of the header, whatever follows."""
    port = keyed(BEARER)
    gateway.isolate(BEARER, "token")
    assert ask(port, authorization=said.format("token")).by == "audited"
    assert ask(port, authorization=said.format("other")).by == "live"
    ask(port, "/attack", authorization=said.format("attacker"))
    assert ask(port, authorization="Bearer attacker").by == "audited"


@pytest.mark.parametrize("key", [ADDRESS, KeySelector(KeyKind.PREFIX, "32/128")], ids=["address", "prefix"])
@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(("192.0.2.7", "::ffff:192.0.2.7"))))
def test_an_ipv4_client_is_one_client_however_it_is_written(
    keyed: Callable[[KeySelector], int], key: KeySelector, first: str, then: str
) -> None:
    port = keyed(key)
    host = f"2.{next(_hosts)}"
    ask(port, "/attack", x_forwarded_for=first.replace("2.7", host))
    assert ask(port, x_forwarded_for=then.replace("2.7", host)).by == "audited"
    assert ask(port, x_forwarded_for="::ffff:203.0.113.9").by == "live"


@pytest.mark.parametrize("mark", ["-", "_", ".", "+", "~", "!", "|", "^"])
@pytest.mark.parametrize("name", ["X{}Divertor{}Origin", "X-Divertor{}Token", "X{}Envoy-Original{}Url"])
def test_no_mark_in_a_name_hides_what_only_the_gateway_may_say(shop: int, name: str, mark: str) -> None:
    line = name.replace("{}", mark)
    reply = raw(shop, f"GET / HTTP/1.1\r\nHost: a\r\n{line}: forged\r\n\r\n".encode())
    assert reply.by == "live" and b"forged" not in reply.body


@pytest.mark.parametrize("count", [90, 96, 98, 100, 126, 128, 130, 500])
def test_no_number_of_headers_keeps_a_forged_one(shop: int, count: int) -> None:
    many = "".join(f"h{at}: 1\r\n" for at in range(count))
    reply = raw(shop, f"GET / HTTP/1.1\r\nHost: a\r\n{many}X-Divertor-Origin: forged\r\n\r\n".encode())
    assert (reply.status, reply.by) in ((200, "live"), (431, None)) and b"forged" not in reply.body


def test_a_name_longer_than_any_is_taken_out(shop: int) -> None:
    name = "X-Divertor-" + "o" * 20_000
    reply = raw(shop, f"GET / HTTP/1.1\r\nHost: a\r\n{name}: forged\r\n\r\n".encode())
    assert reply.by == "live" and b"forged" not in reply.body


#: What is refused between arrival and routing, or goes another way; each would be an isolated client's.
_HEAD = b" HTTP/1.1\r\nHost: a\r\nCookie: session=bad\r\n"
ODD = [
    b"GET /%zz%00" + _HEAD + b"\r\n",
    b"GET /../.." + _HEAD + b"\r\n",
    b"GET /#x" + _HEAD + b"\r\n",
    b"GET http://x" + _HEAD + b"\r\n",
    b"GET / HTTP/1.1\r\nCookie: session=bad\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nCookie: session=bad\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\nCookie: session=bad\r\n\r\n",
    b"GET /" + _HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    b"GET /" + _HEAD + b"".join(b"X%d: 1\r\n" % at for at in range(99)) + b"\r\n",
    b"CONNECT a:80" + _HEAD + b"\r\n",
    b"GET /" + _HEAD + b"Connection: Upgrade\r\nUpgrade: foo\r\n\r\n",
    b"GET /" + _HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /" + _HEAD + b"Connection: close, cookie, x-divertor-origin\r\n\r\n",
    b"POST /" + _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /" + _HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"POST /attack" + _HEAD + b"Content-Length: 3\r\n\r\nabc",
]


def test_no_request_is_taken_for_another(gateway: Gateway, shop: int) -> None:
    """Isolated clients, customers and requests that end early, mixed at random on pipelined connections."""
    gateway.isolate(SESSION, "bad")
    end = time.monotonic() + SECONDS
    with ThreadPoolExecutor(8) as pool:
        wrong = sum(
            (each for each in pool.map(lambda seed: _pipelines(shop, seed, end), range(8))), Counter()
        )
    right = wrong.pop("right")
    assert not wrong and right > 200, (right, wrong)


def _pipelines(port: int, seed: int, end: float) -> Counter[str]:
    chance, found = random.Random(seed), Counter[str]()
    while time.monotonic() < end:
        wanted = [chance.choice(("live", "audited")) for _ in range(chance.randint(1, 8))]
        sessions = (b"bad" if each == "audited" else b"good" for each in wanted)
        asked = [b"GET / HTTP/1.1\r\nHost: a\r\nCookie: session=%s\r\n\r\n" % each for each in sessions]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"".join((*asked, chance.choice(ODD))))
            with connection.makefile("rb") as stream:
                for version in wanted:
                    head = dict(line.split(b": ", 1) for line in itertools.islice(_lines(stream), 1, None))
                    stream.read(int(head[b"content-length"]))
                    by = head[b"served-by"].decode()
                    found["right" if by == version else f"{by} instead of {version}"] += 1
    return found


def _lines(stream: BufferedReader) -> Iterator[bytes]:
    while line := stream.readline().strip():
        yield line
