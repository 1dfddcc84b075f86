"""The table above gathered matches, texts of several matches, and where a message leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.alerts.links import Link, links
from divertor.alerts.tables import MAX_ROWS, summary_table
from divertor.alerts.text import MAX_BODY, SEPARATOR, body, subject
from divertor.alerts.wording import discover_address
from divertor.rules import Match, Notification, load_rule
from divertor.rules.rule import Status, SummaryOptions

Matches = Callable[..., Match]
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def several(match: Matches, fields: list[dict[str, Any]], **options: Any) -> Notification:
    found = [match(one, **options) for one in fields]
    return Notification("n", found[0].rule, tuple(found))


def test_an_ascii_table_counts_combinations(match: Matches) -> None:
    told = several(
        match,
        [{"u": "x"}, {"u": "y"}, {"u": "x"}],
        summary_table_fields=["u", {"path": "gone", "header": "Gone"}],
        alert_text_type="aggregation_summary_only",
        summary_prefix="P",
        summary_suffix="S",
    )
    head = "Aggregation resulted in the following data for summary_table_fields ==> ['u', 'Gone', 'count']:"
    assert body(told) == (
        f"P\n{head}\n\n"
        "+---+------+-------+\n| u | Gone | count |\n+===+======+=======+\n| x | None | 2     |\n"
        "+---+------+-------+\n| y | None | 1     |\n+---+------+-------+\n\nS"
    )


def test_a_table_stands_in_a_fence_where_the_medium_needs_one(match: Matches) -> None:
    told = several(match, [{"u": "x"}], summary_table_fields="u", alert_text_type="aggregation_summary_only")
    text = body(told, fence="```")
    assert text.startswith("```\nAggregation") and text.endswith("\n```\n")


def test_the_most_frequent_rows_come_first_when_rows_are_limited(match: Matches) -> None:
    told = several(match, [{"u": one} for one in "abbb"], summary_table_fields="u", summary_table_max_rows=1)
    table = summary_table(told)
    assert "| b | 3     |" in table and "| a " not in table and table.endswith("Showing top 1 rows\n")


def test_cells_are_escaped_after_they_are_aligned(match: Matches) -> None:
    told = several(match, [{"u": "<"}, {"u": "xxx"}], summary_table_fields="u")
    assert "| &lt;   | 1     |" in summary_table(told, lambda text: text.replace("<", "&lt;"))


def test_an_html_table_escapes_what_events_brought(match: Matches) -> None:
    told = several(match, [{"u": "<script>"}], summary_table_fields="u", summary_table_type="html")
    assert "<script>" not in summary_table(told) and "&lt;script&gt;" in summary_table(told)


def test_rows_are_bounded(match: Matches) -> None:
    one = match({"u": 0}, summary_table_fields="u")
    matches = tuple(replace(one, document={"u": number}) for number in range(MAX_ROWS + 5))
    table = summary_table(Notification("n", one.rule, matches))
    assert table.endswith("and 5 rows more\n") and table.count("\n|") == MAX_ROWS + 1


CELLS = st.lists(st.lists(st.text(max_size=30), min_size=2, max_size=2), min_size=1, max_size=5)
BASE = load_rule("name: r\ntype: any\nindex: logs\nalert: debug", "r")


@settings(max_examples=50, deadline=None)
@given(CELLS, st.sampled_from(["ascii", "markdown", "html"]), st.integers(1, 80))
def test_any_values_make_a_table_whose_lines_are_whole(rows: list[list[str]], kind: str, width: int) -> None:
    summary = SummaryOptions(("a", "b"), ("a", "b"), kind)
    rule = replace(BASE, words=replace(BASE.words, summary=summary))
    documents = [{"a": left, "b": right} for left, right in rows]
    first = Match("m", rule, {}, None, 1, 1, MOMENT)
    matches = tuple(replace(first, document=document) for document in documents)
    table = summary_table(Notification("n", rule, matches), width=width)
    if kind == "ascii":
        assert all(line[0] in "|+" for line in table.split("\n\n", 1)[1].split("\n") if line)
    elif kind == "markdown":
        lines = table.split("\n\n", 1)[1].strip("\n").split("\n")
        assert all(line.startswith("|") and line.endswith("|") for line in lines)


@pytest.mark.parametrize("cell", ["\n" * 1000, "\u0301" * 1000, "a\n" * 500, "a-" * 500], ids=range(4))
@pytest.mark.parametrize("kind", ["ascii", "markdown", "html"])
def test_a_table_of_hostile_cells_is_bounded_and_does_not_take_long(
    match: Matches, kind: str, cell: str
) -> None:
    one = match({}, summary_table_fields=["a", "b", "n"], summary_table_type=kind)
    matches = tuple(replace(one, document={"a": cell, "b": cell, "n": number}) for number in range(2000))
    begin = process_time()
    table = summary_table(Notification("n", one.rule, matches))
    assert process_time() - begin < 2
    assert len(table) < 300_000 and "rows more" in table


def test_texts_of_several_matches_follow_each_other(match: Matches) -> None:
    options = {"alert_text": "{}", "alert_text_args": ["u"], "alert_text_type": "alert_text_only"}
    told = several(match, [{"u": "x"}, {"u": "y"}], **options)
    assert body(told) == f"x\n\n{SEPARATOR}y\n\n{SEPARATOR}"


def test_many_matches_make_a_bounded_text(match: Matches) -> None:
    one = match({"u": "x" * 1000})
    assert len(body(Notification("n", one.rule, (one,) * 500))) == MAX_BODY


def test_what_is_over_says_since_when(match: Matches) -> None:
    over = replace(match({"u": "x"}, use_local_time=False), status=Status.RESOLVED)
    assert body(Notification.of(over)).startswith("Resolved at 2026-01-01 12:30 UTC\n\nr\n\n")


JINJA = {"alert_text_type": "alert_text_jinja"}


def test_a_template_fills_text_and_subject(match: Matches) -> None:
    told = Notification.of(
        match(
            {"a": {"b": "x"}},
            alert_text="{{ a.b }} {{ owner }}",
            alert_subject="{{ _data.name }}",
            owner="me",
            **JINJA,
        )
    )
    assert (subject(told), body(told)) == ("r", "x me\n\n")


def test_a_template_that_cannot_be_filled_costs_no_alert(match: Matches) -> None:
    told = Notification.of(match({"u": "x"}, alert_text="{{ a.b }}", alert_subject="{{ a.b }}", **JINJA))
    assert subject(told) == "r"
    assert body(told).startswith(
        "(alert_text cannot be filled: UndefinedError: 'a' is undefined)\n\n@timestamp: "
    )


def test_counts_are_shown_as_lists_and_not_as_fields(match: Matches) -> None:
    one = match({"u": "x"}, top_count_keys=["ip", "t"])
    counts = {"top_events_ip": {"a": 1, "b": 3}, "top_events_t": {}}
    text = body(Notification.of(replace(one, document={**one.document, **counts})))
    assert "ip:\nb: 3\na: 1\n\nt:\nNo events found.\n\n" in text and "top_events" not in text


def test_a_message_leads_to_the_event_and_where_the_rule_says(match: Matches) -> None:
    told = Notification.of(
        match(
            {"ip": "10.0.0.1/../?x#y", "u": "ü"},
            dashboard_url="https://dash/",
            links={"Search": "https://s/?q={ip}&u={u}&{}&o={owner}"},
            owner="me",
        )
    )
    assert links(told, "https://divertor/") == [
        Link("Event", "https://divertor/events/e1"),
        Link("Dashboard", "https://dash/"),
        Link("Search", "https://s/?q=10.0.0.1%2F..%2F%3Fx%23y&u=%C3%BC&{}&o=me"),
    ]


def test_without_an_address_of_the_installation_there_is_no_link_to_the_event(match: Matches) -> None:
    assert links(Notification.of(match())) == []


def test_discover_is_a_link_too(match: Matches) -> None:
    found = links(
        Notification.of(
            match(
                generate_opensearch_discover_url=True,
                opensearch_discover_app_url="https://os/",
                opensearch_discover_index_pattern_id="i",
            )
        )
    )
    assert [one.title for one in found] == ["Discover in OpenSearch"] and found[0].url.startswith(
        "https://os/?_g=%28"
    )


def test_an_event_cannot_replace_the_link_that_the_rule_describes(match: Matches) -> None:
    found = match(
        {"kibana_discover_url": "https://evil.example/"},
        generate_kibana_discover_url=True,
        kibana_discover_app_url="https://kibana/",
        kibana_discover_index_pattern_id="i",
    )
    assert discover_address(Notification.of(found), "kibana").startswith("https://kibana/")


def test_an_entry_of_alert_says_it_in_its_own_words(match: Matches) -> None:
    nested = {"alert_text": "{}", "alert_text_args": ["u"], "alert_text_type": "alert_text_only"}
    told = Notification.of(match({"u": "x"}, alert=[{"debug": nested}], alert_subject="s"))
    worded = told.worded(told.rule.alerts[0].words)
    assert (subject(worded), body(worded), told.worded(None)) == ("s", "x\n\n", told)
