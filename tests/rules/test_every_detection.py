"""The rule this project started from: it loads as it is and does what it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from divertor.alerts import body, subject
from divertor.model.events import Event
from divertor.rules import Match, Notification, Rule, backtest, load_rule

FILE = Path(__file__).parent / "data" / "every_detection.yaml"


@pytest.fixture
def every_detection() -> Rule:
    return load_rule(FILE.read_text(), FILE.name)


@pytest.fixture
def detected(every_detection: Rule, event: Callable[..., Event]) -> Match:
    attack = event(
        3,
        index="bitsensor",
        endpoint={"location": "/login", "localtime": "2026-01-01T00:00:02Z"},
        context={
            "ip": "203.0.113.9",
            "http": {"userAgent": "sqlmap/1.8", "cookie": "secret"},
            "php": {"session": {"sessionId": "abc"}},
        },
        detections=[{"type": "sql_injection", "payload": "' union all select 1,2 from users -- "}],
    )
    (match,) = backtest(every_detection, [attack])
    return match


def test_it_loads_unchanged_and_without_warnings(every_detection: Rule) -> None:
    assert (every_detection.name, every_detection.type, every_detection.index) == (
        "Every Detection",
        "any",
        ("bitsensor",),
    )
    assert every_detection.warnings == ()
    assert [alert.name for alert in every_detection.alerts] == ["slack", "command"]


def test_its_alert_says_what_the_original_said(detected: Match) -> None:
    assert subject(Notification.of(detected)) == "Attack on /login"
    assert (
        body(Notification.of(detected))
        == "Detection triggered at /login\nIP: 203.0.113.9 \nUA: sqlmap/1.8\n\n"
    )


def test_its_match_carries_the_included_fields_only(detected: Match) -> None:
    assert detected.document["context"] == {
        "ip": "203.0.113.9",
        "http": {"userAgent": "sqlmap/1.8"},
        "php": {"session": {"sessionId": "abc"}},
    }
    assert detected.document["detections"] == [{"type": "sql_injection"}]


def test_its_shell_script_reaches_the_shell_as_written(every_detection: Rule) -> None:
    command = every_detection.alerts[1].options["command"]
    assert "$(cat -)" in command and "`curl -s" in command and "{" in command


def test_other_traffic_does_not_match(every_detection: Rule, event: Callable[..., Event]) -> None:
    assert backtest(every_detection, [event(0, index="bitsensor", payload="reunion")]) == []
    assert backtest(every_detection, [event(0, index="logs", payload="union")]) == []
