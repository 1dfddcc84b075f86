"""The `filter` list: Elasticsearch's query language, the part of it that judges single events, as predicates.

Compiled once, at load; whatever is not understood exactly is refused with its place. `match` and
`query_string` look at words, `term`, `prefix` and `wildcard` at words and whole values as they are, without
lower-casing what is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from divertor.model.documents import Node, Scalar, Sequence, to_value
from divertor.model.fields import entries_of, fail, is_null, items_of, suggestion, text_of
from divertor.rules.anchoring import tokens_of_any_word, tokens_of_value
from divertor.rules.clauses import all_of, always, any_of, at_least, exists, leaf, negate
from divertor.rules.dates import is_date_math as is_date_arithmetic
from divertor.rules.filter import EVERYTHING, Filter
from divertor.rules.lucene import parse_query
from divertor.rules.matching import (
    Bounds,
    Glob,
    ValueTest,
    Wild,
    any_word,
    covered,
    glob_test,
    range_test,
    whole_value,
    word_or_whole_exactly,
)
from divertor.rules.options import boolean
from divertor.rules.places import KEYWORD
from divertor.rules.query import QueryOptions, compile_query, text_clause
from divertor.rules.query_tree import Group, Occur
from divertor.rules.query_tree import Node as Query
from divertor.rules.regexp import compile_regexp

#: Collects what a rule's author may want to know.
Warnings: TypeAlias = list[str]

_RANKING = frozenset({"boost", "_name", "analyze_wildcard", "lenient", "allow_leading_wildcard"})


def compile_filter(node: Node | None, warnings: Warnings) -> Filter:
    """All items of a rule's `filter` together; no filter lets every event through.

    :raises InputError: an unknown or unsupported query, or one that makes no sense.
    """
    if node is None:
        return EVERYTHING
    together = all_of([_compile(item, warnings) for item in items_of(node)], "all of")
    return replace(together, source=repr(_spelling(node)))


def _spelling(node: Node) -> object:
    """What the node says, wherever it stands."""
    if isinstance(node, Scalar):
        return node.text, node.value
    if isinstance(node, Sequence):
        return [_spelling(item) for item in node.items]
    return {key.text: _spelling(item) for key, item in node.entries}


def _compile(node: Node, warnings: Warnings) -> Filter:
    entries = entries_of(node, "a filter")
    if len(entries) != 1:
        fail(node, f"a filter with {len(entries)} keys", f"one of {', '.join(sorted(_QUERIES))}")
    key, inner = entries[0]
    if key.text in _UNSUPPORTED:
        fail(key, f"the query {key.text!r} is not supported yet", ", ".join(sorted(_QUERIES)))
    build = _QUERIES.get(key.text)
    if build is None:
        fail(key, f"unknown query {key.text[:80]!r}", suggestion(key.text, _QUERIES))
    return build(inner, warnings)


def _query_string(node: Node, warnings: Warnings) -> Filter:
    parts = _parts(node, "query_string", {"query", "default_field", "fields", "default_operator"} | _RANKING)
    if "query" not in parts:
        fail(node, "query_string without 'query'", "query: text")
    operator = text_of(parts["default_operator"], "default_operator") if "default_operator" in parts else "OR"
    if operator.upper() not in ("AND", "OR"):
        fail(parts["default_operator"], f"default_operator is {operator[:40]!r}", "AND or OR")
    query = parts["query"]
    tree = parse_query(text_of(query, "query"), query.position, default_and=operator.upper() == "AND")
    if has_idle_clauses(tree):
        warnings.append(
            f"{query.position}: AND, + and OR are mixed without parentheses: as in Lucene, "
            "the clauses that are not required have no effect"
        )
    return compile_query(tree, QueryOptions(_default_fields(parts)), text_of(query, "query"))


def _default_fields(parts: Mapping[str, Node]) -> tuple[str, ...]:
    named = (*items_of(parts.get("default_field")), *items_of(parts.get("fields")))
    names = tuple(text_of(item, "field") for item in named)
    if names == ("*",):
        return ()
    for item, name in zip(named, names, strict=True):
        if "*" in name or "^" in name:
            fail(item, f"{name[:80]!r}: wildcards and boosts in field names are not supported yet", "a field")
    return names


def has_idle_clauses(tree: Query) -> bool:
    """Whether some group both requires clauses and has optional ones, which then only rank."""
    if not isinstance(tree, Group):
        return False
    occurs = {clause.occur for clause in tree.clauses}
    if {Occur.MUST, Occur.SHOULD} <= occurs:
        return True
    return any(has_idle_clauses(clause.node) for clause in tree.clauses)


def _wrapped(node: Node, warnings: Warnings) -> Filter:
    """The old `query:` wrapper."""
    return _compile(node, warnings)


def _term(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "term", "value", {"case_insensitive"})
    _refuse_case_insensitive(parts)
    text = text_of(parts["value"], field)
    return leaf(f"term {field}: {text}", field, _exactly(field, text), tokens_of_value(text))


def _terms(node: Node, _warnings: Warnings) -> Filter:
    entries = [(key, item) for key, item in entries_of(node, "terms") if key.text not in _RANKING]
    if len(entries) != 1:
        fail(node, f"terms with {len(entries)} fields", "one field with a list of values")
    key, values = entries[0]
    texts = [text_of(item, key.text) for item in items_of(values)]
    written = f"terms {key.text}: {', '.join(texts)}"
    return any_of(
        [
            leaf(f"{key.text}: {text}", key.text, _exactly(key.text, text), tokens_of_value(text))
            for text in texts
        ],
        written,
    )


def _exactly(field: str, text: str) -> ValueTest:
    return whole_value(text) if field.endswith(KEYWORD) else word_or_whole_exactly(text)


def _range(node: Node, _warnings: Warnings) -> Filter:
    field, item = _one_field(node, "range")
    parts = _parts(item, f"range of {field}", {"gt", "gte", "lt", "lte"} | _RANKING)
    for low, high in (("gt", "gte"), ("lt", "lte")):
        if low in parts and high in parts:
            fail(item, f"range of {field} with both {low} and {high}", "one of them")
    lower, upper = parts.get("gte", parts.get("gt")), parts.get("lte", parts.get("lt"))
    if is_null(lower) and is_null(upper):
        fail(item, f"range of {field} without a bound", "gt, gte, lt or lte")
    bounds = Bounds(_bound(lower), _bound(upper), "gt" not in parts, "lt" not in parts)
    return leaf(f"range {field}: {_written(item)}", field, range_test(bounds))


def _bound(node: Node | None) -> str | None:
    if node is None or is_null(node):
        return None
    bound = text_of(node, "bound")
    if is_date_arithmetic(bound):
        fail(node, "date arithmetic is not supported yet", "a fixed ISO 8601 date")
    return bound


def _exists(node: Node, _warnings: Warnings) -> Filter:
    parts = _parts(node, "exists", {"field"} | _RANKING)
    if "field" not in parts:
        fail(node, "exists without 'field'", "field: name")
    field = text_of(parts["field"], "field")
    return exists(f"exists {field}", field)


def _wildcard(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "wildcard", "value", {"wildcard", "case_insensitive"})
    pattern = parts.get("value", parts.get("wildcard"))
    if pattern is None:
        fail(node, "wildcard without 'value'", "a text with * or ?")
    text = text_of(pattern, field)
    return _glob("wildcard", field, text, glob_of(text), parts)


def _prefix(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "prefix", "value", {"case_insensitive"})
    text = text_of(parts["value"], field)
    return _glob("prefix", field, text, (text, Wild.MANY), parts)


def _glob(what: str, field: str, text: str, glob: Glob, parts: Mapping[str, Node]) -> Filter:
    ignore_case = "case_insensitive" in parts and boolean(parts["case_insensitive"], "case_insensitive")
    test = glob_test(glob, whole_only=field.endswith(KEYWORD), ignore_case=ignore_case)
    return leaf(f"{what} {field}: {text}", field, test)


def glob_of(text: str) -> Glob:
    """`*` and `?` as wildcards, a backslash before a character taking it as it is."""
    parts = re.findall(r"\\(.)|([*?])|([^\\*?]+|\\)", text, re.DOTALL)
    return tuple(Wild(wild) if wild else escaped or plain for escaped, wild, plain in parts)


def _regexp(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "regexp", "value", {"case_insensitive"})
    ignore_case = "case_insensitive" in parts and boolean(parts["case_insensitive"], "case_insensitive")
    try:
        covers = compile_regexp(text_of(parts["value"], field), ignore_case=ignore_case)
    except ValueError as problem:
        fail(parts["value"], f"regular expression with {problem}", "a pattern without it")
    written = f"regexp {field}: {text_of(parts['value'], field)}"
    return leaf(written, field, covered(covers, whole_only=field.endswith(KEYWORD)))


def _match(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "match", "query", {"operator", "lenient"})
    operator = text_of(parts["operator"], "operator").upper() if "operator" in parts else "OR"
    if operator not in ("AND", "OR"):
        fail(parts["operator"], f"operator is {operator[:40]!r}", "and, or")
    text = text_of(parts["query"], field)
    if field.endswith(KEYWORD):
        return leaf(f"match {field}: {text}", field, whole_value(text), tokens_of_value(text))
    test = any_word(text, all_of_them=operator == "AND")
    return leaf(f"match {field}: {text}", field, test, tokens_of_any_word(text))


def _match_phrase(node: Node, _warnings: Warnings) -> Filter:
    field, parts = _field_query(node, "match_phrase", "query", set())
    text = text_of(parts["query"], field)
    return text_clause(f"match_phrase {field}: {text}", field, text)


def _match_all(node: Node, _warnings: Warnings) -> Filter:
    _parts(node, "match_all", _RANKING)
    return always("match_all")


def _bool(node: Node, warnings: Warnings) -> Filter:
    known = {
        "must",
        "filter",
        "should",
        "must_not",
        "minimum_should_match",
        "adjust_pure_negative",
    } | _RANKING
    parts = _parts(node, "bool", known)

    def clauses(name: str) -> list[Filter]:
        return [_compile(item, warnings) for item in items_of(parts.get(name))]

    must = clauses("must") + clauses("filter")
    should = clauses("should")
    default = 1 if should and not must else 0
    needed = _minimum(parts.get("minimum_should_match"), len(should), default)
    if needed:
        must.append(at_least(needed, should))
    return all_of([*must, *map(negate, clauses("must_not"))], "bool")


def _minimum(node: Node | None, count: int, default: int) -> int:
    """`2`, `-1` (all but one), `75%`, `-25%`, of `count` clauses; rounded down as Elasticsearch does."""
    if node is None:
        return default
    found = re.fullmatch(r"(-?)([0-9]{1,4})(%?)", text_of(node, "minimum_should_match"))
    if found is None:
        fail(node, "minimum_should_match is no number", "a number such as 1, -1 or 75%")
    amount = int(found[2]) * count // 100 if found[3] else int(found[2])
    return max(0, count - amount if found[1] else amount)


def _written(node: Node) -> str:
    return json.dumps(to_value(node), ensure_ascii=False, default=str)


def _field_query(node: Node, what: str, main: str, extra: set[str]) -> tuple[str, dict[str, Node]]:
    """`{field: text}` or `{field: {main: text, …}}` as the field and the parts of the long form."""
    field, item = _one_field(node, what)
    if isinstance(item, Scalar):
        return field, {main: item}
    parts = _parts(item, f"{what} of {field}", {main, *extra, *_RANKING})
    if main not in parts and what != "wildcard":
        fail(item, f"{what} of {field} without {main!r}", f"{main}: text")
    return field, parts


def _one_field(node: Node, what: str) -> tuple[str, Node]:
    entries = entries_of(node, what)
    if len(entries) != 1:
        fail(node, f"{what} with {len(entries)} fields", "one field")
    return entries[0][0].text, entries[0][1]


def _parts(node: Node, what: str, known: set[str] | frozenset[str]) -> dict[str, Node]:
    """The entries of a query, each of them known; what is null counts as not given."""
    parts: dict[str, Node] = {}
    for key, item in entries_of(node, what):
        if key.text not in known:
            fail(key, f"unknown or unsupported {key.text[:80]!r} in {what}", suggestion(key.text, known))
        if not is_null(item):
            parts[key.text] = item
    return parts


def _refuse_case_insensitive(parts: Mapping[str, Node]) -> None:
    node = parts.get("case_insensitive")
    if node is not None and boolean(node, "case_insensitive"):
        fail(
            node, "case_insensitive of term is not supported yet", "match or query_string, which ignore case"
        )


_QUERIES: dict[str, Callable[[Node, Warnings], Filter]] = {
    "bool": _bool,
    "exists": _exists,
    "match": _match,
    "match_all": _match_all,
    "match_phrase": _match_phrase,
    "prefix": _prefix,
    "query": _wrapped,
    "query_string": _query_string,
    "range": _range,
    "regexp": _regexp,
    "term": _term,
    "terms": _terms,
    "wildcard": _wildcard,
}

#: Elasticsearch's queries that are known by name and refused as not supported yet.
_UNSUPPORTED = frozenset(
    """and eql esql filtered fuzzy geo_bounding_box geo_distance has_child has_parent ids indices limit
    match_phrase_prefix missing multi_match nested not or script simple_query_string terms_set
    type""".split()
)
