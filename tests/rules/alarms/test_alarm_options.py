"""Options of alarms as they are written: understood, or refused with their place and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.rules import Rule, load_rule
from divertor.rules.rule import Recovery, Severity
from divertor.rules.schedule import Hours, Period

Build = Callable[..., Rule]


def test_hours_are_read(rule: Build) -> None:
    written = {"days": "mon-fri", "from": "9:00", "to": "17:30", "zone": "Europe/Zurich"}
    alarm = rule(hours={**written, "holidays": ["2026-12-25"], "outside": "drop"}).alarm
    period = Period(frozenset(range(5)), 540, 1050, "Europe/Zurich", frozenset({date(2026, 12, 25)}))
    assert (alarm.hours, alarm.outside) == (Hours((period,)), "drop")


def test_hours_may_be_a_list_of_periods_or_what_is_outside(rule: Build) -> None:
    alarm = rule(hours={"not": [{"days": "sat,sun"}, {"days": ["Monday"], "to": "12:00"}]}).alarm
    assert alarm.hours == Hours((Period(frozenset({5, 6})), Period(frozenset({0}), 0, 720)), inverted=True)
    assert alarm.outside == "hold"


def test_days_may_go_round_the_end_of_the_week(rule: Build) -> None:
    hours = rule(hours={"days": "fri-mon"}).alarm.hours
    assert hours and hours.periods[0].days == {4, 5, 6, 0}


def test_recovery_is_read(rule: Build) -> None:
    assert rule().alarm.recovery is None and rule(recovery=False).alarm.recovery is None
    assert rule(recovery=True).alarm.recovery == Recovery()
    assert rule(recovery={"after": {"hours": 1}}).alarm.recovery == Recovery(timedelta(hours=1))


def test_severity_is_read(rule: Build) -> None:
    alarm = rule(severity=[{"level": "High", "when": {"matches": 2}}, "low"]).alarm
    assert (alarm.severity, alarm.tiers[0].level, alarm.tiers[0].when.matches) == (Severity.LOW, "high", 2)


#: What the page's examples leave out.
LEAST = """\
name: page
type: any
index: logs
slack_webhook_url: https://hooks.example/x
pagerduty_service_key: k
pagerduty_client_name: c
"""
FREQUENCY = {"type": "frequency", "num_events": 10, "timeframe": {"minutes": 1}}

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"hours": {"form": "09:00"}}, "unknown key 'form'", "'from'"),
    ({"hours": {"zone": "UTC"}}, "say neither days nor times", "days"),
    ({"hours": {"from": "9 am"}}, "no time of the day", "09:00"),
    ({"hours": {"from": "24:01"}}, "no time of the day", "09:00"),
    ({"hours": {"days": "mon-fry"}}, "is no day", "fri"),
    ({"hours": {"days": "mon", "zone": "Mars"}}, "no time zone", "Europe/Zurich"),
    ({"hours": {"days": "mon", "holidays": ["xmas"]}}, "no holiday", "2026-12-25"),
    ({"hours": {"days": "mon", "outside": "hodl"}}, "no way to treat", "'hold'"),
    ({"hours": {"days": "mon", "not": {"days": "tue"}}}, "beside 'days'", "one of them"),
    ({"recovery": {"blow": 5}}, "unknown key 'blow'", "'below'"),
    ({"recovery": {"after": {"minutes": 1}, "below": 5}}, "beside 'below'", "or a number"),
    ({"recovery": {"below": 5}}, "no number", "after"),
    ({**FREQUENCY, "recovery": {"below": 1, "above": 2}}, "'below' and 'above'", "one of them"),
    ({**FREQUENCY, "recovery": {"above": 5}}, "begin above", "below"),
    ({**FREQUENCY, "recovery": {"below": 11}}, "11 is not below", "at most 10"),
    ({"severity": "criticl"}, "is no severity", "'critical'"),
    ({"severity": ["low", "high"]}, "a tier after one", "nothing"),
    ({"severity": [{"level": "low"}]}, "without 'when'", ""),
    ({"severity": [{"level": "low", "when": {"match": 5}}]}, "unknown key 'match'", "'matches'"),
    ({"realert": {"minutes": 5}, "exponential_realert": {"minutes": 1}}, "less than realert", "0:05:00"),
    ({"limit_execution": "* * *"}, "no limit_execution", "five fields"),
    ({"limit_execution": "* * * * *", "limit_execution_zone": "Mars"}, "no time zone", "UTC"),
    ({"max_lateness": 5}, "no length of time", "minutes"),
    ({"alert": [{"debug": {"when": {"severity": ">= hihg"}}}]}, "is no severity", "high"),
    ({"alert": [{"debug": {"when": {"severty": "high"}}}]}, "unknown key 'severty'", "'severity'"),
    ({"alert": [{"debug": {"when": {"status": "over"}}}]}, "is no status", "resolved"),
]


@pytest.mark.parametrize("options, message, expected", REFUSED)
def test_what_is_not_understood_is_refused(
    rule: Build, options: dict[str, Any], message: str, expected: str
) -> None:
    with pytest.raises(InputError) as refused:
        rule(**options)
    assert message in refused.value.message and expected in refused.value.expected
    assert refused.value.position.line == 1 and refused.value.position.column > 1


def test_every_refusal_was_tried() -> None:
    assert len(REFUSED) == 26


def test_the_examples_of_the_reference_page_are_understood() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "rules.md").read_text()
    section = page[page.index("## When alerts go out") : page.index("## Aggregation")]
    examples = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    for example in examples:
        written = example if "alert:" in example else f"{example}alert: debug\n"
        load_rule(f"{LEAST}{written}", "page.yaml")
    assert len(examples) == 2
