"""Backtests: time passes as it would have, and nothing is found that live would not find."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from divertor.model.events import Event
from divertor.rules import Engine, Match, Rule
from divertor.rules.running.backtest import arrival, replay, words_of

Events = Callable[..., Event]
Rules = Callable[..., Rule]
At = Callable[[float], datetime]

SILENT: dict[str, Any] = {"type": "flatline", "threshold": 1, "timeframe": {"seconds": 30}}


def ids(matches: list[Match]) -> list[str]:
    return [match.id for match in matches]


def test_what_only_time_shows_shows_between_events(rule: Rules, event: Events, at: At) -> None:
    engine = Engine([rule(**SILENT, realert={"hours": 1})])
    matches = list(replay(engine, [event(0), event(20), event(40), event(300)]))
    assert [at(40) < match.time <= at(80) for match in matches] == [True]


def test_time_goes_on_until_the_end_that_is_asked_for(rule: Rules, event: Events, at: At) -> None:
    events = [event(0), event(20), event(40)]
    assert not list(replay(Engine([rule(**SILENT)]), events))
    assert list(replay(Engine([rule(**SILENT)]), events, until=at(90)))


def test_a_replay_of_arrivals_is_what_ran_live(rule: Rules, event: Events, at: At) -> None:
    rules = [
        rule(name="silent", **SILENT, query_key="user"),
        rule(name="count", type="frequency", num_events=3, timeframe={"seconds": 20}, realert={"seconds": 9}),
    ]
    arrivals = [(second % 7, second, "ab"[second % 2]) for second in (*range(0, 60, 4), *range(150, 170, 3))]
    events = [event(second - late, received=second, user=user) for late, second, user in arrivals]
    live, engine, pending = [], Engine(rules), list(events)
    for second in range(168):
        live += engine.advance(at(second)) if second else []
        while pending and pending[0].received < at(second + 1):
            live += engine.push(pending[0], pending[0].received)
            pending.pop(0)
    assert ids(live) == ids(list(replay(Engine(rules), events, arrival))) != []


def test_an_event_dated_far_ahead_does_not_keep_a_backtest_busy(rule: Rules, event: Events) -> None:
    events = [event(0), event(3600 * 24 * 365 * 5)]
    assert len(list(replay(Engine([rule(realert={"hours": 1})]), events))) == 2


WORDS: list[tuple[list[Any], tuple[str, ...]]] = [
    ([], ()),
    ([{"term": {"user": "root"}}], ("root",)),
    ([{"query_string": {"query": "user:(Root OR toor)"}}], ("root", "toor")),
    ([{"term": {"user": "root5"}}], ()),
    ([{"term": {"user": "wörd"}}], ()),
    ([{"term": {"type": "log"}}], ()),
    ([{"term": {"tags": "log"}}], ()),
    ([{"query_string": {"query": "root"}}], ()),
    ([{"exists": {"field": "user"}}], ()),
    ([{"query_string": {"query": "NOT user:root"}}], ()),
]


@pytest.mark.parametrize(("filters", "words"), WORDS)
def test_words_that_every_passing_event_has_in_its_body(
    rule: Rules, filters: list[Any], words: tuple[str, ...]
) -> None:
    assert words_of(rule(filter=filters)) == words


def test_filters_with_words_are_all_there() -> None:
    assert len(WORDS) == 10
