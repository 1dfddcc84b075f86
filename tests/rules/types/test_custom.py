"""`type: module.Class`: users' classes, those written for ElastAlert among them, in the engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule

Events = Callable[..., Event]
Rules = Callable[..., Rule]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def awesome(rule: Rules, **more: Any) -> Rule:
    return rule(type="custom_rules.AwesomeRule", usernames=["eve"], **more)


def test_a_class_with_elastalerts_interface_matches(rule: Rules, event: Events) -> None:
    engine = Engine([awesome(rule)])
    (match,) = [
        found for one in (event(0, user="eve"), event(1, user="al")) for found in engine.push(one, START)
    ]
    assert (match.document["user"], match.document["hour"], match.event_id) == ("eve", 0, "e1")


def test_its_match_is_a_hit_at_the_events_time(rule: Rules, event: Events) -> None:
    (match,) = Engine([awesome(rule)]).push(event(7, user="eve"), START + timedelta(seconds=7))
    assert match.time == START + timedelta(seconds=7)


def test_its_matches_have_the_query_key(rule: Rules, event: Events) -> None:
    engine = Engine([awesome(rule, query_key="user"), awesome(rule, name="s", query_key=["user", "n"])])
    matches = engine.push(event(0, user="eve", n=1), START)
    assert [match.key for match in matches] == ["eve", "eve, 1"]


def test_its_words_say_what_the_match_means(rule: Rules, event: Events) -> None:
    (match,) = Engine([awesome(rule)]).push(event(0, user="eve"), START)
    assert match.rule.behaviour.summary(match.document, match.time) == "eve is one of 1"


def test_words_that_cannot_be_made_are_left_out(rule: Rules) -> None:
    assert awesome(rule).behaviour.summary({}, START) == ""


def test_it_is_told_the_time_once_a_run(rule: Rules) -> None:
    engine = Engine([awesome(rule, tell_time=True, run_every={"seconds": 30})])
    times = [
        match.time for second in range(61) for match in engine.advance(START + timedelta(seconds=second))
    ]
    assert [(time - START).seconds for time in times] == [0, 30, 60]


def test_in_compatible_mode_it_gets_the_events_of_a_run_together(rule: Rules, event: Events) -> None:
    engine = Engine([awesome(rule, compatible=True, run_every={"seconds": 30})])
    for one in (event(1, user="eve"), event(2, user="eve")):
        assert engine.push(one, one.received) == []
    assert [match.document["batch"] for match in engine.advance(START + timedelta(seconds=31))] == [2, 2]


def test_what_it_raises_is_counted_and_the_next_event_is_judged(rule: Rules, event: Events) -> None:
    engine = Engine([rule(type="custom_rules.FailingRule"), rule(name="other")])
    matches = [found for one in (event(0), event(1, user="eve")) for found in engine.push(one, START)]
    assert [match.rule.name for match in matches] == ["other", "r", "other"]
    assert (engine.health()["r"].faults, engine.health()["r"].fault) == (1, "KeyError: 'user'")


def test_a_class_with_our_interface_runs(rule: Rules, event: Events) -> None:
    engine = Engine([rule(type="custom_rules.EveryOther", every=2)])
    assert [len(engine.push(event(second), START)) for second in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"type": "custom_rules.Missing"}, "no class Missing"),
        ({"type": "no_such_module.Rule"}, "cannot be imported"),
        ({"type": "custom_rules.NoRule"}, "neither add_data nor step"),
        ({"type": "custom_rules.UnmakeableRule"}, "cannot be made"),
        ({"type": "custom_rules.AwesomeRule"}, "needs usernames"),
        ({"type": "custom_rules.AwesomeRule", "usernames": [], "realet": 1}, "unknown option 'realet'"),
        ({"type": "os.path"}, "no class path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_run_is_refused(rule: Rules, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rule(**options)


def test_a_class_that_imports_elastalert_runs_without_it(
    rule: Rules, event: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "written_for_elastalert.py").write_text(
        "from elastalert.ruletypes import RuleType\n"
        "from elastalert.util import lookup_es_key, ts_to_dt\n"
        "class Rule(RuleType):\n"
        "    def add_data(self, data):\n"
        "        for event in data:\n"
        "            if lookup_es_key(event, 'a.b') == 1:\n"
        "                self.add_match(event)\n"
    )
    for name in ("elastalert", "elastalert.ruletypes", "elastalert.util"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = Engine([rule(type="written_for_elastalert.Rule")])
    assert len(engine.push(event(0, a={"b": 1}), START)) == 1
