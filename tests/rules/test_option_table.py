"""Every option of ElastAlert 2's schema and loader, and what happens to it here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.rules import Rule, load_rule
from divertor.rules.alerters import alert_option_names
from divertor.rules.reading.importing import Surroundings
from divertor.rules.reading.lint import Level, lint_rule
from divertor.rules.reading.load import COMMON, STRUCTURED
from divertor.rules.reading.vocabulary import ALIASES, REFUSED, WITHOUT_EFFECT, WITHOUT_EFFECT_PREFIXES
from divertor.rules.types import TYPES

#: Sections of names: what acts upon them, or what else happens.
TABLE = Path(__file__).parent / "data" / "elastalert_options.txt"


def table() -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        else:
            assert line not in found
            found[line] = section
    return found


OPTIONS = table()


def fate(name: str) -> str:
    if name in REFUSED:
        return "refused"
    if name in COMMON or name in STRUCTURED:
        return "rule"
    if any(name == option.name for declared in TYPES.values() for option in declared.options):
        return "type"
    if name in alert_option_names():
        return "alerter"
    if name in WITHOUT_EFFECT or name.startswith(WITHOUT_EFFECT_PREFIXES):
        return "accepted"
    return "renamed" if name in ALIASES else "unknown"


def test_every_option_of_elastalert_has_a_known_fate() -> None:
    assert {name: fate(name) for name in OPTIONS} == OPTIONS
    assert Counter(OPTIONS.values()) == {
        "alerter": 339,
        "rule": 63,
        "accepted": 46,
        "type": 44,
        "refused": 6,
        "renamed": 3,
    }
    assert len(OPTIONS) == 501


#: A value for each option that rules of every type have, and what must be beside it.
SPAN = {"minutes": 5}
KIBANA = {
    "generate_kibana_discover_url": True,
    "kibana_discover_app_url": "https://k/",
    "kibana_discover_index_pattern_id": "i",
}
OPENSEARCH = {name.replace("kibana", "opensearch"): value for name, value in KIBANA.items()}
TABLED = {"aggregation": SPAN, "summary_table_fields": ["a"]}
JINJA = {"alert_text_type": "alert_text_jinja", "alert_text": "{{ a }}"}
EXAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "aggregate_by_match_time": (True, {"aggregation": SPAN}),
    "aggregation": ({"schedule": "0 8 * * *"}, {}),
    "aggregation_alert_time_compared_with_timestamp_field": (True, {"aggregation": SPAN}),
    "aggregation_key": (["a", "b"], {"aggregation": SPAN}),
    "alert": (["debug"], {}),
    "alert_missing_value": ("-", {}),
    "alert_subject": ("{}", {"alert_subject_args": ["a"]}),
    "alert_subject_args": (["a"], {"alert_subject": "{0}"}),
    "alert_subject_max_len": (5, {"alert_subject": "a subject"}),
    "alert_text": ("text", {}),
    "alert_text_args": (["a"], {"alert_text": "{}"}),
    "alert_text_kw": ({"a": "b"}, {"alert_text": "{b}"}),
    "alert_text_type": ("exclude_fields", {}),
    "alert_time_limit": (SPAN, {}),
    "buffer_time": (SPAN, {}),
    "custom_pretty_ts_format": ("%H:%M", {}),
    "exponential_realert": ({"hours": 1}, {"realert": SPAN}),
    "filter": ([{"query": {"query_string": {"query": "a:b"}}}], {}),
    "generate_kibana_discover_url": (True, KIBANA),
    "generate_opensearch_discover_url": (True, OPENSEARCH),
    "import": ("base", {}),
    "include": (["a"], {}),
    "include_rule_params_in_matches": (["name"], {}),
    "index": ("logs-*", {}),
    "is_enabled": (False, {}),
    "jinja_root_name": ("root", JINJA),
    "jinja_template_path": ("template", JINJA),
    "kibana_discover_app_url": ("https://k/", KIBANA),
    "kibana_discover_columns": (["a"], KIBANA),
    "kibana_discover_from_timedelta": (SPAN, KIBANA),
    "kibana_discover_index_pattern_id": ("i", KIBANA),
    "kibana_discover_to_timedelta": (SPAN, KIBANA),
    "kibana_discover_version": ("8.13", KIBANA),
    "limit_execution": ("0 8 * * *", {}),
    "limit_execution_coverage": (True, {"limit_execution": "0 8 * * *"}),
    "match_enhancements": (["a.module.Class"], {}),
    "max_aggregation": (7, {"aggregation": SPAN}),
    "name": ("a name", {}),
    "opensearch_discover_app_url": ("https://k/", OPENSEARCH),
    "opensearch_discover_columns": (["a"], OPENSEARCH),
    "opensearch_discover_from_timedelta": (SPAN, OPENSEARCH),
    "opensearch_discover_index_pattern_id": ("i", OPENSEARCH),
    "opensearch_discover_to_timedelta": (SPAN, OPENSEARCH),
    "opensearch_discover_version": ("2.11", OPENSEARCH),
    "query_delay": (SPAN, {}),
    "query_key": (["a", "b"], {}),
    "realert": (SPAN, {}),
    "realert_key": ("shared", {}),
    "run_enhancements_first": (True, {"match_enhancements": ["TimeEnhancement"]}),
    "run_every": (SPAN, {}),
    "summary_prefix": ("p", TABLED),
    "summary_suffix": ("s", TABLED),
    "summary_table_fields": ([{"path": "a", "header": "A"}, "b"], {"aggregation": SPAN}),
    "summary_table_max_rows": (3, TABLED),
    "summary_table_type": ("html", TABLED),
    "timestamp_field": ("time", {}),
    "timestamp_format": ("%Y-%m-%d", {"timestamp_type": "custom"}),
    "timestamp_type": ("unix_ms", {}),
    "top_count_keys": (["a"], {}),
    "top_count_number": (3, {"top_count_keys": ["a"]}),
    "type": ("any", {}),
    "use_local_time": (False, {}),
    "use_strftime_index": (True, {"index": "logs-%Y"}),
}

LEAST = {"name": "r", "type": "any", "index": "logs", "alert": "debug"}
AROUND = Surroundings(read=lambda path, _source: (path, "owner: me"))


def written(name: str, value: Any, beside: dict[str, Any]) -> str:
    return json.dumps({**LEAST, **beside, name: value})


#: What of a rule its options make, but for its type, alerters and filter.
ATTRIBUTES = (
    "name index is_enabled query_key include alarm clock words gather enrich links retry_for drawn".split()
)
#: Without these there is no rule, or they are only checked.
NEEDED = frozenset({"name", "type", "index", "alert", "filter"})
CHECKED = frozenset({"kibana_discover_version", "opensearch_discover_version"})


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_option_of_every_rule_is_acted_upon(name: str) -> None:
    value, beside = EXAMPLES[name]
    text = written(name, value, beside)
    rule = load_rule(text, "r.yaml", AROUND)
    assert [one for one in lint_rule(text, "r.yaml", AROUND) if one.severity is not Level.HINT] == []
    if name not in NEEDED | CHECKED:
        assert changes(rule, {key: other for key, other in beside.items() if key != name})


def changes(rule: Rule, beside: dict[str, Any]) -> bool:
    """Whether the rule would be another one, or none, without the option."""
    try:
        without = load_rule(json.dumps({**LEAST, **beside}), "r.yaml", AROUND)
    except InputError:
        return True
    return any(getattr(rule, one) != getattr(without, one) for one in ATTRIBUTES)


def test_examples_are_all_there() -> None:
    assert EXAMPLES.keys() == {name for name, section in OPTIONS.items() if section == "rule"}


@pytest.mark.parametrize("name", sorted(name for name, section in OPTIONS.items() if section == "accepted"))
def test_an_option_without_effect_is_accepted_and_says_why(name: str) -> None:
    text = written(name, "x", {})
    assert load_rule(text, "r.yaml").warnings == ()
    hints = [one.message for one in lint_rule(text, "r.yaml")]
    assert hints == ([] if name in ("owner", "priority", "description") else hints[:1])
    assert all(hint.startswith(f"{name} has no effect: ") for hint in hints)


@pytest.mark.parametrize("name", sorted(name for name, section in OPTIONS.items() if section == "refused"))
def test_a_refused_option_says_why_and_what_to_write(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_rule(f"name: r\ntype: any\nindex: logs\nalert: debug\n{name}: x", "r.yaml")
    assert f"r.yaml:5:1: the option {name!r} is refused: it" in str(caught.value) or "templates" in str(
        caught.value
    )
    assert caught.value.expected


@pytest.mark.parametrize("name", sorted(name for name in OPTIONS if len(name) > 5)[::4])
def test_a_misspelt_option_names_the_nearest(name: str) -> None:
    misspelt = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1]
    if misspelt in OPTIONS:
        return
    with pytest.raises(InputError, match="unknown option") as caught:
        load_rule(f"name: r\ntype: any\nindex: logs\nalert: debug\n{misspelt}: x", "r.yaml")
    assert caught.value.position.line == 5 and caught.value.position.column == 1
    assert caught.value.expected.strip("'") in OPTIONS.keys() | alert_option_names() | COMMON.keys()
