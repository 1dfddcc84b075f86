"""Matches in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from divertor.alerts import text
from divertor.alerts.text import MAX_BODY
from divertor.rules import Match, Notification


def subject(match: Match) -> str:
    return text.subject(Notification.of(match))


def body(match: Match, escape: text.Escape = text.as_is) -> str:
    return text.body(Notification.of(match), escape)


Matches = Callable[..., Match]


def test_the_subject_defaults_to_the_rules_name(match: Matches) -> None:
    assert subject(match(name="Too many")) == "Too many"


def test_the_subject_is_filled_from_match_then_rule_then_missing(match: Matches) -> None:
    filled = match(
        {"a": {"b": 1}},
        owner="me",
        alert_subject="{} {} {}",
        alert_subject_args=["a.b", "owner", "gone"],
    )
    assert subject(filled) == "1 me <MISSING VALUE>"


def test_what_stands_for_a_missing_value_can_be_chosen(match: Matches) -> None:
    assert subject(match(alert_subject="{}", alert_subject_args="x", alert_missing_value="-")) == "-"


def test_a_long_subject_is_cut(match: Matches) -> None:
    assert subject(match(alert_subject="abcdef", alert_subject_max_len=3)) == "abc"
    assert len(subject(match({"a": "x" * 9999}, alert_subject="{}", alert_subject_args="a"))) == 2048


def test_only_the_text_when_asked(match: Matches) -> None:
    assert body(match(alert_text="hello\n", alert_text_type="alert_text_only")) == "hello\n\n"


def test_the_default_body_is_name_and_sorted_fields(match: Matches) -> None:
    assert body(match({"b": [1], "a": "x"})) == (
        "r\n\n@timestamp: 2026-01-01T12:30:00.000000Z\n_id: e1\n_index: logs\na: x\n"
        "b: [\n    1\n]\nnum_hits: 1\nnum_matches: 1\ntype: log\n"
    )


def test_excluding_fields_leaves_text_and_summary(match: Matches) -> None:
    counting: dict[str, Any] = {"type": "frequency", "num_events": 1, "timeframe": {"minutes": 30}}
    counting["use_local_time"] = False
    assert body(match(alert_text="hi", alert_text_type="exclude_fields", **counting)) == (
        "hi\n\nAt least 1 events occurred between 2026-01-01 12:00 UTC and 2026-01-01 12:30 UTC\n\n"
    )


def test_named_arguments_fill_named_holes(match: Matches) -> None:
    filled = match(
        {"u": "x"}, alert_text="{who}", alert_text_kw={"u": "who"}, alert_text_type="alert_text_only"
    )
    assert body(filled) == "x\n\n"


@pytest.mark.parametrize("value", ["{}", "{0.__class__}", "%(x)s", "{"])
def test_a_value_is_shown_as_it_is(match: Matches, value: str) -> None:
    shown = match({"a": value}, alert_text="<{}>", alert_text_args="a", alert_text_type="alert_text_only")
    assert body(shown) == f"<{value}>\n\n"


def test_escaping_touches_values_and_not_the_authors_text(match: Matches) -> None:
    shown = match({"a": "v"}, alert_text="{} v", alert_text_args="a", alert_text_type="alert_text_only")
    assert body(shown, str.upper) == "V v\n\n"


def test_a_body_is_bounded(match: Matches) -> None:
    assert len(body(match({"a": "x" * 10 * MAX_BODY}))) == MAX_BODY


def test_times_are_shown_in_the_local_zone_unless_told_otherwise(
    match: Matches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")
    time.tzset()
    counting: dict[str, Any] = {"type": "frequency", "num_events": 1, "timeframe": {"minutes": 30}}
    shown = [body(match(use_local_time=local, **counting)) for local in (True, False)]
    monkeypatch.undo()
    time.tzset()
    assert "17:00 XYZ and 2026-01-01 17:30 XYZ" in shown[0] and "12:00 UTC" in shown[1]


def test_a_hole_may_format_a_number(match: Matches) -> None:
    filled = match(
        {"n": 2.5, "t": "<"}, alert_subject="{:.2f} {:>3} {:.1f}", alert_subject_args=["n", "t", "gone"]
    )
    assert text.subject(Notification.of(filled), lambda value: value.replace("<", "&lt;")) == (
        "2.50   &lt; <MISSING VALUE>"
    )
