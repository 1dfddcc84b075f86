"""Any sequence of matches, ticks, silences and acknowledgements beside a naive reading of the rules."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rules.alarms.conftest import World

from divertor.rules.alarms import Ack, Alarms, Controls, Silence, Verdict
from divertor.rules.rule import Status

Make = Callable[..., World]


@dataclass(frozen=True)
class Step:
    """So many seconds later: a match of a key, a tick, a change of what people say, a restart."""

    after: int
    what: str
    key: str


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 90),
        st.sampled_from(["hit", "hit", "hit", "tick", "tick", "ack", "silence", "unsilence", "restart"]),
        st.sampled_from("ab"),
    ),
    max_size=60,
)
OPTIONS: list[dict[str, Any]] = [
    {"realert": {"seconds": 60}},
    {"realert": {"seconds": 60}, "recovery": {"after": {"seconds": 100}}},
    {"recovery": {"after": {"seconds": 50}}, "pending": {"seconds": 45}},
    {
        "realert": {"seconds": 20},
        "hours": {"from": "00:00", "to": "00:10"},
        "recovery": {"after": {"hours": 9}},
    },
    {"realert": {"seconds": 20}, "alert": ["debug", "isolate"], "recovery": True},
]


@dataclass(frozen=True)
class Told:
    at: float
    verdict: Verdict
    silenced: frozenset[str]
    acked: frozenset[str]


def play(here: World, steps: Sequence[Step]) -> list[Told]:
    """What is told, and what was silenced and acknowledged at that time."""
    here.alarms = Alarms()
    told: list[Told] = []
    silenced: set[str] = set()
    acks: dict[str, Ack] = {}
    now = 0.0
    for number, step in enumerate(steps):
        now += step.after
        verdicts: list[Verdict] = []
        if step.what == "hit":
            verdict = here.hit(now, step.key, cause=f"hit {number}")
            verdicts = [verdict] if verdict else []
        elif step.what == "tick":
            verdicts = here.tick(now)
        elif step.what == "restart":
            here.alarms = pickle.loads(pickle.dumps(here.alarms))
        else:
            _say(step, here, silenced, acks)
        told += [Told(now, each, frozenset(silenced), frozenset(acks)) for each in verdicts]
    return told


def _say(step: Step, here: World, silenced: set[str], acks: dict[str, Ack]) -> None:
    if step.what == "silence":
        silenced.add(step.key)
    elif step.what == "unsilence":
        silenced.discard(step.key)
    else:
        acks |= {alarm.id: Ack(alarm.id) for alarm in here.alarms.open() if alarm.key == step.key}
    here.alarms.control(Controls.of([Silence(id=key, key=key) for key in silenced], acks.values()))


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_the_rules_of_alarms_hold(
    world: Make, options: dict[str, Any], steps: list[Step]
) -> None:
    here = world(query_key="user", **options)
    told = play(here, steps)
    people = [each for each in told if each.verdict.audience != "actions"]
    _nothing_is_told_in_a_silence(people)
    _realert_is_kept(people, here.rule.alarm.realert)
    _alarms_open_before_they_are_over_and_once(people)
    _every_match_is_told_or_counted(people, steps, here)
    assert len({each.verdict.id for each in told}) == len(told)
    assert [each.verdict for each in play(here, steps)] == [each.verdict for each in told]


def _nothing_is_told_in_a_silence(told: list[Told]) -> None:
    for each in told:
        if each.verdict.status is Status.FIRING:
            assert each.verdict.hit.key not in each.silenced
            assert each.verdict.alarm not in each.acked


def _realert_is_kept(told: list[Told], realert: timedelta) -> None:
    last: dict[str | None, float] = {}
    for each in told:
        if each.verdict.status is Status.FIRING:
            key = each.verdict.hit.key
            assert each.at - last.get(key, -1e9) >= realert.total_seconds()
            last[key] = each.at


def _alarms_open_before_they_are_over_and_once(told: list[Told]) -> None:
    open_of: dict[str | None, str] = {}
    ended: set[str] = set()
    for each in told:
        key, alarm = each.verdict.hit.key, each.verdict.alarm
        assert alarm not in ended
        if each.verdict.status is Status.RESOLVED:
            assert open_of.pop(key) == alarm
            ended.add(alarm)
        else:
            open_of[key] = alarm


def _every_match_is_told_or_counted(told: list[Told], steps: list[Step], here: World) -> None:
    if here.rule.alarm.pending or here.rule.alarm.hours is not None:
        return  # what waits is neither yet
    firing = [each for each in told if each.verdict.status is Status.FIRING]
    counted = sum(each.verdict.suppressed for each in told) + len(firing)
    assert counted <= sum(step.what == "hit" for step in steps)


def test_the_model_has_every_option_that_holds_something_back() -> None:
    assert {name for options in OPTIONS for name in options} == {
        "realert",
        "recovery",
        "pending",
        "hours",
        "alert",
    }
