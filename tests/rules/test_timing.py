"""The options about time: how it is read, how it is shown, and the rhythm a rule asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Rule, load_rule
from divertor.rules.reading.timing import pretty
from divertor.rules.types import TYPES
from divertor.rules.types.contract import Settings

TIMES = [
    ("iso", {}, "2025-12-31T23:59:00+00:00"),
    ("iso", {}, "2026-01-01T00:59:00+01:00"),
    ("unix", {}, 1767225540),
    ("unix", {}, "1767225540"),
    ("unix_ms", {}, 1767225540000),
    ("custom", {"timestamp_format": "%d.%m.%Y %H:%M"}, "31.12.2025 23:59"),
    ("custom", {"timestamp_format": "%Y-%m-%d %H:%M %z"}, "2026-01-01 01:59 +0200"),
]


@pytest.mark.parametrize(("kind", "more", "value"), TIMES)
def test_a_time_is_read_as_the_rule_says(
    rule: Callable[..., Rule],
    event: Callable[..., Event],
    at: Callable[[float], datetime],
    kind: str,
    more: dict[str, Any],
    value: Any,
) -> None:
    engine = Engine([rule(timestamp_field="at.time", timestamp_type=kind, **more)])
    (match,) = engine.push(event(0, at={"time": value}), at(0))
    assert match.time == at(-60)


@pytest.mark.parametrize("value", [None, "", "soon", [1], {}, True, 1e400, "9" * 400, -1, "2026-13-45"])
@pytest.mark.parametrize("kind", ["iso", "unix", "unix_ms", "custom"])
def test_what_is_no_time_yields_to_the_events_own(
    rule: Callable[..., Rule],
    event: Callable[..., Event],
    at: Callable[[float], datetime],
    kind: str,
    value: Any,
) -> None:
    engine = Engine([rule(timestamp_field="t", timestamp_type=kind)])
    (match,) = engine.push(event(0, t=value), at(0))
    assert match.time <= at(0)


def test_times_for_people_go_by_the_rules_format(
    rule: Callable[..., Rule], at: Callable[[float], datetime]
) -> None:
    shown = rule(use_local_time=False, custom_pretty_ts_format="%d.%m. %H:%M %Z").clock
    assert pretty(at(0), shown) == "01.01. 00:00 UTC"


def test_types_are_told_the_rhythm_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setitem(TYPES, "any", _watched(seen))
    load_rule(
        "name: r\ntype: any\nindex: logs\nalert: debug\ncompatible: true\nrun_every: {minutes: 5}\n"
        "buffer_time: {hours: 1}\nquery_key: [a, b]\ntimestamp_field: t\n",
        "r",
    )
    wanted = Settings(("a", "b"), True, timedelta(minutes=5), timedelta(hours=1), "t")
    assert [replace(one, measured=False, late=timedelta(0)) for one in seen] == [wanted]


def _watched(seen: list[Settings]) -> Any:
    declared = TYPES["any"]

    def make(options: Any, settings: Settings) -> Any:
        seen.append(settings)
        return declared.make(options, settings)

    return replace(declared, make=make)


def test_an_empty_query_key_is_none_and_one_field_is_one(rule: Callable[..., Rule]) -> None:
    assert (rule(query_key=[]).query_key, rule(query_key=["a"]).query_key, rule(query_key="a").query_key) == (
        (),
        ("a",),
        ("a",),
    )
