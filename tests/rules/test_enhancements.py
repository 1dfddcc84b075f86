"""Enhancements, counts of values, and links to Discover: what a match gets before it is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.model.events import Event
from divertor.rules import Engine, Match, Rule
from divertor.rules.reading.plugins import class_at, enhancement_at
from divertor.rules.running.counts import around, counted
from divertor.rules.running.enhancements import BaseEnhancement, DropMatchException, Enhanced, Enhancer, Maker
from divertor.rules.wording.discover import discover_url, rison

Found = Callable[..., Match]

MODULE = """
from elastalert.enhancements import BaseEnhancement, DropMatchException
from elastalert.util import lookup_es_key, pretty_ts

class Greets(BaseEnhancement):
    def process(self, match):
        match['greeting'] = 'Hello ' + lookup_es_key(match, 'u.name') + ' of ' + self.rule['name']
        match['when'] = pretty_ts(match['@timestamp'], False)

class Drops(BaseEnhancement):
    def process(self, match):
        raise DropMatchException()

class NoProcess:
    pass
"""


@pytest.fixture
def found(rule: Callable[..., Rule], event: Callable[..., Event]) -> Found:
    """`found({"u": 1}, match_enhancements=…)`: the match of an event with this body."""

    def build(body: dict[str, Any] | None = None, **options: Any) -> Match:
        one = event(0, **(body or {}))
        (match,) = Engine([rule(**options)]).push(one, one.received)
        return match

    return build


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of a user's own, where Python finds it."""
    (tmp_path / "users_enhancements.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_enhancements", raising=False)
    return "users_enhancements"


def enhance(match: Match, **classes: Any) -> Enhanced:
    def load(path: str) -> Maker:
        maker: Maker = classes[path.rpartition(".")[2]]
        return maker

    return Enhancer(load).process(match)


class Breaks(BaseEnhancement):
    def process(self, match: dict[str, Any]) -> None:
        match["half"] = "done"
        raise RuntimeError("no such luck")


class Adds(BaseEnhancement):
    def process(self, match: dict[str, Any]) -> None:
        match["added"] = {"at": datetime(2026, 1, 1), "deep": match.get("deep", [])}


class Drops(BaseEnhancement):
    def process(self, match: dict[str, Any]) -> None:
        raise DropMatchException


def test_enhancements_written_for_elastalert_work_as_they_are(found: Found, users: str) -> None:
    match = found({"u": {"name": "x"}}, match_enhancements=[f"{users}.Greets"])
    done = Enhancer(enhancement_at).process(match)
    assert done.match is not None and done.problems == ()
    assert (done.match.document["greeting"], done.match.document["when"]) == (
        "Hello x of r",
        "2026-01-01 00:00 UTC",
    )
    assert "greeting" not in match.document


def test_their_exception_drops_the_match(found: Found, users: str) -> None:
    match = found(match_enhancements=[f"{users}.Drops"])
    assert Enhancer(enhancement_at).process(match) == Enhanced(None)


@pytest.mark.parametrize("path", ["users_enhancements.Gone", "users_enhancements.NoProcess", "no_such.Thing"])
def test_an_enhancement_that_is_none_is_told_and_costs_no_alert(found: Found, users: str, path: str) -> None:
    match = found({"a": 1}, match_enhancements=[path])
    done = Enhancer(enhancement_at).process(match)
    assert done.match == match and path in done.problems[0]


def test_an_enhancement_that_fails_changes_nothing_and_the_next_one_runs(found: Found) -> None:
    match = found(match_enhancements=["x.Breaks", "x.Adds"])
    done = enhance(match, Breaks=Breaks, Adds=Adds)
    assert done.match is not None and "half" not in done.match.document and "added" in done.match.document
    assert done.problems == ("enhancement x.Breaks: RuntimeError: no such luck",)


def test_what_enhancements_add_is_plain_again(found: Found) -> None:
    done = enhance(found(match_enhancements=["x.Adds"]), Adds=Adds)
    assert done.match is not None and done.match.document["added"]["at"] == "2026-01-01 00:00:00"


def test_nothing_runs_after_a_drop(found: Found) -> None:
    assert enhance(found(match_enhancements=["x.Drops", "x.Breaks"]), Drops=Drops).match is None


def test_the_enhancements_that_are_there(found: Found) -> None:
    match = found(
        {"a": {"b": 1, "c": 2}, "d": 3},
        match_enhancements=["TimeEnhancement", "CopyFields", "RemoveFields"],
        use_local_time=False,
        custom_pretty_ts_format="%H:%M",
        copy_fields={"new": "a.b", "none": "gone"},
        remove_fields=["a.b", "d", "gone.deeper"],
    )
    done = enhance(match)
    assert done.match is not None and done.problems == ()
    left = {name: done.match.document.get(name) for name in ("@timestamp", "a", "d", "new", "none")}
    assert left == {"@timestamp": "00:00", "a": {"c": 2}, "d": None, "new": 1, "none": None}


def test_the_most_frequent_values_are_counted_of_events_that_count(
    found: Found, event: Callable[..., Event]
) -> None:
    match = found({"u": "x"}, query_key="u", top_count_keys=["ip", "t"], top_count_number=2)
    events = [event(1, u="x", ip=ip) for ip in ("a", "b", "b", "c", "c")]
    others = [
        event(1, u="y", ip="a"),
        event(1, index="other", u="x", ip="a"),
        event(1, u="x", t=["p", "p", "q"]),
    ]
    document = counted(match, [*events, *others]).document
    assert list(document["top_events_ip"].items()) == [("b", 2), ("c", 2)]
    assert document["top_events_t"] == {"p": 1, "q": 1}


def test_without_keys_nothing_is_counted(found: Found) -> None:
    match = found()
    assert counted(match, []) is match


@pytest.mark.parametrize(
    ("options", "before"),
    [
        ({}, timedelta(minutes=10)),
        ({"type": "frequency", "num_events": 1, "timeframe": {"hours": 1}}, timedelta(hours=1)),
    ],
)
def test_values_count_within_the_timeframe(found: Found, options: dict[str, Any], before: timedelta) -> None:
    match = found(**options)
    assert around(match) == (match.time - before, match.time + timedelta(minutes=10))


DISCOVER = {
    "generate_kibana_discover_url": True,
    "kibana_discover_app_url": "https://kibana/app/discover#/",
    "kibana_discover_index_pattern_id": "logs-*",
    "kibana_discover_version": "8.13",
}


def test_a_link_to_discover_shows_filter_key_and_time(found: Found) -> None:
    match = found(
        {"u": "it's !"}, filter=[{"query": {"term": {"u.keyword": "it's !"}}}], query_key="u", **DISCOVER
    )
    url = discover_url(match, match.rule.links.discover[0])
    state, shown = (
        unquote(part) for part in url.removeprefix("https://kibana/app/discover#/?_g=").split("&_a=")
    )
    assert state == (
        "(filters:!(),refreshInterval:(pause:!t,value:0),"
        "time:(from:'2025-12-31T23:50:00.000000Z',to:'2026-01-01T00:10:00.000000Z'))"
    )
    assert "bool:(must:!((term:(u.keyword:'it!'s !!'))))" in shown
    assert "match:(u:(query:'it!'s !!',type:phrase))" in shown and "columns:!(_source)" in shown


RISON: list[tuple[Any, str]] = [
    (None, "!n"),
    (True, "!t"),
    (0, "0"),
    (-1.5, "-1.5"),
    ("abc", "abc"),
    ("1a", "'1a'"),
    ("", "''"),
    ("a'b!c", "'a!'b!!c'"),
    ({"b": [], "a": {}}, "(a:(),b:!())"),
    (["x", 1], "!(x,1)"),
]


@pytest.mark.parametrize(("value", "text"), RISON)
def test_rison(value: Any, text: str) -> None:
    assert rison(value) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_a_value_cannot_leave_its_place_in_a_link(value: str) -> None:
    text = rison({"a": value})
    inner = text.removeprefix("(a:").removesuffix(")")
    assert inner == value or (
        inner[0] == inner[-1] == "'" and "'" not in inner[1:-1].replace("!!", "").replace("!'", "")
    )


def test_alerters_written_for_elastalert_find_their_base_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_alerter.py").write_text(
        "from elastalert.alerts import Alerter\n"
        "class Mine(Alerter):\n    def alert(self, matches): self.got = matches\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = class_at("users_alerter.Mine")({"name": "r"})
    mine.alert([1])
    assert (mine.got, mine.rule, mine.get_info()) == ([1], {"name": "r"}, {"type": "Mine"})
