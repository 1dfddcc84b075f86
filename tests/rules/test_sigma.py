"""Sigma rules: every modifier against events, every correlation against a stream, settings, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.events import Event
from divertor.rules import Engine, Rule, load_rule, load_rules
from divertor.rules.document import Document
from divertor.rules.reading.files import load_each, load_file
from divertor.rules.reading.lint import lint_sigma
from divertor.rules.sigma.translation import translate

LOGSOURCE = {"product": "windows", "category": "process_creation"}


def sigma(detection: dict[str, Any], **more: Any) -> str:
    return yaml_of({"title": "T", "logsource": LOGSOURCE, "detection": detection, **more})


def yaml_of(rule: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in rule.items()) + "\n"


EVENT: dict[str, Any] = {
    "Image": "C:\\Windows\\System32\\Cmd.exe",
    "CommandLine": "cmd.exe /c WhoAmI",
    "User": "Root",
    "Same": "root",
    "EventID": 4688,
    "ip": "10.1.2.3",
    "encoded": "xxZm9vYmFyyy",
    "wide": "dwBoAG8AYQBtAGkA",
    "empty": "",
    "nothing": None,
    "ok": True,
    "size": 12,
    "list": ["a", "Bee"],
    "star": "50*",
    "line": "a\nb",
}

# The item of a selection, and whether it matches.
ITEMS: list[tuple[dict[str, Any], bool]] = [
    ({"User": "root"}, True),
    ({"User": "roo"}, False),
    ({"User": ["x", "ROOT"]}, True),
    ({"User": "r*t"}, True),
    ({"User": "r?ot"}, True),
    ({"User": "r?t"}, False),
    ({"star": "50\\*"}, True),
    ({"User": "root\\*"}, False),
    ({"Image": "C:\\Windows\\\\*"}, True),
    ({"EventID": 4688}, True),
    ({"EventID": 1}, False),
    ({"EventID": "4688"}, True),
    ({"ok": True}, True),
    ({"empty": ""}, True),
    ({"User": ""}, False),
    ({"nothing": None}, True),
    ({"User": None}, False),
    ({"list": "bee"}, True),
    ({"Image|contains": "system32"}, True),
    ({"Image|contains": "system64"}, False),
    ({"Image|startswith": "c:\\win"}, True),
    ({"Image|startswith": "win"}, False),
    ({"Image|endswith": "\\cmd.exe"}, True),
    ({"Image|endswith": "\\cmd"}, False),
    ({"CommandLine|contains|all": ["cmd", "whoami"]}, True),
    ({"CommandLine|contains|all": ["cmd", "powershell"]}, False),
    ({"CommandLine|re": "who.mi$"}, False),
    ({"CommandLine|re": "Who[A-Z]mI$"}, True),
    ({"CommandLine|re|i": "who.mi$"}, True),
    ({"line|re": "a.b"}, False),
    ({"line|re|s": "a.b"}, True),
    ({"line|re|m": "^b"}, True),
    ({"ip|cidr": "10.0.0.0/8"}, True),
    ({"ip|cidr": ["192.168.0.0/16", "172.16.0.0/12"]}, False),
    ({"encoded|base64offset|contains": "oob"}, True),
    ({"encoded|base64offset|contains": "qux"}, False),
    ({"encoded|base64|contains": "foo"}, True),
    ({"wide|wide|base64offset|contains": "whoami"}, True),
    ({"User|exists": True}, True),
    ({"User|exists": False}, False),
    ({"Nope|exists": False}, True),
    ({"size|lt": 13}, True),
    ({"size|lt": 12}, False),
    ({"size|lte": 12}, True),
    ({"size|gt": 11}, True),
    ({"size|gte": 13}, False),
    ({"User|cased": "Root"}, True),
    ({"User|cased": "root"}, False),
    ({"Image|contains|cased": "Cmd"}, True),
    ({"Image|contains|cased": "cmd"}, False),
    ({"User|fieldref": "Same"}, True),
    ({"User|fieldref": "Image"}, False),
    ({"CommandLine|windash|contains": " -c "}, True),
    ({"CommandLine|contains": " -c "}, False),
    ({"User|neq": "root"}, False),
    ({"User|neq": "x"}, True),
]

CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({"a": {"User": "root"}, "b": {"size": 1}, "condition": "a and not b"}, True),
    ({"a": {"User": "root"}, "b": {"size": 1}, "condition": "a and b"}, False),
    ({"a": {"User": "root"}, "b": {"size": 1}, "condition": "a or b"}, True),
    ({"s_a": {"User": "root"}, "s_b": {"size": 1}, "condition": "1 of s_*"}, True),
    ({"s_a": {"User": "root"}, "s_b": {"size": 1}, "condition": "all of s_*"}, False),
    ({"s_a": {"User": "root"}, "s_b": {"size": 12}, "condition": "all of them"}, True),
    ({"s": [{"User": "x"}, {"size": 12}], "condition": "s"}, True),
    ({"s": {"User": "root", "size": 1}, "condition": "s"}, False),
    ({"keywords": ["whoam", "nothing"], "condition": "keywords"}, True),
    ({"keywords": ["nothing"], "condition": "keywords"}, False),
    ({"keywords": {"|all": ["c*whoami", "root"]}, "condition": "keywords"}, True),
    ({"keywords": {"|all": ["whoami", "nothing"]}, "condition": "keywords"}, False),
    ({"keywords": ["cmd.exe /c"], "condition": "keywords"}, True),
    ({"keywords": [4688], "condition": "keywords"}, True),
    ({"s": {"User": "root"}, "condition": ["s", "not s"]}, True),
]

REFUSED: list[tuple[str, str]] = [
    (sigma({"s": {"a|expand": "%users%"}, "condition": "s"}), "expand"),
    (sigma({"s": {"a|nosuch": "x"}, "condition": "s"}), "nosuch"),
    (sigma({"s": {"a|re": "(?=x)"}, "condition": "s"}), "(?="),
    (sigma({"s": {"a|cidr": "10.0.0.0/99"}, "condition": "s"}), "10.0.0.0/99"),
    (sigma({"s": {"a|minute": 5}, "condition": "s"}), "minute"),
    (sigma({"s": {"a|fieldref|startswith": "b"}, "condition": "s"}), "fieldref"),
    (sigma({"s": {"a": "x"}, "condition": "nope"}), "nope"),
    (sigma({"s": {"a": "x"}}), "condition"),
    (sigma({"s": {"a": "x"}, "condition": "s"}, level="huge"), "huge"),
    (sigma({"s": {"a": "x"}, "condition": "s"}, divertor={"alrt": "debug"}), "'alert'"),
    (sigma({"s": {"a": "x"}, "condition": "s"}, divertor="debug"), "no mapping"),
    (sigma({"s": {"a": "x"}, "condition": "s"}, action="global"), "action"),
]


@pytest.mark.parametrize(("item", "expected"), ITEMS)
def test_an_item_of_a_selection_matches(item: dict[str, Any], expected: bool) -> None:
    rule = load_rule(sigma({"s": item, "condition": "s"}), "s.yml")
    assert rule.filter.test(Document(EVENT)) is expected


@pytest.mark.parametrize(("detection", "expected"), CONDITIONS)
def test_a_condition_holds(detection: dict[str, Any], expected: bool) -> None:
    assert load_rule(sigma(detection), "s.yml").filter.test(Document(EVENT)) is expected


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        load_rule(text, "s.yml")
    assert why in str(caught.value)
    assert caught.value.position.source == "s.yml"


def test_cases_are_all_there() -> None:
    assert (len(ITEMS), len(CONDITIONS), len(REFUSED)) == (56, 15, 12)


DETECTION = {"s": {"User": "root"}, "condition": "s"}


def test_what_a_rule_says_about_itself_is_at_hand_for_alerts() -> None:
    text = sigma(
        DETECTION,
        id="5f1f0b6e-2a44-4d5c-9b7a-0f2d3c4b5a69",
        level="high",
        tags=["attack.t1059"],
        references=["https://example.com"],
        description="D",
        divertor={"alert": ["debug"], "realert": {"minutes": 5}},
    )
    rule = load_rule(text, "s.yml")
    assert (rule.name, rule.alarm.severity.value, rule.properties["description"]) == ("T", "high", "D")
    assert rule.properties["sigma"]["tags"] == ["attack.t1059"]
    assert rule.alarm.realert.total_seconds() == 300


def test_a_rule_without_settings_is_tried_on_all_events_and_says_so() -> None:
    rule = load_rule(sigma(DETECTION), "s.yml")
    assert rule.index == ("*",)
    assert any("no index is known" in warning for warning in rule.warnings)
    assert any("log only" in warning for warning in rule.warnings)


def test_a_rule_loads_again_from_its_own_text() -> None:
    rule = load_rule(sigma(DETECTION), "s.yml")
    again = load_rule(rule.text, rule.source)
    assert again.same_as(rule) and again.filter.test(Document(EVENT))


SETTINGS = """
defaults: {alert: [debug], realert: {minutes: 0}}
fields: {User: [user.name, user.id]}
logsources:
- {product: windows, index: any-windows}
- {product: windows, category: process_creation, index: [winlogs], filter: [{term: {event.code: 1}}],
   fields: {Image: process.executable}}
"""


def test_settings_name_index_fields_and_alerts(tmp_path: Path) -> None:
    (tmp_path / "sigma.yaml").write_text(SETTINGS)
    (tmp_path / "deep").mkdir()
    text = sigma({"s": {"User": "root", "Image|endswith": "cmd.exe"}, "condition": "s"})
    (tmp_path / "deep" / "a.yml").write_text(text)
    (rule,) = load_rules(tmp_path)
    assert (rule.index, rule.warnings) == (("winlogs",), ())
    passing = {"user": {"id": "ROOT"}, "process": {"executable": "c:\\cmd.exe"}, "event": {"code": 1}}
    assert rule.filter.test(Document(passing))
    assert not rule.filter.test(Document({**passing, "event": {"code": 2}}))
    assert rule.alarm.realert.total_seconds() == 0


def test_wrong_settings_are_refused_where_they_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "sigma.yaml").write_text("logsources:\n- {indx: a}\n")
    (tmp_path / "a.yml").write_text(sigma(DETECTION))
    with pytest.raises(InputError, match="sigma.yaml:2:.*'index'"):
        load_rules(tmp_path)


def base(name: str, value: str) -> str:
    return yaml_of(
        {
            "title": name.title(),
            "name": name,
            "logsource": LOGSOURCE,
            "detection": {"s": {"action": value}, "condition": "s"},
        }
    )


def correlation(kind: str, **more: Any) -> str:
    spec = {"type": kind, "rules": ["login"], "timespan": "1m", **more}
    return yaml_of(
        {"title": "C", "correlation": spec, "divertor": {"alert": "debug", "realert": {"minutes": 0}}}
    )


def fired(rule: Rule, events: list[Event], at: Callable[[float], Any], until: float = 0) -> int:
    engine = Engine([rule])
    found = sum(len(engine.push(event, event.timestamp)) for event in events)
    return found + (len(engine.advance(at(until))) if until else 0)


Build = Callable[..., Event]

CORRELATIONS: list[tuple[str, str, dict[str, Any], list[tuple[float, dict[str, Any]]], int]] = [
    (
        "enough events of one user",
        "event_count",
        {"group-by": ["user"], "condition": {"gte": 3}},
        [(t, {"action": "login", "user": "a"}) for t in (1, 2, 3)],
        1,
    ),
    (
        "too few events of one user",
        "event_count",
        {"group-by": ["user"], "condition": {"gte": 3}},
        [(t, {"action": "login", "user": u}) for t, u in ((1, "a"), (2, "b"), (3, "a"))],
        0,
    ),
    (
        "more than two",
        "event_count",
        {"condition": {"gt": 2}},
        [(t, {"action": "login"}) for t in (1, 2, 3)],
        1,
    ),
    (
        "events without the field belong to no group",
        "event_count",
        {"group-by": ["user"], "condition": {"gte": 2}},
        [(t, {"action": "login"}) for t in (1, 2, 3)],
        0,
    ),
    (
        "many values",
        "value_count",
        {"group-by": ["user"], "condition": {"field": "ip", "gte": 3}},
        [(t, {"action": "login", "user": "a", "ip": f"10.0.0.{t}"}) for t in (1, 2, 3)],
        1,
    ),
    (
        "few values",
        "value_count",
        {"group-by": ["user"], "condition": {"field": "ip", "gte": 3}},
        [(t, {"action": "login", "user": "a", "ip": f"10.0.0.{t % 2}"}) for t in (1, 2, 3)],
        0,
    ),
    (
        "a sum",
        "value_sum",
        {"group-by": ["user"], "condition": {"field": "size", "gte": 30}},
        [(t, {"action": "login", "user": "a", "size": 10}) for t in (1, 2, 3)],
        1,
    ),
    (
        "too small a sum",
        "value_sum",
        {"group-by": ["user"], "condition": {"field": "size", "gt": 30}},
        [(t, {"action": "login", "user": "a", "size": 10}) for t in (1, 2, 3)],
        0,
    ),
    (
        "both in any order",
        "temporal",
        {"rules": ["login", "logout"], "group-by": ["user"]},
        [(1, {"action": "logout", "user": "a"}), (2, {"action": "login", "user": "a"})],
        1,
    ),
    (
        "both but of two users",
        "temporal",
        {"rules": ["login", "logout"], "group-by": ["user"]},
        [(1, {"action": "logout", "user": "a"}), (2, {"action": "login", "user": "b"})],
        0,
    ),
    (
        "both too far apart",
        "temporal",
        {"rules": ["login", "logout"], "group-by": ["user"]},
        [(1, {"action": "logout", "user": "a"}), (90, {"action": "login", "user": "a"})],
        0,
    ),
    (
        "both in this order",
        "temporal_ordered",
        {"rules": ["login", "logout"], "group-by": ["user"]},
        [(1, {"action": "login", "user": "a"}), (2, {"action": "logout", "user": "a"})],
        1,
    ),
    (
        "both in the other order",
        "temporal_ordered",
        {"rules": ["login", "logout"], "group-by": ["user"]},
        [(1, {"action": "logout", "user": "a"}), (2, {"action": "login", "user": "a"})],
        0,
    ),
    (
        "joined by fields of different names",
        "temporal",
        {
            "rules": ["login", "logout"],
            "group-by": ["who"],
            "aliases": {"who": {"login": "user", "logout": "account"}},
        },
        [(1, {"action": "login", "user": "a"}), (2, {"action": "logout", "account": "a"})],
        1,
    ),
    (
        "either of two",
        "temporal",
        {"rules": None, "condition": "login and (logout or reset)", "group-by": ["user"]},
        [(1, {"action": "login", "user": "a"}), (2, {"action": "reset", "user": "a"})],
        1,
    ),
]


@pytest.mark.parametrize(
    ("_claim", "kind", "more", "stream", "times"), CORRELATIONS, ids=[one[0] for one in CORRELATIONS]
)
def test_a_correlation_fires(
    _claim: str,
    kind: str,
    more: dict[str, Any],
    stream: list[tuple[float, dict[str, Any]]],
    times: int,
    event: Build,
    at: Callable[[float], Any],
) -> None:
    named = {name: value for name, value in more.items() if value is not None}
    text = correlation(kind, **named)
    if more.get("rules", ()) is None:
        text = text.replace('"rules": ["login"], ', "")
    parts = [base("login", "login"), base("logout", "logout"), base("reset", "reset"), text]
    rule = whole(parts)
    assert fired(rule, [event(seconds, **body) for seconds, body in stream], at) == times


def whole(parts: list[str]) -> Rule:
    """The correlation; rules it does not name are left out, as they would alert by themselves."""
    (found,) = [one for one in translate({"c.yml": "---\n".join(parts)}) if '"name": "C"' in one.text]
    return load_rule(found.text, found.source)


METRICS = [
    ("value_avg", {"field": "size", "gt": 5}, "avg", "max_threshold", 5.0),
    ("value_median", {"field": "size", "lt": 5}, "percentiles", "min_threshold", 5.0),
    ("value_percentile", {"field": "size", "percentile": 95, "gt": 5}, "percentiles", "max_threshold", 5.0),
]


@pytest.mark.parametrize(("kind", "condition", "metric", "threshold", "number"), METRICS)
def test_metrics_become_aggregations(
    kind: str, condition: dict[str, Any], metric: str, threshold: str, number: float
) -> None:
    rule = whole([base("login", "login"), correlation(kind, condition=condition)])
    options = rule.properties
    assert (rule.type, options["metric_agg_type"], options[threshold]) == (
        "metric_aggregation",
        metric,
        number,
    )


def test_too_few_events_become_a_flatline() -> None:
    rule = whole([base("login", "login"), correlation("event_count", condition={"lte": 2})])
    assert (rule.type, rule.properties["threshold"]) == ("flatline", 3)


CORRELATIONS_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("event_count", {"condition": {"eq": 3}}, "eq of event_count"),
    ("event_count", {"condition": {"neq": 3}}, "neq of event_count"),
    ("value_count", {"condition": {"field": ["a", "b"], "gte": 3}}, "several fields"),
    ("value_sum", {"condition": {"field": "a", "eq": 3}}, "eq of value_sum"),
    ("temporal", {"rules": ["login", "logout"], "condition": {"gte": 1}}, "fewer events"),
    ("event_count", {"rules": ["gone"], "condition": {"gte": 3}}, "gone"),
    (
        "event_count",
        {
            "rules": ["login", "logout"],
            "group-by": ["who"],
            "aliases": {"who": {"login": "a", "logout": "b"}},
            "condition": {"gte": 3},
        },
        "alias who",
    ),
]


@pytest.mark.parametrize(("kind", "more", "why"), CORRELATIONS_REFUSED)
def test_a_correlation_that_no_type_stands_for_is_refused(kind: str, more: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError) as caught:
        whole([base("login", "login"), base("logout", "logout"), correlation(kind, **more)])
    assert why in str(caught.value)


def test_a_correlation_of_a_correlation_is_refused() -> None:
    inner = correlation("event_count", condition={"gte": 2}).replace('title: "C"', 'title: "I"\nname: inner')
    with pytest.raises(InputError, match="a correlation of a correlation"):
        whole([base("login", "login"), inner, correlation("temporal", rules=["inner", "login"])])


def test_correlation_cases_are_all_there() -> None:
    assert (len(CORRELATIONS), len(METRICS), len(CORRELATIONS_REFUSED)) == (15, 3, 7)


def test_rules_are_named_over_files_and_alert_only_if_told_to(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(correlation("event_count", condition={"gte": 2}))
    (tmp_path / "b.yml").write_text(base("login", "login"))
    (tmp_path / "c.yml").write_text(base("other", "other"))
    assert [rule.name for rule in load_rules(tmp_path)] == ["C", "Other"]
    assert load_file(tmp_path / "a.yml").type == "frequency"
    text = correlation("event_count", condition={"gte": 2}, generate=True)
    (tmp_path / "a.yml").write_text(text)
    assert [rule.name for rule in load_rules(tmp_path)] == ["C", "Login", "Other"]


def test_a_sigma_filter_narrows_the_rules_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(base("login", "login"))
    narrowing = {
        "title": "F",
        "logsource": LOGSOURCE,
        "filter": {"rules": ["login"], "selection": {"user": "admin"}, "condition": "not selection"},
    }
    (tmp_path / "f.yml").write_text(yaml_of(narrowing))
    (rule,) = load_rules(tmp_path)
    assert rule.filter.test(Document({"action": "login", "user": "x"}))
    assert not rule.filter.test(Document({"action": "login", "user": "admin"}))


def test_half_a_surrogate_pair_does_not_stop_an_expression() -> None:
    rule = load_rule(sigma({"s": {"a|re": "x$"}, "condition": "s"}), "s.yml")
    assert rule.filter.test(Document({"a": "\ud800x"})) and not rule.filter.test(Document({"a": "\ud800"}))


def test_one_bad_rule_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(correlation("event_count", rules=["gone"], condition={"gte": 2}))
    (tmp_path / "b.yml").write_text(base("login", "login") + "---\n" + base("logout", "logout"))
    (tmp_path / "c.yml").write_text(sigma({"s": {"a|nosuch": 1}, "condition": "s"}))
    found = dict(load_each(tmp_path))
    assert isinstance(found[str(tmp_path / "a.yml")], InputError)
    assert isinstance(found[str(tmp_path / "c.yml")], InputError)
    loaded = found[str(tmp_path / "b.yml")]
    assert isinstance(loaded, list) and [rule.name for rule in loaded] == ["Login", "Logout"]


def test_lint_tells_all_that_is_wrong_where_it_is(tmp_path: Path) -> None:
    files = {
        "r/a.yml": correlation("event_count", rules=["gone"], condition={"gte": 2}),
        "r/b.yml": sigma({"s": {"a|expand": "%x%"}, "condition": "s"}),
        "r/c.yml": sigma(DETECTION),
    }
    found = [(one.position.source, one.severity.value) for one in lint_sigma(files)]
    assert found[:2] == [("r/a.yml", "error"), ("r/b.yml", "error")]
    assert ("r/c.yml", "warning") in found


def test_a_block_may_count_and_narrow(tmp_path: Path) -> None:
    own = {
        "alert": "debug",
        "type": "frequency",
        "num_events": 3,
        "timeframe": {"minutes": 1},
        "filter": {"exists": {"field": "size"}},
    }
    rule = load_rule(sigma(DETECTION, divertor=own), "s.yml")
    assert rule.type == "frequency"
    assert rule.filter.test(Document(EVENT)) and not rule.filter.test(Document({"User": "root"}))
