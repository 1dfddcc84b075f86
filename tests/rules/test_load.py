"""Rule files: what is read, and what is refused where."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.rules import Rule, load_rule

LEAST = "name: r\ntype: any\nindex: logs\nalert: debug\n"

REFUSED = [
    ("tpye: any", "r.yaml:5:1: unknown option 'tpye'; expected 'type'"),
    ("num_event: 3", "expected 'num_events'"),
    ("slack_webhok_url: http://x", "expected 'slack_webhook_url'"),
    ("name: again", "r.yaml:5:1"),
    ("match_enhancements: [B]", "r.yaml:5:22: 'B' is no enhancement"),
    ("import: base.yaml", "only rule files on disk can refer to other files"),
    ("timestamp_format_expr: ts", "r.yaml:5:1: the option 'timestamp_format_expr' is refused: it is Python"),
    ("links: {a: 'javascript:x'}", "r.yaml:5:12: links is no web address"),
    ("links: {a: 'https://{host}/'}", "no web address"),
    ("generate_kibana_discover_url: true", "r.yaml:5:31: a link to Kibana without kibana_discover_app_url"),
    ("timestamp_format: '%Y'", "r.yaml:5:19: a timestamp_format with timestamp_type iso"),
    ("timestamp_type: custom\ntimestamp_format: '%Q'", "is no format of times"),
    ("summary_table_fields: [{pth: x}]", "unknown key 'pth' in summary_table_fields"),
    ("summary_table_type: csv", "unknown 'csv'"),
    ("timestamp_type: unixx", "timestamp_type is 'unixx'; expected 'unix'"),
    ("realert: 5", "r.yaml:5:10: realert is no length of time"),
    ("realert: {minuets: 5}", "'minuets' in realert is no unit of time"),
    ("realert: {minutes: -5}", "minutes of realert is -5"),
    ("is_enabled: maybe", "expected true or false"),
    ("filter: [{trem: {a: b}}]", "r.yaml:5:11: unknown query 'trem'; expected 'term'"),
    ("filter: [{query_string: {query: '(a'}}]", "character 3 of the query"),
    ("alert_subject: 'a {} {}'\nalert_subject_args: [x]", "hole number 2 has no argument: 1 given"),
    ("alert_text: 'a {0.__class__}'\nalert_text_args: [x]", "nothing is given for {0.__class__}"),
    ("alert_text: 'a {0!r}'\nalert_text_args: [x]", "conversion"),
    ("alert_text: 'a {'\nalert_text_args: [x]", "alert_text"),
    ("alert_text_type: alert_text_jinja\nalert_text: '{{ a'", "r.yaml:6:13: alert_text: unexpected end"),
    ("alert_text_type: only", "unknown 'only'"),
    ("alert_subject_max_len: -1", "a whole number"),
    ("_x: !!python/object/apply:os.system [id]", "tag"),
]

REFUSED_INSTEAD = [
    ("index: logs\nalert: debug", "without 'type'"),
    ("type: any\nalert: debug", "without 'index'"),
    ("type: any\nindex: logs", "without 'alert'"),
    ("type: frequenzy\nindex: logs\nalert: debug", "expected 'frequency'"),
    ("type: frequency\nindex: logs\nalert: debug", "without 'num_events'"),
    (
        "type: frequency\nindex: logs\nalert: debug\nnum_events: 0\ntimeframe: {hours: 1}",
        "r.yaml:4:13: num_events is 0",
    ),
    ("type: frequency\nindex: logs\nalert: debug\nnum_events: 3", "without 'timeframe'"),
    ("type: any\nindex: 'a,-b'\nalert: debug", "index pattern '-b'"),
    ("type: any\nindex: logs\nalert: []", "no alert"),
    ("type: any\nindex: logs\nalert: slak", "r.yaml:3:8: unknown alerter 'slak'; expected 'slack'"),
    ("type: any\nindex: logs\nalert: slack", "without 'slack_webhook_url'"),
    ("type: any\nindex: logs\nalert: [slack: {slack_url: x}]", "unknown option 'slack_url' of slack"),
    ("type: any\nindex: logs\nalert: slack\nslack_webhook_url: ftp://h/s", "no web address"),
    ("type: any\nindex: logs\nalert: command", "without 'command'"),
    ("type: any\nindex: logs\nalert: command\ncommand: ['{prog}', x]", "chosen by the match"),
    ("type: any\nindex: logs\nalert: command\ncommand: []", "command is empty"),
    ("type: any\nindex: logs\nalert: [isolate: {too: x}]", "unknown key 'too' in isolate; expected 'to'"),
    ("type: any\nindex: logs\nalert: [isolate: {for: ages}]", "'ages' is no duration"),
    ("type: any\nindex: logs\nalert: [isolate: {keys: [mood]}]", "'mood' is no key"),
    ("- a", "not a rule"),
    ("", "0 documents"),
    (LEAST + "---\n" + LEAST, "2 documents"),
    ("a: [", "r.yaml"),
]


@pytest.mark.parametrize(("more", "why"), REFUSED)
def test_an_option_is_refused(more: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        load_rule(LEAST + more, "r.yaml")
    assert why in str(caught.value)


@pytest.mark.parametrize(("text", "why"), REFUSED_INSTEAD)
def test_a_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        load_rule(text, "r.yaml")
    assert why in str(caught.value)


def test_refusals_are_all_there() -> None:
    assert (len(REFUSED), len(REFUSED_INSTEAD)) == (29, 23)


def test_a_refused_webhook_is_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        load_rule("type: any\nindex: logs\nalert: slack\nslack_webhook_url: secret-token", "r.yaml")
    assert "no web address" in str(caught.value) and "secret-token" not in str(caught.value)


def test_options_about_polling_are_accepted_without_effect(rule: Callable[..., Rule]) -> None:
    loaded = rule(es_host="h", es_port=9200, buffer_time={"minutes": 1}, owner="me", kibana_url="http://k")
    assert loaded.name == "r"


def test_the_name_defaults_to_the_stem_of_the_file() -> None:
    assert load_rule(LEAST.replace("name: r\n", ""), "rules/too_many.yaml").name == "too_many"


def test_realert_defaults_to_a_minute() -> None:
    assert load_rule(LEAST, "r.yaml").alarm.realert == timedelta(minutes=1)


def test_units_of_time_add_up(rule: Callable[..., Rule]) -> None:
    assert rule(realert={"minutes": 1.5, "seconds": 3}).alarm.realert == timedelta(seconds=93)


def test_index_patterns_come_as_lists_commas_and_dates(rule: Callable[..., Rule]) -> None:
    assert rule(index=["a, b", "c*"]).index == ("a", "b", "c*")
    assert rule(index="logs-%Y.%m", use_strftime_index=True).index == ("logs-*.*",)
    assert rule(index="_all").index == ("*",)


def test_nested_alert_options_override_the_rules(rule: Callable[..., Rule]) -> None:
    loaded = rule(
        slack_webhook_url="http://a/1",
        slack_msg_color="good",
        alert=["slack", {"slack": {"slack_msg_color": "warning"}}],
    )
    assert [spec.options["slack_msg_color"] for spec in loaded.alerts] == ["good", "warning"]
    assert loaded.alerts[1].options["slack_webhook_url"] == ("http://a/1",)


def test_isolate_takes_its_wishes_from_either_place(rule: Callable[..., Rule]) -> None:
    wishes = {"to": "shop:1.0.0", "for": "2h", "keys": ["cookie sid", "client address"], "reason": "sqli"}
    top = rule(alert="isolate", isolate=wishes).alerts[0].options["isolate"]
    nested = rule(alert=[{"isolate": wishes}]).alerts[0].options["isolate"]
    assert top == nested
    assert (top.to, top.durations, [str(key) for key in top.keys]) == (
        "shop:1.0.0",
        (timedelta(hours=2),),
        ["cookie sid", "client address"],
    )


def test_isolate_needs_no_options(rule: Callable[..., Rule]) -> None:
    assert rule(alert="isolate").alerts[0].options["isolate"].durations == ()
    assert rule(alert=[{"isolate": {"for": "forever"}}]).alerts[0].options["isolate"].durations == (None,)


def test_an_option_of_another_type_is_pointed_out(rule: Callable[..., Rule]) -> None:
    (warning,) = rule(type="any", num_events=3).warnings
    assert "num_events has no effect with type any" in warning


def test_braces_in_a_shell_script_are_pointed_out(rule: Callable[..., Rule]) -> None:
    (warning,) = rule(alert="command", command="echo {user} ${HOME} {}").warnings
    assert warning.startswith("{user} in a command")


def test_post_sends_all_values_only_without_a_payload(rule: Callable[..., Rule]) -> None:
    post = {"alert": "post", "http_post_url": "http://a/"}
    assert rule(**post).alerts[0].options["http_post_all_values"] is True
    assert rule(**post, http_post_payload={"a": "b"}).alerts[0].options["http_post_all_values"] is False


def test_braces_without_arguments_are_literal(rule: Callable[..., Rule]) -> None:
    assert rule(alert_subject="{} {x}").words.subject.render(str) == "{} {x}"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("ab {}%$*:", max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner)),
    max_leaves=5,
)
NAMES = (
    "type index alert filter realert query_key include command isolate alert_text alert_text_args "
    "alert_text_kw slack_webhook_url slack_alert_fields http_post_payload num_events timeframe"
).split()


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES), st.sampled_from(["slack", "command", "post", "isolate"])
)
def test_any_values_are_loaded_or_refused(options: dict[str, Any], alert: str) -> None:
    try:
        load_rule(json.dumps({"type": "any", "index": "i", "alert": alert, **options}), "r.yaml")
    except InputError:
        pass


def test_an_entry_of_alert_may_have_words_of_its_own(rule: Callable[..., Rule]) -> None:
    nested = {"alert_text": "{} twice", "alert_text_args": ["a"], "alert_text_type": "alert_text_only"}
    loaded = rule(alert=["debug", {"debug": nested}], alert_subject="of the rule")
    assert loaded.alerts[0].words is None
    words = loaded.alerts[1].words
    assert words is not None and words.text is not None
    assert (words.text.render(str), words.subject.render(str)) == ("a twice", "of the rule")


def test_words_of_an_entry_are_checked_where_they_are(rule: Callable[..., Rule]) -> None:
    with pytest.raises(InputError, match=r"r\.yaml:1:\d+: alert_text: hole number 1 has no argument"):
        load_rule(
            '{type: any, index: i, alert: [{debug: {alert_text: "{}", alert_text_kw: {a: b}}}]}', "r.yaml"
        )
