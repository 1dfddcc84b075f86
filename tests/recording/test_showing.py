"""What is shown: readable, complete, and without a session that somebody could use."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace

import pytest

from divertor.model.isolation import KeyKind, KeySelector
from divertor.recording.exchange import Body, Key
from divertor.recording.showing import full, sessions, summary, veiled

from .spooled import SESSION, exchange, posted

RENEWED = exchange(
    path="/?s=4e1f0c9a",
    request_headers=(("cookie", 'a=b; session="4e1f0c9a"; c=d'), ("x", "4e1f0c9a")),
    added=(Key(SESSION, "renewed-1"),),
    response_headers=(("set-cookie", "session=renewed-1; Path=/"),),
    response_body=Body(b"<i>renewed-1</i>", 16),
)


def test_no_session_is_shown_anywhere() -> None:
    shown = json.dumps(full(veiled(RENEWED)))
    assert "4e1f0c9a" not in shown and "renewed-1" not in shown
    assert "4e1f\\u2026" in shown and "rene\\u2026" in shown


def test_sessions_are_found_in_order() -> None:
    assert sessions(RENEWED) == ("4e1f0c9a", "renewed-1")


def test_a_session_in_a_compressed_body_is_masked() -> None:
    body = Body(gzip.compress(b"you are 4e1f0c9a"), 99)
    asked = exchange(response_headers=(("content-encoding", "gzip"),), response_body=body)
    assert full(veiled(asked))["response_body"]["text"] == "you are 4e1f…"


def test_a_bearer_token_is_masked() -> None:
    key = Key(KeySelector(KeyKind.BEARER), "eyJhbGci.secret")
    asked = exchange(by=key, request_headers=(("authorization", "bearer  eyJhbGci.secret"),))
    assert full(veiled(asked))["request_headers"] == [{"name": "authorization", "value": "bearer  eyJh…"}]


def test_an_address_is_no_secret() -> None:
    asked = exchange(by=Key(KeySelector(KeyKind.ADDRESS), "192.0.2.7"), path="/192.0.2.7")
    assert veiled(asked).path == "/192.0.2.7" and sessions(asked) == ()


def test_a_body_that_is_no_text_is_base64() -> None:
    asked = posted(b"\xff\0", "application/octet-stream", size=5)
    assert full(asked)["request_body"] == {"size": 5, "kept": 2, "whole": False, "base64": "/wA="}


def test_a_line_tells_times_in_milliseconds() -> None:
    line = summary(replace(exchange(), microseconds=1234, number=7))
    assert (line["number"], line["milliseconds"], line["status"]) == (7, 1.234, 200)


@pytest.mark.parametrize("piece", ["session=", " ", "session=a; ", "a", ";", "session=%d; "])
def test_no_cookie_takes_long_to_mask(piece: str) -> None:
    line = "".join(piece % number if "%" in piece else piece for number in range(60_000 // len(piece)))
    asked = exchange(request_headers=(("cookie", line),), response_body=Body(b"sessio" * 10_000, 60_000))
    started = time.process_time()
    veiled(asked)
    assert time.process_time() - started < 2
