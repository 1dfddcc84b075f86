"""The query string language, against examples and against a naive reading of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError, Position
from divertor.rules.document import Document
from divertor.rules.filters.lucene import parse_query
from divertor.rules.filters.query import compile_query

HERE = Position("q")

DOCUMENT: dict[str, Any] = {
    "@timestamp": "2026-01-01T00:00:00Z",
    "_id": "hidden",
    "message": "GET /login' UNION all select 1,2 from users",
    "status": 500,
    "ratio": 0.5,
    "ok": True,
    "empty": "",
    "nothing": None,
    "client": {"ip": "10.1.2.3", "name": "Jörg O'Neil"},
    "tags": ["web", "eu-west"],
    "frames": [{"file": "app.py", "line": 3}, {"file": "db.py", "line": 44}],
    "when": "2026-02-03T04:05:06Z",
    "dotted.name": "literal",
    "path": "C:\\temp",
}

MATCHING = [
    "union",
    "UNION",
    "message:union",
    "message:(union AND select)",
    "message:(missing OR select)",
    '"union all select"',
    'message:"union all"',
    "un?on",
    "uni*",
    "*nio*",
    "message:*UNION*",
    "message:*",
    "*",
    "*:*",
    "_exists_:client.ip",
    "_exists_:client",
    "NOT _exists_:nothing",
    "status:500",
    "500",
    "status:[400 TO 599]",
    "status:{499 TO 500]",
    "status:[* TO 500]",
    "status:>=500",
    "status:>499",
    "status:<501 AND status:<=500",
    "ratio:[0.1 TO 0.9]",
    "ok:true",
    'empty:""',
    "client.ip:10.1.2.3",
    "client.ip:[10.1.2.0 TO 10.1.2.10]",
    'client.ip:"10.0.0.0/8"',
    "client.name:o'neil",
    "client.name:jörg",
    "tags:web AND tags:west",
    "tags:eu-west",
    "tags:eu\\-west",
    "frames.file:app.py AND frames.file:db.py",
    "frames.line:>40",
    "when:[2026-02-01 TO 2026-03-01]",
    "dotted.name:literal",
    "tags.keyword:eu-west",
    "NOT tags.keyword:west",
    "path:*\\\\temp",
    "a OR union",
    "a || union",
    "union && select",
    "union AND NOT missing",
    "union !missing",
    "union -missing",
    "+union missing",
    "NOT missing",
    "-missing",
    "union^2",
    "(union)",
    "((union AND (select)))",
    "missing union",
    "\\u0075nion",
    "message : union",
    "missing OR union AND select",
    "message:/un[a-j]on/",
    "/.*UNION +all.*/",
    "path:/c:\\\\te.p/",
    "message:/GET \\/login.*/ AND union",
    "(/x+/ OR /(missing|union)/)",
    "unoin~",
    "unin~1",
    "message:slecet~2",
    "message:select~0",
    "union~0.7",
    "un*on~",
    '"union select"~1',
    '"select union"~3',
    '"union all"~',
    'message:"union select from"~2^3',
    "frames.*:app.py",
    "cl*.ip:10.1.2.3",
    "*:union",
    "*:(missing OR union)",
    "client.*:[10.1.2.0 TO 10.1.2.10]",
    "t?gs.keyword:eu-west",
    "_exists_:clie*",
    "_missing_:gone",
    "NOT _missing_:client",
    "[499 TO 500]",
    "status:[* TO *]",
    "when:[2026-02-03 TO 2026-02-03]",
    "when:[2026-02 TO 2026-02]",
    "when:[2026-01-01||+1M/M TO 2026-02-10||/d]",
    "when:>=2026-02-03T04",
    "when:<=2026-02-03T04:05",
    'when:["2026-02-03T04:05:06Z" TO "2026-02-04"}',
    "@timestamp:[now-1h TO now]",
    "when:>now+1M",
    "when:>now/d",
    "message:/@union@/",
    "status:/<400-599>/",
    "message:/.*GET.*&.*select.*/",
    "message:/~(.*delete.*)/",
]

NOT_MATCHING = [
    "missing",
    "hidden",
    "2026\\-01\\-01T00",
    "unio",
    "message:eu",
    '"select union"',
    "union AND missing",
    "NOT union",
    "+missing union",
    "union -select",
    "_exists_:nothing",
    "_exists_:gone",
    "status:501",
    "status:{500 TO 600]",
    "status:<500",
    "message:>zzz",
    "client.ip:[10.1.2.4 TO *]",
    'client.ip:"192.168.0.0/16"',
    "tags.keyword:EU-WEST",
    "gone:*",
    "un?n",
    "ni*",
    "union OR missing AND gone",
    "message:(union AND missing)",
    "ok:false",
    "when:{2026-02-03T04:05:06Z TO *]",
    "message:/nio/",
    "tags.keyword:/EU-WEST/",
    "unoin~0",
    "xxxunion~",
    "tags.keyword:EU-WEST~",
    '"union select"~0',
    '"select union"~2',
    "*.name:union",
    "tags*.keyword:west",
    "*:hidden",
    "_exists_:go*",
    "_missing_:status",
    "when:{2026-02-03 TO *]",
    "when:[* TO 2026-02-03}",
    "when:>2026-02-03T04:05:06",
    "when:[now-1h TO now]",
    "message:>now-1h",
    "status:/<1-99>/",
    "message.keyword:/~(.*select.*)/",
]

REFUSED = [
    ("", "empty query"),
    ("   ", "empty query"),
    ("()", "empty query"),
    ("(a", "without an end"),
    ("a)", "unexpected ')'"),
    ('"a', "without an end"),
    ("a AND", "unexpected the end"),
    ("AND a", "nothing before"),
    ("a AND OR b", "unexpected OR"),
    ("NOT", "unexpected the end"),
    ("a:", "unexpected the end"),
    ("a:b:c", "unexpected ':'"),
    ("--a", "unexpected '-'"),
    ("/a.*", "regular expression without an end"),
    ("/a(/", "( without an end"),
    ("a/b", "a slash inside a term"),
    ("a:[1 TO", "without"),
    ("a:[1 2]", "without TO"),
    (">5", "without a field"),
    ("a:>", "no value"),
    ("a\\", "backslash"),
    ("\\u00g0", "escape"),
    ("a^x", "boost"),
    ("a~1.5", "a fraction of edits"),
    ("(a b)~2", "unexpected '~'"),
    ('"a b"~99999', "too much slop"),
    ('"' + "a " * 100 + '"~2', "a long phrase"),
    ("/a~(b)/", "~ or & within a sequence"),
    ("/(a&b)*/", "~ or & within a repetition"),
    ("a:[now-1 TO *]", "date arithmetic"),
    ("a:>now-1x", "date arithmetic"),
    ("a:[soon||+1d TO *]", "before || is no date"),
    ("a:[9999-12-31||+1y TO *]", "beyond the year 9999"),
    ("_exists_:", "no field"),
    ("(" * 40 + "a" + ")" * 40, "too deeply"),
    ("a" * 70_000, "too long"),
]


def judge(query: str, document: dict[str, Any], *, default_and: bool = False) -> bool:
    return compile_query(parse_query(query, HERE, default_and=default_and)).test(Document(document))


@pytest.mark.parametrize("query", MATCHING)
def test_query_matches(query: str) -> None:
    assert judge(query, DOCUMENT)


@pytest.mark.parametrize("query", NOT_MATCHING)
def test_query_does_not_match(query: str) -> None:
    assert not judge(query, DOCUMENT)


@pytest.mark.parametrize(("query", "why"), REFUSED)
def test_what_is_not_understood_is_refused(query: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_query(query, HERE)
    assert why in str(caught.value)


def test_examples_are_all_there() -> None:
    assert (len(MATCHING), len(NOT_MATCHING), len(REFUSED)) == (98, 45, 36)


def test_default_operator_and_requires_every_term() -> None:
    assert judge("union select", DOCUMENT, default_and=True)
    assert not judge("union missing", DOCUMENT, default_and=True)
    assert judge("union OR missing", DOCUMENT, default_and=True)


def test_a_refusal_says_which_character() -> None:
    with pytest.raises(InputError, match="character 3 of the query"):
        parse_query("a )", HERE)


@settings(max_examples=600, deadline=None)
@given(st.text(alphabet='ab:()[]{}"*?\\/~^+-!&|<>= ANDORTNu0 \té', max_size=40))
def test_any_text_is_parsed_or_refused(query: str) -> None:
    try:
        judge(query, DOCUMENT)
    except InputError as problem:
        place = re.search(r"at character (\d+) of the query", problem.message)
        assert place is not None and 1 <= int(place[1]) <= len(query) + 1


WORDS = ("alpha", "beta", "gamma", "delta")
Tree = Any
TREES = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: st.one_of(
        st.tuples(st.just("NOT"), inner),
        st.tuples(st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=4)),
    ),
    max_leaves=10,
)


def spelled(tree: Tree) -> str:
    if isinstance(tree, str):
        return tree
    operator, inner = tree
    if operator == "NOT":
        return f"(NOT {spelled(inner)})"
    return "(" + f" {operator} ".join(spelled(one) for one in inner) + ")"


def naive(tree: Tree, present: set[str]) -> bool:
    if isinstance(tree, str):
        return tree in present
    operator, inner = tree
    if operator == "NOT":
        return not naive(inner, present)
    results = [naive(one, present) for one in inner]
    return all(results) if operator == "AND" else any(results)


@settings(max_examples=300, deadline=None)
@given(TREES, st.sets(st.sampled_from(WORDS)))
def test_fully_parenthesised_queries_mean_what_boolean_algebra_says(tree: Tree, present: set[str]) -> None:
    assert judge(spelled(tree), {"text": " ".join(sorted(present))}) == naive(tree, present)


OCCURS = st.sampled_from(["", "+", "-", "NOT ", "!"])
CONJUNCTIONS = st.sampled_from([" ", " AND ", " OR ", " && ", " || "])
FLAT = st.lists(st.tuples(CONJUNCTIONS, OCCURS, st.sampled_from(WORDS)), min_size=1, max_size=5)


def lucenes(parts: list[tuple[str, str, str]], present: set[str], default_and: bool) -> bool:
    """Lucene's classic parser, written down clause by clause as its documentation says."""
    occurs: list[str] = []
    for place, (conjunction, sign, _word) in enumerate(parts):
        conjunction = "" if place == 0 else conjunction.strip().replace("&&", "AND").replace("||", "OR")
        if occurs and conjunction == "AND" and occurs[-1] != "-":
            occurs[-1] = "+"
        if occurs and conjunction == "OR" and default_and and occurs[-1] != "-":
            occurs[-1] = ""
        if sign in ("-", "NOT ", "!"):
            occurs.append("-")
        elif sign == "+":
            occurs.append("+")
        elif default_and:
            occurs.append("" if conjunction == "OR" else "+")
        else:
            occurs.append("+" if conjunction == "AND" else "")
    holds = {mark: [word in present for (_c, _s, word), o in zip(parts, occurs, strict=True) if o == mark]
             for mark in ("+", "-", "")}  # fmt: skip
    optional = any(holds[""]) if holds[""] and not holds["+"] else True
    return all(holds["+"]) and not any(holds["-"]) and optional


@settings(max_examples=500, deadline=None)
@given(FLAT, st.sets(st.sampled_from(WORDS)), st.booleans())
def test_operators_without_parentheses_mean_what_lucenes_parser_says(
    parts: list[tuple[str, str, str]], present: set[str], default_and: bool
) -> None:
    query = "".join(f"{conjunction if place else ''}{sign}{word}"
                    for place, (conjunction, sign, word) in enumerate(parts))  # fmt: skip
    document = {"text": " ".join(sorted(present))}
    assert judge(query, document, default_and=default_and) == lucenes(parts, present, default_and)
