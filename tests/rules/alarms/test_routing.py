"""How bad a match is, and which entries of `alert` are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.rules.alarms.conftest import START, World

from divertor.rules import Match, Notification, Rule
from divertor.rules.alarms import concerns, routed
from divertor.rules.rule import Audience, Severity, Status
from divertor.rules.running.matches import match_of

Make = Callable[..., World]


def severities(here: World, count: int, **body: Any) -> list[str]:
    verdicts = [here.hit(second, **body) for second in range(count)]
    return [each.severity.value for each in verdicts if each]


def test_severity_comes_from_priority_unless_it_is_said(world: Make) -> None:
    assert [severities(world(priority=each), 1)[0] for each in (1, 2, 3, 4, 9)] == [
        "low",
        "medium",
        "high",
        "critical",
        "medium",
    ]
    assert severities(world(priority=1, severity="high"), 1) == ["high"]


def test_severity_rises_with_the_matches_of_an_alarm(world: Make) -> None:
    here = world(severity=[{"level": "critical", "when": {"matches": 3}}, "low"])
    assert severities(here, 4) == ["low", "low", "critical", "critical"]


def test_severity_goes_by_what_the_event_holds(world: Make) -> None:
    tier = {"level": "high", "when": {"filter": [{"term": {"user": "root"}}]}}
    here = world(severity=[tier, "info"])
    assert severities(here, 1, user="root") == ["high"] and severities(here, 1, user="bob") == ["info"]


def test_severity_goes_by_the_number(world: Make) -> None:
    here = world(measured="above", severity=[{"level": "critical", "when": {"above": 100}}])
    here.gauge.number = 100
    assert severities(here, 1) == ["medium"]
    here.gauge.number = 101
    assert severities(here, 1) == ["critical"]


def test_severity_rises_while_an_alarm_lasts(world: Make) -> None:
    here = world(severity=[{"level": "high", "when": {"open_for": {"seconds": 2}}}])
    assert severities(here, 4) == ["medium", "medium", "high", "high"]


def test_severity_goes_by_the_time_of_the_week(world: Make) -> None:
    night = {"level": "low", "when": {"hours": {"from": "22:00", "to": "06:00"}}}
    assert severities(world(severity=[night]), 1) == ["low"]


def test_all_of_a_tiers_conditions_must_hold(world: Make) -> None:
    tier = {"level": "high", "when": {"matches": 2, "filter": [{"term": {"user": "root"}}]}}
    assert severities(world(severity=[tier]), 2, user="bob") == ["medium", "medium"]


def told(world: Make, when: dict[str, Any], **change: Any) -> bool:
    """Whether an entry with that `when` is told of a match of medium severity at midnight."""
    here = world(alert=[{"slack": {"slack_webhook_url": "https://hooks.example/x", "when": when}}])
    verdict = here.hit(0)
    assert verdict is not None
    match = replace(match_of(here.rule, verdict, 1, 1), **change)
    return concerns(here.rule.alerts[0], match, START)


@pytest.mark.parametrize(
    "when, change, expected",
    [
        ({}, {}, True),
        ({"severity": "medium"}, {}, True),
        ({"severity": ["low", "high"]}, {}, False),
        ({"severity": ">= medium"}, {}, True),
        ({"severity": ">=high"}, {}, False),
        ({"severity": ">= high"}, {"severity": Severity.CRITICAL}, True),
        ({"hours": {"from": "09:00"}}, {}, False),
        ({"hours": {"not": {"from": "09:00"}}}, {}, True),
        ({"key": "a*"}, {"key": "alice"}, True),
        ({"key": ["b*", "c"]}, {"key": "alice"}, False),
        ({"key": "a"}, {"key": None}, False),
        ({"status": "resolved"}, {}, False),
        ({"status": "firing"}, {"status": Status.RESOLVED}, False),
        ({"status": "resolved"}, {"status": Status.RESOLVED}, True),
    ],
)
def test_an_entry_is_told_of_what_its_when_lets_through(
    world: Make, when: dict[str, Any], change: dict[str, Any], expected: bool
) -> None:
    assert told(world, when, **change) is expected


def test_whoever_was_told_of_an_alarm_is_told_that_it_is_over(world: Make) -> None:
    over = {"status": Status.RESOLVED, "severity": Severity.CRITICAL}
    both = (Severity.MEDIUM, Severity.CRITICAL)
    assert told(world, {"severity": "medium"}, **over, severities=both)
    assert not told(world, {"severity": "low"}, **over, severities=both)
    assert told(world, {"hours": {"from": "09:00"}}, **over)


@pytest.mark.parametrize(
    "audience, status, expected",
    [
        (Audience.ALL, Status.FIRING, ["debug", "isolate"]),
        (Audience.ACTIONS, Status.FIRING, ["isolate"]),
        (Audience.PEOPLE, Status.FIRING, ["debug"]),
        (Audience.ALL, Status.RESOLVED, ["debug"]),
    ],
)
def test_actions_and_people_are_told_apart(
    world: Make, audience: Audience, status: Status, expected: list[str]
) -> None:
    here = world(alert=["debug", "isolate"])
    verdict = here.hit(0)
    assert verdict
    match = replace(match_of(here.rule, verdict, 1, 1), audience=audience, status=status)
    assert [alert.name for alert in here.rule.alerts if concerns(alert, match, START)] == expected


def test_of_several_matches_an_entry_is_told_those_that_concern_it(rule: Callable[..., Rule]) -> None:
    made = rule(alert=[{"debug": {"when": {"severity": "high"}}}])
    matches = tuple(
        Match(str(each), made, {}, None, 1, 1, START + timedelta(seconds=1), severity=each)
        for each in (Severity.LOW, Severity.HIGH)
    )
    notification = Notification("n", made, matches)
    found = routed(made.alerts[0], notification, START)
    assert found and [match.id for match in found.matches] == ["high"]
    assert routed(made.alerts[0], replace(notification, matches=matches[:1]), START) is None
