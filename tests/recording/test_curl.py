"""The script, run by real shells: no byte of an attacker's is ever acted upon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.model.artifacts import Recording
from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.curl import curl
from divertor.recording.exchange import Body, Exchange, Key, Kind
from divertor.recording.redaction import STRUCK, Rules, redacted

from .spooled import exchange, posted

#: What the stand-in for curl is given, byte for byte, and what stands on its standard input.
SPY = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >"$SEEN/words"
: >"$SEEN/input"
case " $* " in *" @- "*) cat >"$SEEN/input";; esac
printf 200
"""


@pytest.fixture(scope="module")
def spied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a curl that only writes down what it is given."""
    directory = tmp_path_factory.mktemp("spy")
    spy = directory / "curl"
    spy.write_text(SPY)
    spy.chmod(0o755)
    return directory


def run(script: bytes, spied: Path, shell: str = "sh", **variables: str) -> tuple[bytes, list[bytes], bytes]:
    """What the script prints, the words curl was given last, and its input."""
    for name in ("words", "input"):
        (spied / name).write_bytes(b"")
    environment = {"PATH": f"{spied}:{os.environ['PATH']}", "SEEN": str(spied), **variables}
    (spied / "script").write_bytes(script)
    done = subprocess.run(
        [shell, str(spied / "script"), "http://127.0.0.1:1"], env=environment, capture_output=True, cwd=spied
    )
    assert done.stderr == b""
    return done.stdout, (spied / "words").read_bytes().split(b"\0")[:-1], (spied / "input").read_bytes()


hostile = st.lists(
    st.sampled_from(
        [
            b"'",
            b'"',
            b"`id`",
            b"$(id)",
            b"\\",
            b"!",
            b"${x}",
            b"@/etc/passwd",
            b"END",
            b"-o",
            b"a",
            b" ",
            b"#",
            b"\t",
        ]
    )
    | st.integers(0x80, 0xFF).map(lambda byte: bytes([byte])),
    max_size=8,
).map(b"".join)
SHELLS = [name for name in ("sh", "bash", "busybox") if shutil.which(name)]


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(hostile, hostile, hostile, st.binary(max_size=40) | hostile, st.booleans())
def test_no_byte_is_acted_upon(
    spied: Path, path: bytes, value: bytes, session: bytes, body: bytes, reveal: bool
) -> None:
    """What curl is given is what the attacker sent, in every byte."""
    target = b"/" + b"".join(path.split())
    secret = b"4e1f0c9a" + session.replace(b" ", b"").replace(b"\t", b"").replace(b'"', b"")
    key = Key(KeySelector(KeyKind.COOKIE, "s"), text(secret))
    asked = replace(
        posted(body, "x/y"),
        number=1,
        path=text(target),
        by=key,
        request_headers=(("x-test", text(value)), ("cookie", text(b"s=" + secret)), ("content-type", "x/y")),
    )
    variables = {} if reveal else {"SESSION": text(secret)}
    printed, words, given_body = run(curl([asked], reveal=reveal), spied, **variables)
    assert printed == b"1 200 200\n"
    assert words[words.index(b"--request-target") + 1] == target
    expected = b"x-test: " + value if value.strip() else b"x-test;"
    assert expected in words and b"cookie: s=" + secret in words
    sent = words[words.index(b"--data-raw") + 1] if b"--data-raw" in words else given_body
    assert sent == body


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_it_alike(spied: Path, shell: str) -> None:
    asked = exchange(number=1, path="/'\"$(id)`id`\\\udcff", request_headers=(("x", "\x81\udc81'!"),))
    command = [shell] if shell != "busybox" else ["busybox"]
    script = curl([asked], reveal=True)
    if shell == "busybox":
        wrapper = spied / "busybox-sh"
        wrapper.write_text('#!/bin/sh\nexec busybox sh "$@"\n')
        wrapper.chmod(0o755)
        command = [str(wrapper)]
    _, words, _ = run(script, spied, command[0])
    assert words[words.index(b"--request-target") + 1] == b"/'\"$(id)`id`\\\xff"
    assert b"x: \xc2\x81\x81'!" in words


def test_no_shell_was_forgotten() -> None:
    assert "sh" in SHELLS


UNREPEATABLE: list[Exchange] = [
    exchange(kind=Kind.REFUSED),
    exchange(method="GET\nX"),
    exchange(method="CONNECT"),
    exchange(method="a b"),
    exchange(path="/a b"),
    exchange(path="/\r\nX: y"),
    exchange(path="/\0"),
    exchange(path="http://elsewhere/"),
    exchange(path=""),
    exchange(request_headers=(("x", "a\nb"),)),
    exchange(request_headers=(("x", "a\0b"),)),
    exchange(request_headers=(("@/etc/passwd", "a"),)),
    posted(b"cut", "", size=10),
    exchange(request_body=Body(b"", 5, withheld="encoded as br")),
    exchange(method="HEAD", request_body=Body(b"x", 1)),
]


@pytest.mark.parametrize("asked", UNREPEATABLE)
def test_what_cannot_be_repeated_exactly_is_left_out(spied: Path, asked: Exchange) -> None:
    script = curl([asked], reveal=True)
    assert run(script, spied)[:2] == (b"", [])
    assert b"# 0 of 1 exchanges" in script


def test_all_of_them_were_tried() -> None:
    assert len(UNREPEATABLE) == 15


def test_without_its_session_the_script_says_what_it_needs(spied: Path) -> None:
    script = curl([exchange(number=1)], reveal=False)
    assert b"4e1f0c9a" not in script
    (spied / "script").write_bytes(script)
    done = subprocess.run(["sh", str(spied / "script"), "http://x"], capture_output=True, check=False)
    assert done.returncode and b"SESSION: the session that stands here as 4e1f..." in done.stderr


def test_what_was_struck_out_is_not_sent(spied: Path) -> None:
    asked = exchange(number=1, request_headers=(("authorization", STRUCK),))
    assert not any(STRUCK.encode() in word for word in run(curl([asked], reveal=True), spied)[1])


def test_a_bearer_token_that_was_struck_out_is_a_variable(spied: Path) -> None:
    key = Key(KeySelector(KeyKind.BEARER), "eyJhbGci.secret")
    asked = exchange(number=1, by=key, request_headers=(("authorization", STRUCK),))
    words = run(curl([asked], reveal=False), spied, SESSION="eyJhbGci.other")[1]
    assert b"authorization: Bearer eyJhbGci.other" in words


def test_a_session_that_was_struck_out_is_a_variable_that_must_be_set(spied: Path) -> None:
    asked = redacted(exchange(number=1), Rules.of(Recording(redact=("cookie session",))))
    script = curl([asked], reveal=True)
    assert b"cookie: session=other" in run(script, spied, SESSION="other")[1]
    (spied / "script").write_bytes(script)
    done = subprocess.run(["sh", str(spied / "script"), "http://x"], capture_output=True, check=False)
    assert done.returncode and b"SESSION" in done.stderr


def test_nothing_of_the_gateways_is_repeated(spied: Path) -> None:
    named = (
        "host",
        "x-forwarded-for",
        "x-request-id",
        "x-envoy-internal",
        "x-divertor-origin",
        "content-length",
    )
    asked = exchange(number=1, request_headers=tuple((name, "SAID") for name in named))
    assert not any(b"SAID" in word for word in run(curl([asked], reveal=True), spied)[1])


class Server(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, bytes, bytes]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        names = b",".join(sorted(name.lower().encode() for name in self.headers))
        self.asked.append((self.command, self.path, body, names))
        self.send_response(int(self.path[1:4]))
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Server.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_real_curl_asks_the_same_again(server: str, tmp_path: Path) -> None:
    listed = [
        exchange(number=1, path="/200/../[a]{b}?q=' OR 1=1", request_headers=(("accept", "x/y"),)),
        exchange(number=2, path="/404%2e?q=[1-9]", status=404, request_headers=()),
        replace(posted(b"\0\xff\n'" * 3000, "x/y"), number=3, path="/201", status=201),
        replace(posted(b"@/etc/passwd", ""), number=4, path="/200"),
        exchange(number=5, method="HEAD", path="/200", request_headers=()),
        exchange(number=6, method="DELETE", path="/200", status=500, request_headers=()),
        exchange(number=7, path="/302", status=None, request_headers=()),
    ]
    listed[0] = replace(listed[0], path="/200/../[a]{b}?q='OR'1=1")
    script = tmp_path / "script"
    script.write_bytes(curl(listed, reveal=True))
    done = subprocess.run(["sh", str(script), server + "/"], capture_output=True, check=False, timeout=60)
    printed = [line.split() for line in done.stdout.decode().splitlines()]
    assert [line[2] for line in printed] == ["200", "404", "201", "200", "200", "200", "302"]
    assert [line[1] for line in printed] == ["200", "404", "201", "200", "200", "500", "-"]
    assert done.returncode == 1, done.stderr  # the sixth differs
    assert [each[:3] for each in Server.asked] == [
        (each.method, each.path, each.request_body.data) for each in listed
    ]
    assert Server.asked[0][3] == b"accept,host" and Server.asked[1][3] == b"host"
    assert Server.asked[3][3] == b"content-length,host"
