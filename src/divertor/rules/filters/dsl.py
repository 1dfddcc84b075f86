"""The `filter` list: Elasticsearch's query language, the part of it that judges single events, as filters.

Compiled once, at load; whatever is not understood exactly is refused with its place. Here are the queries
that are made of others; those that look at values are in `dsl_terms`, those that look at words in `dsl_text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from divertor.model.documents import MappingNode, Node
from divertor.model.fields import fail, is_null, items_of, suggestion, text_of
from divertor.rules.document import METADATA, Document
from divertor.rules.filters import dsl_terms, dsl_text, eql
from divertor.rules.filters.clauses import MAX_TEXT, all_of, always, any_of, at_least, negate, never
from divertor.rules.filters.dsl_reading import Builder, Warnings, choice, least, one_entry, parts_of, required
from divertor.rules.filters.filter import EVERYTHING, Anchor, Explanation, Filter
from divertor.rules.filters.places import shown
from divertor.rules.filters.sharing import known_by


def compile_filter(node: Node | None, warnings: Warnings) -> Filter:
    """All items of a rule's `filter` together; no filter lets every event through.

    :raises InputError: an unknown or unsupported query, or one that makes no sense.
    """
    if node is None:
        return EVERYTHING
    items = items_of(node)
    if not items:
        return EVERYTHING
    return known_by(node, all_of([compile_item(item, warnings) for item in items]))


def compile_item(node: Node, warnings: Warnings) -> Filter:
    """One query.

    :raises InputError: as `compile_filter`.
    """
    key, inner = one_entry(node, "a filter", QUERIES)
    if key.text in UNSUPPORTED:
        fail(key, f"the query {key.text!r} is not supported: {UNSUPPORTED[key.text]}", "another query")
    build = QUERIES.get(key.text)
    if build is None:
        fail(key, f"unknown query {key.text[:80]!r}", suggestion(key.text, QUERIES))
    return build(inner, warnings)


def _all(node: Node | None, warnings: Warnings) -> list[Filter]:
    return [compile_item(item, warnings) for item in items_of(node)]


def _wrapped(node: Node, warnings: Warnings) -> Filter:
    """The old `query:` wrapper."""
    return compile_item(node, warnings)


def _match_all(node: Node, _warnings: Warnings) -> Filter:
    parts_of(node, "match_all", set())
    return always("match_all")


def _match_none(node: Node, _warnings: Warnings) -> Filter:
    parts_of(node, "match_none", set())
    return never("match_none")


def _bool(node: Node, warnings: Warnings) -> Filter:
    known = {"must", "filter", "should", "must_not", "minimum_should_match", "adjust_pure_negative"}
    parts = parts_of(node, "bool", known | {"minimum_number_should_match", "disable_coord"})
    must = _all(parts.get("must"), warnings) + _all(parts.get("filter"), warnings)
    should = _all(parts.get("should"), warnings)
    minimum = least(parts.get("minimum_should_match", parts.get("minimum_number_should_match")))
    needed = (1 if should and not must else 0) if minimum is None else minimum(len(should))
    if needed:
        must.append(at_least(needed, should))
    must_not = [negate(one) for one in _all(parts.get("must_not"), warnings)]
    return all_of([*must, *must_not], "all of")


def _constant_score(node: Node, warnings: Warnings) -> Filter:
    parts = parts_of(node, "constant_score", {"filter", "query"})
    inner = parts.get("filter", parts.get("query"))
    if inner is None:
        fail(node, "constant_score without 'filter'", "filter: a query")
    return all_of(_all(inner, warnings), "constant_score")


def _dis_max(node: Node, warnings: Warnings) -> Filter:
    parts = parts_of(node, "dis_max", {"queries"})
    return any_of(_all(required(parts, "queries", node, "dis_max"), warnings), "dis_max")


def _boosting(node: Node, warnings: Warnings) -> Filter:
    """The negative part only ranks."""
    parts = parts_of(node, "boosting", {"positive", "negative", "negative_boost"})
    return compile_item(required(parts, "positive", node, "boosting"), warnings)


def _filtered(node: Node, warnings: Warnings) -> Filter:
    parts = parts_of(node, "filtered", {"query", "filter"})
    both = _all(parts.get("query"), warnings) + _all(parts.get("filter"), warnings)
    return all_of(both, "filtered")


def _and(node: Node, warnings: Warnings) -> Filter:
    return all_of(_all(_filters(node, "and"), warnings), "and")


def _or(node: Node, warnings: Warnings) -> Filter:
    return any_of(_all(_filters(node, "or"), warnings), "or")


def _not(node: Node, warnings: Warnings) -> Filter:
    inner = node
    if isinstance(node, MappingNode) and {"filter", "query"} & {key.text for key, _item in node.entries}:
        parts = parts_of(node, "not", {"filter", "query"})
        inner = parts.get("filter", parts.get("query", node))
    return negate(all_of(_all(inner, warnings)), "not")


def _filters(node: Node, what: str) -> Node:
    """The list of `and` and `or`, which may be behind `filters`."""
    if isinstance(node, MappingNode) and any(key.text == "filters" for key, _item in node.entries):
        return parts_of(node, what, {"filters", "_cache"})["filters"]
    return node


def _nested(node: Node, warnings: Warnings) -> Filter:
    """The query holds for one object of a list by itself."""
    known = {"path", "query", "filter", "score_mode", "ignore_unmapped", "inner_hits"}
    parts = parts_of(node, "nested", known)
    path = text_of(required(parts, "path", node, "nested"), "path")
    choice(parts, "score_mode", {"avg", "max", "min", "none", "sum", "total"}, "avg")
    query = parts.get("query", parts.get("filter"))
    if is_null(query) or query is None:
        fail(node, "nested without 'query'", "query: a query")
    return nested_filter(path, compile_item(query, warnings))


def nested_filter(path: str, inner: Filter) -> Filter:
    """True when one of the objects at a path passes by itself; its fields are named from the top."""

    def test(document: Document) -> bool:
        return any(inner.test(one) for one in _objects(document, path))

    def explain(document: Document) -> Explanation:
        objects = list(_objects(document, path))
        parts = tuple(inner.explain(one) for one in objects[:_EXPLAINED])
        found = "" if objects else shown(path, document)
        return Explanation(f"nested {path}"[:MAX_TEXT], test(document), found, parts)

    return Filter(test, _outside(path, inner.anchors), explain)


#: Objects of a list that are explained one by one.
_EXPLAINED = 10


def _objects(document: Document, path: str) -> list[Document]:
    found = document.get(path)
    time = document.get("@timestamp")
    objects: list[Any] = found if isinstance(found, list) else [found]
    return [Document({path: one, "@timestamp": time}) for one in objects if isinstance(one, Mapping)]


def _outside(path: str, anchors: frozenset[Anchor] | None) -> frozenset[Anchor] | None:
    """The anchors of an object as those of the event that has it: words of any field, as a field of the event
    itself may be called like one of the object.
    """
    if anchors is None or path in METADATA:
        return None
    return frozenset(Anchor(None, one.token) if one.token else Anchor(path) for one in anchors)


def _eql(node: Node, _warnings: Warnings) -> Filter:
    return eql.compile_eql(text_of(node, "eql"), node.position)


QUERIES: dict[str, Builder] = {
    "and": _and,
    "bool": _bool,
    "boosting": _boosting,
    "constant_score": _constant_score,
    "dis_max": _dis_max,
    "eql": _eql,
    "filtered": _filtered,
    "fquery": _wrapped,
    "match_all": _match_all,
    "match_none": _match_none,
    "nested": _nested,
    "not": _not,
    "or": _or,
    "query": _wrapped,
    **dsl_terms.QUERIES,
    **dsl_text.QUERIES,
}

#: Elasticsearch's queries that are known by name, and why they are refused.
UNSUPPORTED = {
    "esql": "ES|QL computes tables rather than judging events; write the condition as query_string or eql",
    "script": "no code of a rule runs; write the condition as a query, or as a rule type of your own",
    "function_score": "nothing is ranked here; use the query in it",
    "script_score": "no code of a rule runs; use the query in it",
    "more_like_this": "there are no documents to compare an event with",
    "percolate": "rules are the stored queries here",
    "has_child": "events have no parents",
    "has_parent": "events have no parents",
    "parent_id": "events have no parents",
    "indices": "use the rule's index",
    "limit": "events are judged one by one",
    "common": "use match",
    "knn": "events are not ranked",
    "intervals": "use match_phrase with slop",
    "distance_feature": "nothing is ranked here",
    "rank_feature": "nothing is ranked here",
    "pinned": "nothing is ranked here",
    "wrapper": "write the query itself",
    **dict.fromkeys(
        ("geo_bounding_box", "geo_distance", "geo_polygon", "geo_shape", "geo_grid", "shape"),
        "places are not understood",
    ),
    **dict.fromkeys(
        ("span_term", "span_near", "span_or", "span_not", "span_first", "span_multi", "span_containing"),
        "use match_phrase with slop",
    ),
}
