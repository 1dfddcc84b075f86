"""The condition language as Vamp's specifications show it, and what we refuse on purpose."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.conditions import (
    And,
    Condition,
    Constant,
    CookieContains,
    CookiePresent,
    HeaderContains,
    HeaderPresent,
    Host,
    Not,
    Or,
    UserAgent,
    parse,
    to_text,
)
from divertor.errors import InputError

A, B, C = CookiePresent("a"), CookiePresent("b"), CookiePresent("c")
FIREFOX, LOCALHOST = UserAgent("Firefox"), Host("localhost")
TRUE, FALSE = Constant(True), Constant(False)

#: Vamp's ConditionDefinitionParserSpec, without its raw HAProxy rules.
OPERANDS: list[tuple[str, Condition]] = [
    ("user-agent == a and user-agent != b", And((UserAgent("a"), Not(UserAgent("b"))))),
    ("user-agent == a and not user-agent == b", And((UserAgent("a"), Not(UserAgent("b"))))),
    ("User-Agent==Firefox", FIREFOX),
    ("User-Agent== Firefox ", FIREFOX),
    ("User-Agent == Firefox ", FIREFOX),
    (" User-Agent ! Firefox ", Not(FIREFOX)),
    (" User-Agent != Firefox ", Not(FIREFOX)),
    ("user.agent != Firefox", Not(FIREFOX)),
    ("User-Agent is Firefox", FIREFOX),
    ("User-Agent not Firefox", Not(FIREFOX)),
    (" ( User-Agent == Firefox ) ", FIREFOX),
    ("host == localhost", LOCALHOST),
    ("host != localhost", Not(LOCALHOST)),
    ("host is localhost", LOCALHOST),
    ("host not localhost", Not(LOCALHOST)),
    ("host misses localhost", Not(LOCALHOST)),
    ("host has localhost", LOCALHOST),
    ("host contains localhost", LOCALHOST),
    ("! host is localhost", Not(LOCALHOST)),
    ("not host is localhost", Not(LOCALHOST)),
    ("has cookie vamp", CookiePresent("vamp")),
    ("contains cookie vamp", CookiePresent("vamp")),
    ("misses cookie vamp", Not(CookiePresent("vamp"))),
    ("has header vamp", HeaderPresent("vamp")),
    ("contains header vamp", HeaderPresent("vamp")),
    ("misses header vamp", Not(HeaderPresent("vamp"))),
    ("cookie vamp has 12345", CookieContains("vamp", "12345")),
    ("cookie vamp contains 12345", CookieContains("vamp", "12345")),
    ("cookie vamp misses 12345", Not(CookieContains("vamp", "12345"))),
    ("header vamp has 12345", HeaderContains("vamp", "12345")),
    ("header vamp contains 12345", HeaderContains("vamp", "12345")),
    ("header vamp misses 12345", Not(HeaderContains("vamp", "12345"))),
]

#: Vamp's BooleanParserSpec; its operand `a` is written `has cookie a` here.
BOOLEANS: list[tuple[str, Condition]] = [
    ("((%a))", A),
    ("TRUE", TRUE),
    ("t ", TRUE),
    (" 1 ", TRUE),
    ("((1))", TRUE),
    ("False", FALSE),
    (" F", FALSE),
    (" 0 ", FALSE),
    ("(false)", FALSE),
    ("not %a", Not(A)),
    ("! %a", Not(A)),
    (" not %a ", Not(A)),
    ("%a and %b", And((A, B))),
    ("%a && %b", And((A, B))),
    ("%a & %b", And((A, B))),
    ("%a AND %b And %c", And((A, B, C))),
    ("%a or %b", Or((A, B))),
    ("%a || %b", Or((A, B))),
    ("%a | %b", Or((A, B))),
    (" %a or  %b ", Or((A, B))),
    ("%a Or %b | %c", Or((A, B, C))),
    ("true and true", And((TRUE, TRUE))),
    ("1 and 0", And((TRUE, FALSE))),
    ("F && F", And((FALSE, FALSE))),
    ("%a & false", And((A, FALSE))),
    ("%a and (%b and %c)", And((A, And((B, C))))),
    ("%a and %b or %c", Or((And((A, B)), C))),
    ("%a or %b and %c", Or((A, And((B, C))))),
    ("!(%a and %b) and %c", And((Not(And((A, B))), C))),
    ("(%a or %b) and %c", And((Or((A, B)), C))),
    ("%a or (%b and %c)", Or((A, And((B, C))))),
]

#: Vamp's HaProxyAclResolverSpec and documentation, and Safari, which only Vamp's code tells.
OTHERS: list[tuple[str, Condition]] = [
    (
        "(User-Agent = Chrome OR User-Agent = Firefox) AND has cookie vamp",
        And((Or((UserAgent("Chrome"), FIREFOX)), CookiePresent("vamp"))),
    ),
    ('User-Agent == "Mozilla/5.0 Macintosh"', UserAgent("Mozilla/5.0 Macintosh")),
    ("User-Agent = 'a (Macintosh; b) c'", UserAgent("a (Macintosh; b) c")),
    ("User-Agent = IOS", UserAgent("IOS")),
    (
        "User-Agent = Chrome AND Has Header X-VAMP-MY-COOL-HEADER",
        And((UserAgent("Chrome"), HeaderPresent("X-VAMP-MY-COOL-HEADER"))),
    ),
    (
        "Cookie SHOPSESSION Contains shopping_basket_items=0",
        CookieContains("SHOPSESSION", "shopping_basket_items=0"),
    ),
    ("Header Accept Contains v1", HeaderContains("Accept", "v1")),
    ("user-agent = safari", And((UserAgent("Safari"), UserAgent("Version")))),
    ("useragent is ie", UserAgent("MSIE")),
]

#: Raw HAProxy rules: the same specifications accept these, we do not.
RAW = [
    "<water ⇒ ice>",
    "  <  water  ⇒  ice  > ",
    "hdr_sub(user-agent) Android",
    "< hdr_sub(user-agent) Android >",
    "<hdr_sub(user-agent) Android> or <hdr_sub(user-agent) Chrome>",
    "not <hdr_sub(user-agent) Android> and User-Agent != Chrome",
]


@pytest.mark.parametrize(("text", "condition"), OPERANDS + OTHERS)
def test_every_example_of_vamps_condition_specifications_reads_as_it_says(
    text: str, condition: Condition
) -> None:
    assert parse(text) == condition


@pytest.mark.parametrize(("text", "condition"), BOOLEANS)
def test_every_example_of_vamps_boolean_specification_reads_as_it_says(
    text: str, condition: Condition
) -> None:
    written = text.replace("%", "has cookie ")
    assert parse(written) == condition


@pytest.mark.parametrize("text", RAW)
def test_a_raw_haproxy_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="raw HAProxy|unexpected 'hdr_sub'"):
        parse(text)


def test_every_example_of_the_manual_is_read() -> None:
    manual = (Path(__file__).parents[2] / "docs/reference/conditions.md").read_text(encoding="utf-8")
    table = manual.partition("## What can be asked")[2].partition("`user-agent` and `host` are compared")[0]
    examples = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE) + re.findall(r"`([^`|]+ [^`|]+)`[,.]", table)
    for example in examples:
        parse(example)
    assert len(examples) == 12


def test_no_example_is_missing() -> None:
    assert (len(OPERANDS), len(BOOLEANS), len(OTHERS), len(RAW)) == (32, 31, 9, 6)


@pytest.mark.parametrize("word", ["not", "NOT", "Not", "nOT"])
def test_not_is_read_in_any_case(word: str) -> None:
    assert parse(f"{word} has cookie a") == Not(A)


def test_a_bare_value_runs_to_the_next_space_even_over_an_operator() -> None:
    assert parse("user-agent == a==b&&c") == UserAgent("a==b&&c")


def test_quotes_double_to_stand_for_themselves() -> None:
    assert parse("user-agent = 'it''s \"x\"'") == UserAgent('it\'s "x"')


def test_a_quoted_browser_name_means_the_text_itself() -> None:
    assert parse("user-agent = 'Safari'") == UserAgent("Safari")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "condition:1:1: unexpected 'end of the condition'"),
        ("has cookie a and", "condition:1:14: unexpected 'and'; expected 'and', 'or' or the end"),
        ("has cookie a and (", "condition:1:19: unexpected 'end of the condition'"),
        ("(has cookie a", "condition:1:14: .* expected '\\)' for the '\\(' at condition:1:1"),
        ("has cookie a)", "condition:1:13: unexpected '\\)'"),
        ("hots == a", "condition:1:1: unexpected 'hots'"),
        ("host == *.example", "condition:1:9: not a host"),
        ("host == 'café'", "condition:1:9: not a host"),
        ("user-agent 'a'", "condition:1:12: .*expected ==, !="),
        ("user-agent = ''", "condition:1:14: not a value"),
        ("user-agent = 'a", "condition:1:14: a quote that does not end"),
        ("has header a:b", "condition:1:12: 'a:b' cannot be a header's name"),
        ("has cookie a=b", "condition:1:12: 'a=b' cannot be a cookie's name"),
        ("cookie a has b;c", "condition:1:14: a cookie's value never contains"),
        ("cookie a is b", "condition:1:10: .*expected has, contains or misses"),
        ("has cookie a\nand hsot is b", "condition:2:5: unexpected 'hsot'"),
        ("has\u00a0cookie a", "condition:1:4: invisible character U\\+00A0"),
        ("user-agent = 'a\x00'", "condition:1:16: invisible character U\\+0000"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_a_place_is_counted_from_where_the_text_begins() -> None:
    with pytest.raises(InputError, match="shop.yaml:7:27: unexpected 'b'"):
        parse("has cookie a b", "shop.yaml", line=7, column=14)


@pytest.mark.parametrize("opening", ["(", "not ", "!"])
def test_nesting_is_bounded(opening: str) -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        parse(opening * 10_000 + "true")


def test_the_length_is_bounded() -> None:
    with pytest.raises(InputError, match="a condition of 65537 characters"):
        parse("a" * 65_537)


def test_a_long_chain_is_read_quickly_and_is_not_nesting() -> None:
    text = " or ".join(["cookie s has x"] * 3_000)
    started = time.perf_counter()
    condition = parse(text)
    assert isinstance(condition, Or) and len(condition.operands) == 3_000
    assert time.perf_counter() - started < 2


VALUES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), min_size=1
).filter(str.isprintable)
NAMES = st.from_regex(r"[A-Za-z0-9_.'!-]{1,8}", fullmatch=True)
LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Constant, st.booleans()),
    st.builds(UserAgent, VALUES | st.sampled_from(["Safari", "chrome", "IE", "Edge"])),
    st.builds(Host, st.from_regex(r"[a-zA-Z0-9.-]{1,9}(:[0-9]{1,4})?|\[[0-9a-f:]{2,9}\]", fullmatch=True)),
    st.builds(HeaderPresent, NAMES),
    st.builds(HeaderContains, NAMES, VALUES),
    st.builds(CookiePresent, NAMES),
    st.builds(CookieContains, NAMES, VALUES.filter(lambda value: ";" not in value)),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(CONDITIONS)
def test_a_condition_survives_being_written_and_read(condition: Condition) -> None:
    assert parse(to_text(condition)) == condition


WORDS = st.sampled_from(
    "host user-agent cookie header has misses contains is not and or true 1 a b".split()
    + "== != ! & | && || ( ) ' \" '' < >".split()
)


@settings(max_examples=1500, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(WORDS, max_size=14).map(" ".join)
    | st.lists(WORDS, max_size=9).map("".join)
)
def test_any_text_is_read_or_refused_and_never_breaks_the_reader(text: str) -> None:
    try:
        condition = parse(text)
    except InputError:
        return
    assert parse(to_text(condition)) == condition
