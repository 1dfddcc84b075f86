"""A recorded session on a terminal: readable, and nothing of it is obeyed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divertor.cli.recordings import _print_exchange, _print_session

HOSTILE = "\x1b[2J\x9b31m[red]\u202e"
RECORDING: dict[str, Any] = {
    "id": "0123456789abcdef",
    "isolation": {
        "kind": "cookie",
        "name": "session",
        "value": "4e1f…",
        "scope": "shop/shop",
        "target": "shop:1.0.0",
        "created": "2026-01-31T12:00:00.000000Z",
        "expires": None,
        "by": "gateway",
        "reason": "attacked",
    },
    "holds": True,
    "keys": ["a", "b"],
    "gone": 3,
}
EXCHANGE: dict[str, Any] = {
    "number": 7,
    "time": "2026-01-31T12:00:00.123456Z",
    "kind": "diverted",
    "method": "POST",
    "path": "/login",
    "host": "shop.example",
    "status": 200,
    "milliseconds": 12.34,
    "request_bytes": 5,
    "response_bytes": 6,
    "served_by": "shop:1.0.0",
    "client": "192.0.2.7",
    "detections": ["d-1"],
    "redacted": ["field password"],
    "request_headers": [{"name": "x", "value": "y"}],
    "request_body": {"size": 5, "kept": 5, "whole": True, "text": "a\nb c"},
    "response_headers": [],
    "response_body": {"size": 6, "kept": 2, "whole": False, "base64": "/wA="},
}


def test_a_session_says_who_why_and_until_when(capsys: pytest.CaptureFixture[str]) -> None:
    _print_session(RECORDING, [EXCHANGE])
    shown = capsys.readouterr().out
    for wanted in (
        "cookie session 4e1f…",
        "shop:1.0.0",
        "2026-01-31 12:00:00",
        "removed",
        "attacked",
        "3 exchanges",
    ):
        assert wanted in shown
    line = next(line for line in shown.splitlines() if "/login" in line)
    assert line.split()[:9] == ["7", "2026-01-31", "12:00:00.123", "POST", "/login", "200", "12.3", "5", "6"]
    assert "ATTACK, handed over · detection d-1" in line


def test_who_is_no_longer_isolated_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    _print_session({**RECORDING, "holds": False}, [])
    shown = capsys.readouterr().out
    assert "no longer isolated" in shown and "Nothing was recorded." in shown


def test_who_is_only_watched_is_said_not_to_be_moved(capsys: pytest.CaptureFixture[str]) -> None:
    _print_session(RECORDING, [], {"shop/shop"})
    assert "nobody is moved" in capsys.readouterr().out


def test_one_exchange_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    _print_exchange(EXCHANGE)
    shown = capsys.readouterr().out.splitlines()
    for wanted in ("POST /login", "x: y", "a", "b c", "200 from shop:1.0.0 after 12.3 ms", "detection d-1"):
        assert wanted in shown
    assert "(2 of 6 bytes were kept)" in shown


def test_a_client_who_left_got_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    _print_exchange({**EXCHANGE, "status": None, "milliseconds": None, "served_by": ""})
    assert "no answer: the client left" in capsys.readouterr().out.splitlines()


def poisoned(data: Any, text: str) -> Any:
    """Every text in it, made hostile."""
    if isinstance(data, dict):
        return {name: poisoned(value, text) for name, value in data.items()}
    if isinstance(data, list):
        return [poisoned(each, text) for each in data]
    return data + text if isinstance(data, str) else data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(max_size=20) | st.just(HOSTILE))
def test_nothing_of_it_is_obeyed(capsys: pytest.CaptureFixture[str], text: str) -> None:
    _print_session(poisoned(RECORDING, text), [poisoned(EXCHANGE, text)])
    _print_exchange(poisoned(EXCHANGE, text))
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
