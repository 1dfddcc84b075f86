"""Anchors: every event that passes a filter has one of them, whatever the filter and the event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.model.documents import parse_documents
from divertor.rules.document import Document, scalar_text
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.filter import Anchor, Filter

FIELDS = ("a", "b", "c.d", "a.keyword")
TEXTS = (
    "5", "5.0", "0", "-0.0", "1e22", "nan", "true", "TRUE", "foo", "Foo", "foo bar", "FOO-BAR", "eu-west", "",
    "!!", "foo-bar.", "foo.bar", "5.foo bar", "10.1.2.3", "10.0.0.0/8", "İx", "ſs", "ΑΣ",
    "o'neil", "5 foo", "false",
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(
        [1770091506000, 5, 5.0, 0, -0.0, 1e22, 10**22, True, False, None, float("nan"), 9007199254740993]
    ),
    st.lists(st.sampled_from(TEXTS), max_size=3),
    st.sampled_from([{"d": "foo"}, {"d": 5}, [{"d": "Foo bar"}, {"d": True}]]),
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "c.d", "@timestamp", "_id", "type"]), VALUES, max_size=4
)

fields = st.sampled_from(FIELDS)
texts = st.sampled_from(TEXTS)


GLOBS = st.lists(
    st.sampled_from(["*", "?", "foo", "Foo", " ", "-", ".", "bar", "5", "'", "o", "neil", "\u0130", "s"]),
    max_size=6,
).map("".join)


def spaced(glob: str) -> str:
    return "".join(one if one in "*?" or one.isalnum() else f"\\{one}" for one in glob)


def leaves() -> st.SearchStrategy[Any]:
    def one(name: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(lambda field, value: {name: {field: value}}, fields, st.one_of(*values))

    spelled = st.builds(
        lambda field, text: f"{field}{json.dumps(text, ensure_ascii=False)}",
        st.sampled_from(["", "a:", "c.d:", "a.keyword:", "_exists_:", "*:", "c*:", "_missing_:"]),
        texts.filter(bool),
    )
    return st.one_of(
        one("term", texts),
        one("terms", st.lists(texts, max_size=3)),
        one("match", texts),
        one("match", st.builds(lambda text: {"query": text, "operator": "and"}, texts)),
        one("match_phrase", texts),
        one("prefix", texts),
        one("wildcard", GLOBS),
        one("wildcard", st.builds(lambda glob: {"value": glob, "case_insensitive": True}, GLOBS)),
        st.builds(lambda glob: {"query_string": {"query": f"a:{spaced(glob)}"}}, GLOBS.filter(bool)),
        st.builds(lambda glob: {"eql": f"any where a : {json.dumps(glob)}"}, GLOBS.filter(str.isascii)),
        one("regexp", st.sampled_from([".*", "fo+", "5?"])),
        one("range", st.sampled_from([{"gte": "5"}, {"lt": "foo"}, {"gte": "now-1h"}, {"lte": "2026-01"}])),
        one("term", st.builds(lambda text: {"value": text, "case_insensitive": True}, texts)),
        one("match", st.builds(lambda text: {"query": text, "minimum_should_match": "-50%"}, texts)),
        one("match", st.builds(lambda text: {"query": text, "fuzziness": "AUTO"}, texts)),
        one("match_phrase", st.builds(lambda text: {"query": text, "slop": 2}, texts)),
        one("match_phrase_prefix", texts),
        one("match_bool_prefix", texts),
        one("fuzzy", texts),
        one("re", st.sampled_from(["o+", "^$", "(?i)FOO"])),
        one("terms_set", st.builds(lambda two: {"terms": two, "minimum_should_match": 1}, st.lists(texts))),
        st.builds(lambda text: {"ids": {"values": [text]}}, texts),
        st.builds(lambda text: {"type": {"value": text}}, texts),
        st.builds(lambda text: {"simple_query_string": {"query": text}}, texts),
        st.builds(
            lambda text, kind: {"multi_match": {"query": text, "fields": ["a", "c*"], "type": kind}},
            texts,
            st.sampled_from(["best_fields", "cross_fields", "phrase", "bool_prefix"]),
        ),
        st.builds(lambda text: {"nested": {"path": "c", "query": {"match": {"c.d": text}}}}, texts),
        st.builds(
            lambda field, sign, text: {"eql": f"any where `{field}` {sign} {json.dumps(text)}"},
            fields,
            st.sampled_from(["==", "!=", ":", "in~", "like", "<"]),
            texts.filter(lambda text: "\u0130" not in text and text.isascii()),
        ),
        st.builds(lambda field: {"eql": f"any where {field} == b or {field} + 1 > 5"}, fields),
        st.builds(lambda field: {"exists": {"field": field}}, fields),
        st.builds(lambda text: {"query_string": {"query": text}}, spelled),
    )


FILTERS = st.recursive(
    leaves(),
    lambda inner: st.builds(
        lambda kind, parts, least: {
            "bool": {kind: parts, **({"minimum_should_match": least} if least else {})}
        },
        st.sampled_from(["must", "should", "must_not", "filter"]),
        st.lists(inner, max_size=3),
        st.sampled_from([0, 1, 2]),
    ),
    max_leaves=5,
)


def compiled(filter_: Any) -> Filter:
    (node,) = parse_documents(json.dumps([filter_]), "f")
    return compile_filter(node, [])


def has(document: Document, anchor: Anchor) -> bool:
    if anchor.token is None:
        return anchor.field is None or document.exists(anchor.field)
    if anchor.field is None:
        return anchor.token in document.all_words()
    values = document.values(anchor.field)
    return any(anchor.token in document.words(scalar_text(value)) for value in values)


@settings(max_examples=600, deadline=None)
@given(FILTERS, DOCUMENTS)
def test_whatever_passes_is_anchored(filter_: Any, fields: dict[str, Any]) -> None:
    filter_, document = compiled(filter_), Document(fields)
    if filter_.test(document) and filter_.anchors is not None:
        assert any(has(document, anchor) for anchor in filter_.anchors)


@settings(max_examples=300, deadline=None)
@given(FILTERS, DOCUMENTS)
def test_an_explanation_says_what_the_test_says(filter_: Any, fields: dict[str, Any]) -> None:
    filter_, document = compiled(filter_), Document(fields)
    assert filter_.explain(document).passed == filter_.test(document)


BEST: list[tuple[str, set[Anchor] | None]] = [
    ("a:foo", {Anchor("a", "foo")}),
    ('a:"select union"', {Anchor("a", "select")}),
    ("foo", {Anchor(None, "foo")}),
    ("a:foo AND b:longer", {Anchor("b", "longer")}),
    ("a:* AND b:foo", {Anchor("b", "foo")}),
    ("a:true AND b:foo", {Anchor("b", "foo")}),
    ("a:foo OR b:bar", {Anchor("a", "foo"), Anchor("b", "bar")}),
    ("a:foo OR (NOT b:bar)", None),
    ("NOT a:foo", None),
    ("a:f*", {Anchor("a")}),
    ("status:500", {Anchor("status", "500"), Anchor("status", "500.0")}),
    ("status:>5", {Anchor("status")}),
    ('ip:"10.0.0.0/8"', {Anchor("ip")}),
    ("f*", None),
    ("path:*\\\\cmd.exe", {Anchor("path", "cmd.exe")}),
    ("path:\\/admin\\/*", {Anchor("path", "admin")}),
    ("path:\\/admin*", {Anchor("path")}),
    ("path:*admin\\/x.*", {Anchor("path")}),
    ("*", None),
]


@pytest.mark.parametrize(("query", "anchors"), BEST)
def test_the_anchors_that_tell_the_most_are_chosen(query: str, anchors: set[Anchor] | None) -> None:
    found = compiled({"query_string": {"query": query}}).anchors
    assert found == (None if anchors is None else frozenset(anchors))


def test_cases_are_all_there() -> None:
    assert len(BEST) == 19


def test_no_event_can_pass_an_empty_list_of_terms() -> None:
    assert compiled({"terms": {"a": []}}).anchors == frozenset()
