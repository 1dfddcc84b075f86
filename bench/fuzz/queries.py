"""The fuzzer's texts for the readers of rules' filters, and what is demanded of what they read.

A filter must answer for every event, explain itself with the same answer, and name only such anchors as the
events that pass it have.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.fuzz.inputs import mixed
from divertor.errors import InputError, Position
from divertor.model.documents import parse_documents
from divertor.rules.document import Document
from divertor.rules.filters.dsl import compile_filter
from divertor.rules.filters.eql import compile_eql, is_sequence, parse_sequence
from divertor.rules.filters.filter import Filter
from divertor.rules.filters.lucene import parse_query
from divertor.rules.filters.query import compile_query
from divertor.rules.filters.regexp import compile_regexp
from divertor.rules.running.index import FilterIndex

_HERE = Position("fuzz")
_DOCUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {
        "@timestamp": "2026-01-01T00:00:00Z",
        "message": "GET /a' UNION all select 1,2 from users",
        "status": 500,
        "ratio": 0.5,
        "ok": True,
        "nothing": None,
        "client": {"ip": "10.1.2.3", "name": "Jörg O'Neil"},
        "tags": ["web", "eu-west", 5, ""],
        "frames": [{"file": "app.py", "line": 3}, {"file": "db.py", "line": 44}],
        "when": "2026-02-03T04:05:06Z",
    },
    {
        "message": "ab" * 200 + "\ud800",
        "status": 1e308,
        "client": [[[{"ip": "::1"}]]],
        "tags": ["a"] * 20,
    },
)

QUERIES = [
    "message:(union AND select) OR NOT status:[400 TO 499} -tags:eu-west",
    '"union select"~2 unoin~1 mess*:un?on _exists_:client.* *:web^2',
    "message:/un[a-j]on.*|<1-99>/ && ratio:>=0.5 || +ok:true !(a b)",
    'when:[now-1h/d TO 2026-02||+1M] client.ip:"10.0.0.0/8" tags.keyword:EU~0.5',
    "message:/~(a*)&.*b@/ \\u0041\\: (((x)))",
]
EXPRESSIONS = ["(a|b)*c{2,3}[^d-f]", "~(ab+)&.*x.*", '<1-99>@"a.b"#|\\.', "((a?){3}b)*", "<001-123>[]a-]"]
EQL = [
    'process where process.name : ("cmd*", "x?") and not user.id in~ ("a", "b") or status >= 500',
    'any where length(message) + 2 * status % 7 == 3 and cidrMatch(client.ip, "10.0.0.0/8") // x',
    'sequence by a with maxspan=5m [any where a == null] with runs=3 [b where c regex~ "d.*"]'
    " until [e where f]",
    'any where `odd name` like~ """raw""" and ?x != 1 or startsWith~(m, "a", "\\u{41}")',
]
FILTERS = [
    """- bool: {must: [{term: {status: 500}}], should: [{match: {message: {query: a b, fuzziness: AUTO}}}],
    must_not: {exists: {field: x.*}}, minimum_should_match: "2<75%"}
- range: {when: {gte: now-1d/d, lt: 01/02/2026, time_zone: "+01:00", format: "dd/MM/yyyy||epoch_millis"}}
""",
    """- nested: {path: frames, query: {match_phrase: {frames.file: {query: app py, slop: 3}}}}
- multi_match: {query: a b, fields: [message^2, "t*"], type: cross_fields, operator: and}
- terms: {tags: [a, 5, web]}
- simple_query_string: {query: "a + -b | (c* ~2) \\"d e\\"~1"}
- re: {message: {value: "(?i)a+b$", flags: ms}}
""",
    """- query: {query_string: {query: "a OR b", default_operator: AND, fields: ["*"]}}
- not: {filter: {wildcard: {message: {value: "*a?", case_insensitive: true}}}}
- or: [{regexp: {message: "a|b"}}, {prefix: {a.keyword: b}}, {ids: {values: [x]}}, {eql: "any where a == 1"}]
- terms_set: {tags: {terms: [a, web], minimum_should_match: 1}}
""",
]
_WORDS = (
    "a message: client.* *: _exists_: _missing_: AND OR NOT && || ! + - ( ) [ ] { } TO * ? ~ ~2 ^2 / "
    '/a/ " \\ now -1h /d || 2026-01-01 >= < 5 1e999 é \t'
).split(" ")
_SIGNS = 'a b | & ~ @ # < - > 1 99 ( ) [ ] ^ { } , * + ? . \\ " é \n'.split(" ")
_EQL_WORDS = (
    "any where sequence by with maxspan = runs until [ ] ( ) , == != < <= : in in~ like regex~ not and or "
    'null true ?a a.b `x y` "t*" 1 2.5 5m + - * / % length startsWith~ cidrMatch | //'
).split(" ")
_YAML = (
    "term: match: range: bool: must: should: must_not: query: value: field: fields: operator: fuzziness: "
    "minimum_should_match: gte: lt: now-1h path: nested: { } [ ] , - 5 75% -1 AUTO:1,2 true ~ '*' \n"
).split(" ")


def query_text(rng: random.Random) -> str:
    """A query string."""
    return mixed(rng, QUERIES, _WORDS)


def expression_text(rng: random.Random) -> str:
    """A regular expression of Lucene's."""
    return mixed(rng, EXPRESSIONS, _SIGNS)


def eql_text(rng: random.Random) -> str:
    """An EQL query."""
    return mixed(rng, EQL, _EQL_WORDS)


def filter_text(rng: random.Random) -> str:
    """The `filter` of a rule, as YAML."""
    return mixed(rng, FILTERS, _YAML)


def try_query(text: str) -> None:
    """:raises InputError: it is no query."""
    try:
        _judge(compile_query(parse_query(text, _HERE), written=text))
    except ValueError as problem:  # a range of dates with something else in it
        raise InputError(str(problem), _HERE) from None


def try_expression(text: str) -> None:
    """:raises InputError: it is no expression."""
    try:
        covers = compile_regexp(text, ignore_case=True)
    except ValueError as problem:
        raise InputError(str(problem), _HERE) from None
    for one in ("", "a", "ab" * 2000, "é\n\ud800"):
        covers(one)


def try_eql(text: str) -> None:
    """:raises InputError: it is no query."""
    if not is_sequence(text):
        _judge(compile_eql(text, _HERE))
        return
    for step in parse_sequence(text, _HERE).steps:
        _judge(step.filter)


def try_filter(text: str) -> None:
    """:raises InputError: it is no filter."""
    documents = parse_documents(text, "fuzz.yaml")
    for node in documents:
        _judge(compile_filter(node, []))


def _judge(filter_: Filter) -> None:
    index = FilterIndex([filter_])
    for fields in _DOCUMENTS:
        document = Document(fields)
        passed = filter_.test(document)
        assert not passed or index.candidates(document) == [0], "passes, but is not found by its anchors"
        assert filter_.explain(document).passed == passed, "is explained otherwise than judged"


TARGETS: dict[str, tuple[Callable[[random.Random], str], Callable[[str], None]]] = {
    "queries": (query_text, try_query),
    "expressions": (expression_text, try_expression),
    "eql": (eql_text, try_eql),
    "filters": (filter_text, try_filter),
}
