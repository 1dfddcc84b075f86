"""HTTP/2 clients, whose cookies come in crumbs: the same isolation, written by hand frame by frame."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable

import pytest
from tests.gateway.conftest import SESSION, TOKEN, App, Gateway, attack, isolated, listener, upstream

from divertor.envoy.plan import Route, Snapshot

Apps = Callable[..., App]
Fields = list[tuple[str, str]]

DATA, HEADERS, RESET, GOAWAY = 0, 1, 3, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value: str) -> bytes:
    data = value.encode("latin-1")
    length = bytes([len(data)]) if len(data) < 127 else bytes([127, len(data) - 127])
    assert len(data) < 255
    return length + data


def ask_http2(port: int, path: str, *fields: tuple[str, str], body: bytes = b"") -> bytes | None:
    """The body of one answer; None when the stream or the connection was reset."""
    pseudo = (":method", "POST" if body else "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)
    block = b"".join(b"\x00" + text(name) + text(value) for name, value in (*pseudo, *fields))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        ending = 0 if body else END_STREAM
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        connection.sendall(frame(HEADERS, END_HEADERS | ending, 1, block))
        if body:
            connection.sendall(frame(DATA, END_STREAM, 1, body))
        return read_body(connection)


def read_body(connection: socket.socket) -> bytes | None:
    found = b""
    with connection.makefile("rb") as stream:
        while head := stream.read(9):
            payload = stream.read(int.from_bytes(head[:3], "big"))
            if head[3] in (RESET, GOAWAY):
                return None
            if head[3] == DATA:
                found += payload
            if head[3] in (DATA, HEADERS) and head[4] & END_STREAM:
                return found
    return None


def by(answer: bytes | None) -> str:
    return str(json.loads(answer or b"{}").get("by", "nobody"))


@pytest.fixture
def shop(gateway: Gateway, apps: Apps, port: int) -> int:
    gateway.release()
    versions = upstream("live", apps("live", attack)), upstream("audited", apps("audited"))
    front = listener(port, Route("r", "live", 100), isolated=isolated("audited", SESSION))
    gateway.apply(Snapshot((front,), versions))
    return port


def test_an_attack_over_http2_is_diverted_in_the_same_request(shop: int) -> None:
    assert by(ask_http2(shop, "/attack", ("cookie", "session=two"))) == "audited"
    assert by(ask_http2(shop, "/", ("cookie", "session=two"))) == "audited"
    assert by(ask_http2(shop, "/", ("cookie", "session=other"))) == "live"


def test_a_body_over_http2_is_replayed(shop: int) -> None:
    answer = ask_http2(shop, "/", ("cookie", "session=three"), body=b"attack" * 100)
    assert by(answer) == "audited" and json.loads(answer or b"")["length"] == 600


@pytest.mark.parametrize(
    "crumbs", [["a=1", "session=S"], ["session=S", "b=2"], ["a=1", "session=x", "session=S"]]
)
def test_an_isolated_session_is_found_among_crumbs(gateway: Gateway, shop: int, crumbs: list[str]) -> None:
    gateway.isolate(SESSION, "S")
    assert by(ask_http2(shop, "/", *(("cookie", crumb) for crumb in crumbs))) == "audited"


def test_a_session_cut_in_two_crumbs_is_no_session(gateway: Gateway, shop: int) -> None:
    """The version gets the crumbs joined by a semicolon: it does not know the session either."""
    gateway.isolate(SESSION, "SESSION")
    answer = ask_http2(shop, "/", ("cookie", "session=SES"), ("cookie", "SION"))
    assert by(answer) == "live" and ["cookie", "session=SES; SION"] in json.loads(answer or b"")["headers"]


@pytest.mark.parametrize("byte", ["\0", "\r", "\n", "\x0b", "\x7f"])
def test_control_characters_in_a_cookie_are_refused(gateway: Gateway, shop: int, byte: str) -> None:
    gateway.isolate(SESSION, "S")
    assert by(ask_http2(shop, "/", ("cookie", f"session={byte}S"))) == "nobody"


@pytest.mark.parametrize("name", ["x-divertor-token", "x_divertor_client"])
def test_a_forged_header_over_http2_is_not_heard(shop: int, name: str) -> None:
    answer = ask_http2(shop, "/", (name, TOKEN))
    assert by(answer) == "live" and TOKEN.encode() not in (answer or b"")


def test_upper_case_header_names_are_refused(shop: int) -> None:
    assert by(ask_http2(shop, "/", ("X-Divertor-Token", TOKEN))) == "nobody"


@pytest.mark.parametrize("path", ["*", "attack", "//attack", "/a b", "/attack#x", "http://b/attack"])
def test_no_path_leads_elsewhere(shop: int, path: str) -> None:
    answer = ask_http2(shop, path, ("cookie", "session=paths"))
    assert by(answer) in ("audited", "nobody") or b"attack" not in path.encode()
