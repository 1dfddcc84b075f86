"""Pages and scripts in segments: nothing between them, nothing twice, and no text that takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor_sensor.detectors import Candidate, xss
from divertor_sensor.detectors.pages import Page, Segment, code_segments, tag_segments
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Spent, Work

MARKUP = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            "</",
            "<a",
            " b",
            "=",
            "'",
            '"',
            "/",
            "<!--",
            "-->",
            "<script>",
            "</script>",
            "<!x>",
            "x",
            "\n",
        ]
        + ["<title>", "</title >", " on", "`", "<input value=", "&quot;", "<style", "\\"]
    ),
    max_size=40,
).map("".join)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(each.kind, text[each.start : each.end]) for each in Page(text).segments]


def test_a_page_is_text_tags_names_values_and_scripts() -> None:
    text = '<p id="a" B=c>x < y</p><!-- "z" --><script>a<b</script>'
    assert kinds(text) == [
        ("tag", "<p"),
        ("name", ' id="'),
        ("value", "a"),
        ("end", '"'),
        ("name", " B="),
        ("value", "c"),
        ("end", ">"),
        ("text", "x < y"),
        ("tag", "</p"),
        ("end", ">"),
        ("comment", '<!-- "z" -->'),
        ("tag", "<script"),
        ("end", ">"),
        ("script", "a<b"),
        ("tag", "</script"),
        ("end", ">"),
    ]


@pytest.mark.parametrize(
    ("opening", "kind"),
    [
        ("<script>", ("script", "")),
        ('<script type="module">', ("script", "")),
        ('<script type="text/javascript">', ("script", "")),
        ('<script type="application/ld+json">', ("script", "data")),
        ('<script type="text/template">', ("raw", "")),
        ("<STYLE>", ("raw", "")),
        ("<textarea rows=2>", ("raw", "")),
        ("<title>", ("raw", "")),
        ("<noscript>", ("raw", "")),
        ("<div>", ("text", "")),
    ],
)
def test_the_content_of_an_element_is_what_its_name_makes_it(opening: str, kind: tuple[str, str]) -> None:
    page = Page(f"{opening}content")
    assert (page.segments[-1].kind, page.segments[-1].name) == kind


def in_order(segments: list[Segment], text: str) -> bool:
    ends = [0, *(each.end for each in segments)]
    starts = [*(each.start for each in segments), len(text)]
    return starts == ends and all(each.end > each.start for each in segments)


@given(MARKUP)
@settings(max_examples=300, deadline=None)
def test_segments_follow_each_other_without_gaps(text: str) -> None:
    assert in_order(Page(text).segments, text) and in_order(code_segments(text), text)
    tag = tag_segments(text)
    assert in_order(tag, text[: tag[-1].end] if tag else "")


@given(MARKUP, st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20)), max_size=4))
@settings(max_examples=500, deadline=None)
def test_a_page_read_for_some_places_says_of_them_what_the_whole_page_says(
    text: str, places: list[tuple[int, int]]
) -> None:
    spots = [(at, min(at + size, len(text))) for at, size in places if at < len(text)]
    whole, part = Page(text), Page(text, spots)
    assert [part.between(*spot) for spot in spots] == [whole.between(*spot) for spot in spots]


@given(MARKUP, MARKUP, MARKUP)
@settings(max_examples=300, deadline=None)
def test_any_input_in_any_page_is_judged(before: str, text: str, after: str) -> None:
    candidates = [Candidate(form, Input("query", "q", text)) for form in xss.select(text)]
    judgement = xss.judge(before + text + after, candidates, Work())
    assert judgement.finding is None or judgement.touched


@given(MARKUP, MARKUP)
@settings(max_examples=200, deadline=None)
def test_an_input_that_was_escaped_for_text_is_never_found(before: str, text: str) -> None:
    escaped = "".join(f"&#{ord(char)};" for char in text)
    page = f"<p>{escaped}</p>"
    candidates = [Candidate(form, Input("query", "q", text)) for form in xss.select(text)]
    assert xss.judge(page, candidates, Work()).finding is None


def took(call: Callable[[str], Any], text: str) -> float:
    started = time.process_time()
    try:
        call(text)
    except Spent:
        pass
    return time.process_time() - started


PIECES = [
    "<",
    "<a ",
    "<a b='",
    '<a b="x" ',
    "<!--",
    "</",
    "<script>",
    "=",
    "'",
    '"',
    "<a/",
    "--!>",
    "<title>",
]
CODE_PIECES = ["'", '"', "`", "/", "/*", "=/[", "=/[a", "(/a", "\\", "'\\", "'\n", "${", "=/aaaa", "<!--"]


@pytest.mark.parametrize("piece", PIECES)
def test_a_page_of_a_quarter_of_a_mebibyte_is_read_in_time(piece: str) -> None:
    assert took(Page, (piece * (1 << 18))[: 1 << 18]) < 2 and len(PIECES) == 13


@pytest.mark.parametrize("piece", CODE_PIECES)
def test_a_script_of_a_quarter_of_a_mebibyte_is_read_in_time(piece: str) -> None:
    assert took(code_segments, (piece * (1 << 18))[: 1 << 18]) < 2 and len(CODE_PIECES) == 14


@pytest.mark.parametrize("value", ["<b>hi</b>", "'abcde", "<i>'a'</i>", " onx='a'"])
@pytest.mark.parametrize("before", ["", "<script>", '<a onclick="', "<!--"])
def test_an_input_that_a_page_repeats_without_end_is_judged_in_time(before: str, value: str) -> None:
    candidates = [Candidate(form, Input("query", "q", value)) for form in xss.select(value)]
    text = before + (value * (1 << 16))[: 1 << 18]
    assert took(lambda page: xss.judge(page, candidates, Work()), text) < 2


def test_a_script_is_cut_once_however_often_an_input_occurs_in_it() -> None:
    page = Page("<script>var a = 'x', b = 'x'</script>")
    (script,) = [each for each in page.segments if each.kind == "script"]
    assert page.code_of(script) is page.code_of(script)


def test_an_input_of_a_tag_with_many_blanks_is_judged_in_time() -> None:
    value = "<a" + " " * (1 << 15) + "x'<7"
    candidates = [Candidate(form, Input("query", "q", value)) for form in xss.select(value)]
    assert took(lambda page: xss.judge(page, candidates, Work()), f"<p>{value}</p>") < 2
