"""What a rule draws on besides its own text: imports, defaults, the environment, other options."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from divertor.errors import InputError
from divertor.rules import Rule, load_rule, load_rules
from divertor.rules.reading.files import load_file

LEAST = "name: r\ntype: any\nindex: logs\nalert: debug\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".yaml").write_text(text)


def load(folder: Path, environ: Mapping[str, str] | None = None) -> Rule:
    (rule,) = load_rules(folder / "rules", environ or {})
    return rule


def test_the_importer_wins_over_what_it_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="realert: {minutes: 7}\nowner: base\n",
        rules__r=LEAST + "import: ../base.yaml\nowner: me",
    )
    rule = load(tmp_path)
    assert (rule.alarm.realert, rule.properties["owner"]) == (timedelta(minutes=7), "me")


def test_of_several_imports_the_later_one_wins(tmp_path: Path) -> None:
    write(
        tmp_path, a="owner: a\npriority: 1", b="owner: b", rules__r=LEAST + "import: [../a.yaml, ../b.yaml]"
    )
    assert [load(tmp_path).properties[name] for name in ("owner", "priority")] == ["b", 1]


def test_filters_add_up_imported_ones_first(tmp_path: Path) -> None:
    write(
        tmp_path,
        deep="filter: [{term: {a: 1}}]",
        base="import: deep.yaml\nfilter:\n- term: {b: 2}\n",
        rules__r=LEAST + "import: ../base.yaml\nfilter:\n- term: {c: 3}\n",
    )
    assert load(tmp_path).properties["filter"] == [{"term": {"a": 1}}, {"term": {"b": 2}}, {"term": {"c": 3}}]


def test_imports_in_a_circle_are_refused_with_their_path(tmp_path: Path) -> None:
    write(tmp_path, a="import: b.yaml", b="import: a.yaml", rules__r=LEAST + "import: ../a.yaml")
    with pytest.raises(InputError, match=r"imports in a circle: \S+a\.yaml → \S+b\.yaml → \S+a\.yaml"):
        load(tmp_path)


def test_an_import_that_is_not_there_is_told_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, rules__r=LEAST + "import: ../gone.yaml")
    with pytest.raises(InputError, match=r"r\.yaml:5:9: '../gone.yaml' cannot be read: .*No such file"):
        load(tmp_path)


def test_a_fault_in_an_imported_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, base="\nrealert: 5", rules__r=LEAST + "import: ../base.yaml")
    with pytest.raises(InputError, match=r"base\.yaml:2:10: realert is no length of time"):
        load(tmp_path)


def test_a_rule_without_a_file_can_import_nothing() -> None:
    with pytest.raises(InputError, match="only rule files on disk"):
        load_rule(LEAST + "import: /etc/hosts", "by the API")


def test_another_text_of_an_import_makes_it_another_rule(tmp_path: Path) -> None:
    write(tmp_path, base="owner: a", rules__r=LEAST + "import: ../base.yaml")
    before, again = load(tmp_path), load(tmp_path)
    write(tmp_path, base="owner: b")
    assert (before.same_as(again), before.same_as(load(tmp_path))) == (True, False)


def test_a_template_file_is_read_beside_the_rule(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "t.txt").write_text("Hello {{ user }}")
    write(tmp_path, rules__r=LEAST + "alert_text_type: alert_text_jinja\njinja_template_path: t.txt")
    jinja = load(tmp_path).words.jinja
    assert jinja is not None and jinja.render({"user": "x"}) == "Hello x"


def test_config_yaml_holds_defaults_for_its_directory(tmp_path: Path) -> None:
    write(
        tmp_path,
        rules__config="es_host: h\nrules_folder: r\nrun_every: {minutes: 5}\ncompatible: true\n"
        "slack_webhook_url: http://a/1",
        rules__deeper__r=LEAST.replace("debug", "slack") + "run_every: {minutes: 2}",
    )
    rule = load(tmp_path)
    assert (rule.clock.compatible, rule.clock.run_every) == (True, timedelta(minutes=2))
    assert rule.alerts[0].options["slack_webhook_url"] == ("http://a/1",)
    assert load_file(Path(rule.source), tmp_path / "rules", {}).same_as(rule)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "slack_webhok_url: x",
            r"config\.yaml:1:1: unknown option 'slack_webhok_url'; expected 'slack_webhook_url'",
        ),
        ("filter: []", "unknown option 'filter'"),
        ("query_key: a", "'query_key' belongs into a rule"),
        ("timestamp_format_expr: a", "refused: it is Python"),
    ],
)
def test_defaults_that_are_none_are_refused(tmp_path: Path, text: str, why: str) -> None:
    write(tmp_path, rules__config=text, rules__r=LEAST)
    with pytest.raises(InputError, match=why):
        load(tmp_path)


def test_a_config_yaml_with_a_type_is_a_rule(tmp_path: Path) -> None:
    write(tmp_path, rules__config=LEAST)
    assert load(tmp_path).name == "r"


ENVIRON = {
    "DIVERTOR_RULES_ENV": "HOOK, LIMIT_*",
    "HOOK": "http://host/secret",
    "LIMIT_N": "5",
    "HOME": "/root",
}


def test_variables_that_are_allowed_stand_for_their_values(tmp_path: Path) -> None:
    text = "type: frequency\nindex: logs\nalert: slack\nslack_webhook_url: ${HOOK}\nnum_events: $LIMIT_N\n"
    write(tmp_path, rules__r=text + "timeframe: {hours: 1}\nowner: '$LIMIT_N'")
    rule = load(tmp_path, ENVIRON)
    assert rule.alerts[0].options["slack_webhook_url"] == ("http://host/secret",)
    assert (rule.properties["num_events"], rule.properties["owner"]) == (5, "5")


def test_other_variables_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, rules__r=LEAST + "owner: $HOME ${HOME} $$ 5$ $HOOK$")
    assert load(tmp_path, ENVIRON).properties["owner"] == "$HOME ${HOME} $$ 5$ $HOOK$"


def test_rules_see_no_variable_unless_it_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, rules__r=LEAST + "owner: $HOOK")
    assert load(tmp_path, {"HOOK": "x"}).properties["owner"] == "$HOOK"


@pytest.mark.parametrize(
    "option", ["realert: $SECRET", "is_enabled: $SECRET", "links: {a: $SECRET}", "x$y: 1"]
)
def test_what_a_variable_stands_for_is_never_told(tmp_path: Path, option: str) -> None:
    secret = "hunter2-hunter2"
    write(tmp_path, rules__r=LEAST + f"filter: [{{trem: $SECRET}}]\nalert_subject_max_len: $SECRET\n{option}")
    with pytest.raises(InputError) as caught:
        load(tmp_path, {"DIVERTOR_RULES_ENV": "*", "SECRET": secret})
    assert "hunter" not in str(caught.value)


def test_a_reference_is_the_option_of_that_name(tmp_path: Path) -> None:
    text = LEAST.replace("debug", "slack") + "hook: 1\n"
    with pytest.raises(InputError, match="unknown option 'hook'"):
        load_rule(text, "r")
    rule = load_rule(
        LEAST.replace("debug", "slack") + "slack_webhook_url: http://a/\nslack_title: $owner$\nowner: me", "r"
    )
    assert rule.alerts[0].options["slack_title"] == "me"


def test_a_rule_can_be_read_again_without_what_it_drew_from(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="filter: [{term: {a: 1}}]\nowner: $HOOK",
        rules__config="slack_webhook_url: http://a/1",
        rules__r=LEAST.replace("debug", "slack") + "import: ../base.yaml\nrealert: {minutes: 9}",
    )
    rule = load(tmp_path, ENVIRON)
    again = load_rule(rule.portable, rule.source)
    assert again.properties == rule.properties
    assert (again.alerts, again.alarm, again.words) == (rule.alerts, rule.alarm, rule.words)
    assert "secret" not in rule.text
