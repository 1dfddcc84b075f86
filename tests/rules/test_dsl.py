"""The filter list: every supported query, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.documents import parse_documents
from divertor.rules.document import Document
from divertor.rules.filters.dsl import compile_filter

DOCUMENT: dict[str, Any] = {
    "status": 500,
    "message": "Failed login for Root",
    "user": "Root",
    "tags": ["web", "eu-west"],
    "when": "2026-02-03T04:05:06Z",
    "ok": True,
    "one": 1,
    "millis": 1770091506000,
    "type": "log",
    "_id": "e1",
    "@timestamp": "2026-01-03T00:00:00Z",
    "hits": [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
}

ANYTHING: dict[str, Any] = {"match_all": {}}
NEVER: dict[str, Any] = {"term": {"status": 1}}

CASES: list[tuple[Any, bool]] = [
    ({"term": {"status": 500}}, True),
    ({"term": {"status": "500"}}, True),
    ({"term": {"status": 501}}, False),
    ({"term": {"user": "Root"}}, True),
    ({"term": {"user": {"value": "Root", "boost": 2}}}, True),
    ({"term": {"message": "login"}}, True),
    ({"term": {"message": "Login"}}, False),
    ({"term": {"message.keyword": "login"}}, False),
    ({"term": {"user.keyword": "Root"}}, True),
    ({"term": {"ok": True}}, True),
    ({"terms": {"tags": ["db", "web"]}}, True),
    ({"terms": {"tags": ["db"]}}, False),
    ({"terms": {"tags": []}}, False),
    ({"range": {"status": {"gte": 500, "lt": 600}}}, True),
    ({"range": {"status": {"gt": 500}}}, False),
    ({"range": {"status": {"lte": 500}}}, True),
    ({"range": {"when": {"gte": "2026-02-03", "lt": "2026-02-04"}}}, True),
    ({"range": {"when": {"gte": "2026-02-04"}}}, False),
    ({"range": {"user": {"gte": "A", "lte": "Z"}}}, True),
    ({"exists": {"field": "user"}}, True),
    ({"exists": {"field": "gone"}}, False),
    ({"wildcard": {"user": "R*t"}}, True),
    ({"wildcard": {"user": "r*T"}}, False),
    ({"wildcard": {"user": {"value": "r?OT", "case_insensitive": True}}}, True),
    ({"wildcard": {"user": "R\\*"}}, False),
    ({"regexp": {"user": "R[no]+t"}}, True),
    ({"regexp": {"user": "r[no]+t"}}, True),
    ({"regexp": {"user.keyword": "r[no]+t"}}, False),
    ({"regexp": {"user.keyword": {"value": "r[no]+t", "case_insensitive": True}}}, True),
    ({"prefix": {"message": "log"}}, True),
    ({"prefix": {"message.keyword": "log"}}, False),
    ({"match": {"message": "nothing LOGIN"}}, True),
    ({"match": {"message": {"query": "nothing login", "operator": "and"}}}, False),
    ({"match": {"message": {"query": "root login", "operator": "and"}}}, True),
    ({"match_phrase": {"message": "failed LOGIN"}}, True),
    ({"match_phrase": {"message": "login failed"}}, False),
    ({"match_all": {}}, True),
    ({"query": {"query_string": {"query": "user:root"}}}, True),
    ({"query_string": {"query": "root failed", "default_operator": "AND"}}, True),
    ({"query_string": {"query": "root", "default_field": "user"}}, True),
    ({"query_string": {"query": "root", "fields": ["tags", "ok"]}}, False),
    ({"bool": {"must": [{"term": {"ok": True}}], "must_not": {"term": {"status": 500}}}}, False),
    ({"bool": {"filter": {"term": {"ok": True}}, "should": [{"term": {"status": 1}}]}}, True),
    ({"bool": {"should": [{"term": {"status": 1}}, {"term": {"status": 2}}]}}, False),
    ({"bool": {"should": [{"term": {"status": 1}}, {"term": {"status": 500}}]}}, True),
    ({"bool": {"should": [ANYTHING, ANYTHING, NEVER], "minimum_should_match": 2}}, True),
    ({"bool": {"should": [ANYTHING, ANYTHING, NEVER], "minimum_should_match": "-0"}}, False),
    ({"bool": {"should": [ANYTHING] * 3 + [NEVER], "minimum_should_match": "75%"}}, True),
    ({"bool": {"must_not": [{"term": {"status": 1}}]}}, True),
    ({"bool": {}}, True),
    ({"bool": {"should": [ANYTHING, NEVER, NEVER], "minimum_should_match": "2<-2"}}, True),
    ({"bool": {"should": [ANYTHING, NEVER, NEVER], "minimum_should_match": "3<-2"}}, False),
    ({"bool": {"should": [NEVER], "minimum_should_match": 5}}, False),
    ({"term": {"user": {"value": "ROOT", "case_insensitive": True}}}, True),
    ({"term": {"user.keyword": {"value": "ROOT", "case_insensitive": True}}}, True),
    ({"terms_set": {"tags": {"terms": ["web", "db"], "minimum_should_match": 1}}}, True),
    ({"terms_set": {"tags": {"terms": ["web", "db"], "minimum_should_match": 2}}}, False),
    ({"terms_set": {"tags": {"terms": ["web"], "minimum_should_match_field": "one"}}}, True),
    ({"terms_set": {"tags": {"terms": ["web"], "minimum_should_match_field": "status"}}}, False),
    ({"range": {"when": {"gte": "now+1M", "lte": "now+2M/d"}}}, True),
    ({"range": {"when": {"gte": "now"}}}, True),
    ({"range": {"when": {"lt": "now"}}}, False),
    ({"range": {"when": {"gte": "03/02/2026", "lt": "04/02/2026", "format": "dd/MM/yyyy"}}}, True),
    ({"range": {"when": {"gte": "1770091506000", "format": "epoch_millis"}}}, True),
    ({"range": {"when": {"gt": "1770091506", "format": "epoch_second"}}}, False),
    ({"range": {"when": {"gte": "2026-02-03T05:05", "time_zone": "+01:00"}}}, True),
    ({"range": {"when": {"gte": "2026-02-03T05:06", "time_zone": "Europe/Amsterdam"}}}, False),
    ({"range": {"millis": {"gte": "2026-02-03", "lte": "2026-02-03"}}}, True),
    ({"range": {"status": {"gte": "2026-02-03"}}}, False),
    ({"range": {"status": {"from": 500, "to": 501, "include_lower": False}}}, False),
    ({"range": {"status": {"from": 500, "to": 501}}}, True),
    ({"exists": {"field": "us*"}}, True),
    ({"missing": {"field": "gone"}}, True),
    ({"missing": {"field": "user"}}, False),
    ({"fuzzy": {"user": "roto"}}, True),
    ({"fuzzy": {"user": {"value": "rxxt", "fuzziness": 1}}}, False),
    ({"fuzzy": {"user": {"value": "rxxt", "fuzziness": 2, "prefix_length": 1}}}, True),
    ({"ids": {"values": ["x", "e1"]}}, True),
    ({"ids": {"values": "x"}}, False),
    ({"type": {"value": "log"}}, True),
    ({"type": {"value": "metric"}}, False),
    ({"match": {"message": {"query": "lgoin", "fuzziness": "AUTO"}}}, True),
    ({"match": {"message": {"query": "lgoin", "fuzziness": "AUTO:6,9"}}}, False),
    ({"match": {"message": {"query": "failed nothing root", "minimum_should_match": "67%"}}}, True),
    ({"match": {"message": {"query": "failed nothing root", "minimum_should_match": 3}}}, False),
    ({"match": {"message": {"query": "!!", "zero_terms_query": "all"}}}, True),
    ({"match": {"message": "!!"}}, False),
    ({"match": {"tags": {"query": "web west", "operator": "and"}}}, True),
    ({"match": {"status": {"query": "500 root", "operator": "or"}}}, True),
    ({"match_phrase": {"message": {"query": "failed root", "slop": 2}}}, True),
    ({"match_phrase": {"message": {"query": "failed root", "slop": 1}}}, False),
    ({"match_phrase_prefix": {"message": "failed log"}}, True),
    ({"match_phrase_prefix": {"message": "log failed"}}, False),
    ({"match_phrase_prefix": {"message.keyword": "Failed lo"}}, True),
    ({"match_bool_prefix": {"message": {"query": "root fail", "operator": "and"}}}, True),
    ({"multi_match": {"query": "root", "fields": ["tags", "user^3"]}}, True),
    ({"multi_match": {"query": "root", "fields": ["t*"]}}, False),
    ({"multi_match": {"query": "root"}}, True),
    ({"multi_match": {"query": "web root", "fields": ["tags", "user"], "operator": "and"}}, False),
    ({"multi_match": {"query": "web root", "fields": ["tags", "user"], "operator": "and",
                      "type": "cross_fields"}}, True),
    ({"multi_match": {"query": "login for", "fields": ["message"], "type": "phrase"}}, True),
    ({"query_string": {"query": "root", "fields": ["us*^2"]}}, True),
    ({"query_string": {"query": "lgoin~", "fuzziness": 0}}, False),
    ({"query_string": {"query": '"failed root"', "phrase_slop": 2}}, True),
    ({"query_string": {"query": "failed nothing root", "minimum_should_match": 3}}, False),
    ({"query_string": {"query": "when:[2026-02-03T05:05 TO *]", "time_zone": "+01:00"}}, True),
    ({"simple_query_string": {"query": "failed + root"}}, True),
    ({"simple_query_string": {"query": "failed + nothing"}}, False),
    ({"simple_query_string": {"query": "nothing | root"}}, True),
    ({"simple_query_string": {"query": "failed nothing", "default_operator": "and"}}, False),
    ({"simple_query_string": {"query": '"failed login" + -nothing'}}, True),
    ({"simple_query_string": {"query": "(nothing | log*) + roto~1"}}, True),
    ({"simple_query_string": {"query": "root", "fields": ["tags"]}}, False),
    ({"simple_query_string": {"query": ") ( + | -"}}, False),
    ({"nested": {"path": "hits", "query": {"bool": {"must": [
        {"term": {"hits.a": 1}}, {"term": {"hits.b": 2}}]}}}}, True),
    ({"nested": {"path": "hits", "query": {"bool": {"must": [
        {"term": {"hits.a": 1}}, {"term": {"hits.b": 4}}]}}}}, False),
    ({"nested": {"path": "gone", "query": ANYTHING}}, False),
    ({"constant_score": {"filter": {"term": {"status": 500}}}}, True),
    ({"dis_max": {"queries": [NEVER, ANYTHING]}}, True),
    ({"boosting": {"positive": ANYTHING, "negative": ANYTHING, "negative_boost": 0.5}}, True),
    ({"filtered": {"query": ANYTHING, "filter": NEVER}}, False),
    ({"and": [ANYTHING, NEVER]}, False),
    ({"and": {"filters": [ANYTHING, ANYTHING]}}, True),
    ({"or": [ANYTHING, NEVER]}, True),
    ({"not": NEVER}, True),
    ({"not": {"filter": ANYTHING}}, False),
    ({"match_none": {}}, False),
    ({"eql": 'log where user : "root" and status >= 500'}, True),
]  # fmt: skip

REFUSED: list[tuple[Any, str]] = [
    ({"script": {"source": "1"}}, "no code of a rule runs"),
    ({"esql": "from x"}, "ES|QL"),
    ({"span_near": {}}, "use match_phrase with slop"),
    ({"fuzzy": {"a": {"value": "b", "fuzziness": 3}}}, "fuzziness is"),
    ({"fuzzy": {"a": {"value": "b", "fuzziness": "AUTO:x"}}}, "fuzziness is"),
    ({"match": {"a": {"query": "b", "analyzer": "whitespace"}}}, "analyzer"),
    ({"match_phrase_prefix": {"a": {"query": "b c", "slop": 1}}}, "together with a prefix"),
    ({"multi_match": {"query": "b", "type": "cross_fields", "fuzziness": 1}}, "cross_fields"),
    ({"multi_match": {"query": "b", "fields": ["a^x"]}}, "no field"),
    ({"simple_query_string": {"query": "b", "flags": "OR"}}, "flags"),
    ({"nested": {"path": "a"}}, "without 'query'"),
    ({"terms_set": {"a": {"terms": [1], "minimum_should_match_script": {}}}}, "minimum_should_match"),
    ({"range": {"a": {"gte": "now-1h", "time_zone": "Nowhere/Else"}}}, "time_zone"),
    ({"range": {"a": {"gte": "soon", "format": "dd/MM/yyyy"}}}, "no date"),
    ({"range": {"a": {"gte": 1, "from": 2}}}, "both"),
    ({"range": {"a": {"gte": "1", "format": "dd/dd"}}}, "twice"),
    ({"regexp": {"a": {"value": "b", "flags": "INTERVAL"}}}, "flags"),
    ({"eql": "sequence [a where true] [b where true]"}, "more than one event"),
    ({"and": [{"nope": 1}]}, "unknown query"),
    ({"regexp": {"a": "("}}, "without an end"),
    ({"trem": {"a": "b"}}, "'term'"),
    ({"term": {"a": 1}, "exists": {"field": "b"}}, "2 keys"),
    ({"term": {"a": 1, "b": 2}}, "2 fields"),
    ({"term": {"a": None}}, "empty"),
    ({"term": {"a": [1]}}, "a list"),
    ({"range": {"a": {}}}, "without a bound"),
    ({"range": {"a": {"gt": 1, "gte": 1}}}, "both"),
    ({"range": {"a": {"gte": "now-1"}}}, "date arithmetic"),
    ({"range": {"a": {"gte": 1, "format": "qq"}}}, "in a date format"),
    ({"exists": {}}, "without 'field'"),
    ({"query_string": {}}, "without 'query'"),
    ({"query_string": {"query": "a", "fuzzyness": 1}}, "'fuzziness'"),
    ({"query_string": {"query": "(a"}}, "without an end"),
    ({"bool": {"must": [{"nope": 1}]}}, "unknown query"),
    ({"bool": {"should": [], "minimum_should_match": "2<x%"}}, "no number"),
    ("union", "a mapping"),
]


def compiled(filter_: Any, warnings: list[str] | None = None) -> Any:
    (node,) = parse_documents(json.dumps([filter_]), "f")
    return compile_filter(node, [] if warnings is None else warnings).test


@pytest.mark.parametrize(("filter_", "expected"), CASES)
def test_filter_judges(filter_: Any, expected: bool) -> None:
    assert compiled(filter_)(Document(DOCUMENT)) is expected


@pytest.mark.parametrize(("filter_", "why"), REFUSED)
def test_filter_is_refused_with_its_place(filter_: Any, why: str) -> None:
    with pytest.raises(InputError) as caught:
        compiled(filter_)
    assert why in str(caught.value)
    assert caught.value.position.line == 1


def test_cases_are_all_there() -> None:
    assert (len(CASES), len(REFUSED)) == (128, 36)


def test_clauses_without_effect_are_pointed_out() -> None:
    warnings: list[str] = []
    compiled({"query_string": {"query": "a OR b AND c"}}, warnings)
    assert len(warnings) == 1 and "no effect" in warnings[0]


def test_no_filter_lets_everything_through() -> None:
    assert compile_filter(None, []).test(Document({}))
