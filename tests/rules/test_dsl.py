"""The filter list: every supported query, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from divertor.errors import InputError
from divertor.model.documents import parse_documents
from divertor.rules.document import Document
from divertor.rules.dsl import compile_filter

DOCUMENT: dict[str, Any] = {
    "status": 500,
    "message": "Failed login for Root",
    "user": "Root",
    "tags": ["web", "eu-west"],
    "when": "2026-02-03T04:05:06Z",
    "ok": True,
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
]  # fmt: skip

REFUSED: list[tuple[Any, str]] = [
    ({"fuzzy": {"a": "b"}}, "not supported yet"),
    ({"regexp": {"a": "("}}, "without an end"),
    ({"trem": {"a": "b"}}, "'term'"),
    ({"term": {"a": 1}, "exists": {"field": "b"}}, "2 keys"),
    ({"term": {"a": 1, "b": 2}}, "2 fields"),
    ({"term": {"a": {"value": 1, "case_insensitive": True}}}, "case_insensitive"),
    ({"term": {"a": None}}, "empty"),
    ({"term": {"a": [1]}}, "a list"),
    ({"range": {"a": {}}}, "without a bound"),
    ({"range": {"a": {"gt": 1, "gte": 1}}}, "both"),
    ({"range": {"a": {"gte": "now-1h"}}}, "date arithmetic"),
    ({"range": {"a": {"gte": 1, "format": "x"}}}, "'format'"),
    ({"exists": {}}, "without 'field'"),
    ({"query_string": {}}, "without 'query'"),
    ({"query_string": {"query": "a", "fuzziness": 1}}, "'fuzziness'"),
    ({"query_string": {"query": "a", "fields": ["a.*"]}}, "wildcards"),
    ({"query_string": {"query": "(a"}}, "without an end"),
    ({"bool": {"must": [{"nope": 1}]}}, "unknown query"),
    ({"bool": {"should": [], "minimum_should_match": "2<75%"}}, "no number"),
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
    assert (len(CASES), len(REFUSED)) == (50, 20)


def test_clauses_without_effect_are_pointed_out() -> None:
    warnings: list[str] = []
    compiled({"query_string": {"query": "a OR b AND c"}}, warnings)
    assert len(warnings) == 1 and "no effect" in warnings[0]


def test_no_filter_lets_everything_through() -> None:
    assert compile_filter(None, []).test(Document({}))
