"""Queries of the filter language that look at words: `match` and its kin, and query strings.

The words of a field are those of all its values together, as in Elasticsearch; words in a row are in a row
within one value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from divertor.model.documents import Node
from divertor.model.fields import fail, text_of
from divertor.rules.document import Document, scalar_text, words
from divertor.rules.filters.anchoring import anchors_at, tokens_of_any_word, tokens_of_value
from divertor.rules.filters.clauses import all_of, always, any_of, at_least, judged, leaf, never
from divertor.rules.filters.dsl_reading import (
    Builder,
    Least,
    Warnings,
    all_words_wanted,
    check_analyzer,
    choice,
    dates_of,
    edits_of,
    field_query,
    fields_of,
    flag,
    least,
    parts_of,
    required,
    whole_number,
    written,
)
from divertor.rules.filters.filter import Filter, Predicate
from divertor.rules.filters.fuzzy import automatic_edits, within
from divertor.rules.filters.lucene import MAX_SLOP, parse_query
from divertor.rules.filters.matching import row_with_prefix, whole_value
from divertor.rules.filters.places import Where, values_at, wants_whole
from divertor.rules.filters.query import QueryOptions, compile_query, text_clause
from divertor.rules.filters.query_tree import Group, Occur
from divertor.rules.filters.query_tree import Node as Query
from divertor.rules.filters.simple_query import parse_simple_query

_FUZZY = {"fuzziness", "prefix_length", "fuzzy_prefix_length", "fuzzy_transpositions", "fuzzy_rewrite"}
_MATCH = {"operator", "minimum_should_match", "zero_terms_query", "analyzer", "type", "slop"} | _FUZZY


def _match(node: Node, _warnings: Warnings) -> Filter:
    field, item, parts = field_query(node, "match", "query", _MATCH)
    kind = choice(parts, "type", {"boolean", "phrase", "phrase_prefix"}, "boolean")
    text = text_of(item, field)
    if kind == "boolean":
        return _words_clause(f"match {field}: {text}", field, text, parts)
    return _row_clause(f"match {field}: {text}", field, text, parts, prefix=kind == "phrase_prefix")


def _words_clause(
    text: str, where: Where, wanted: str, parts: Mapping[str, Node], *, prefix: bool = False
) -> Filter:
    """Any, all or some of the words, in any order; with `prefix` the last may be the start of one."""
    check_analyzer(parts)
    if wants_whole(where):
        return leaf(text, where, whole_value(wanted), tokens_of_value(wanted))
    terms = tuple(dict.fromkeys(words(wanted)))
    if not terms:
        return _without_words(text, where, wanted, parts)
    everything = all_words_wanted(parts)
    needed = _needed(len(terms), everything, least(parts.get("minimum_should_match")))
    if needed <= 0:
        return always(text)
    edits = edits_of(parts, lambda _length: 0)
    if prefix or any(edits(len(term)) for term in terms):
        tests = [_fuzzy_term(term, edits(len(term)), parts) for term in terms]
        if prefix:
            tests[-1] = _starts(terms[-1])
        return judged(text, where, _counting(where, wanted, tests, needed), anchors_at(where, None))
    tokens = tokens_of_any_word(wanted)
    return judged(text, where, _some(where, wanted, frozenset(terms), needed), anchors_at(where, tokens))


def _without_words(text: str, where: Where, wanted: str, parts: Mapping[str, Node]) -> Filter:
    if choice(parts, "zero_terms_query", {"none", "all"}, "none") == "all":
        return always(text)
    return leaf(text, where, whole_value(wanted), tokens_of_value(wanted))


def _needed(count: int, everything: bool, minimum: Least | None) -> int:
    if minimum is not None and not everything:
        return minimum(count)
    return count if everything else 1


def _some(where: Where, wanted: str, terms: frozenset[str], needed: int) -> Predicate:
    exact = whole_value(wanted)

    def test(document: Document) -> bool:
        found: set[str] = set()
        for value in values_at(where, document):
            if exact(value, document):
                return True
            found |= terms.intersection(document.words(scalar_text(value)))
            if len(found) >= needed:
                return True
        return False

    return test


def _counting(where: Where, wanted: str, tests: list[Callable[[str], bool]], needed: int) -> Predicate:
    exact = whole_value(wanted)

    def test(document: Document) -> bool:
        values = values_at(where, document)
        if any(exact(value, document) for value in values):
            return True
        have = {word for value in values for word in document.words(scalar_text(value))}
        return sum(any(one(word) for word in have) for one in tests) >= needed

    return test


def _fuzzy_term(term: str, edits: int, parts: Mapping[str, Node]) -> Callable[[str], bool]:
    prefix = whole_number(parts, "prefix_length", 1024)
    swaps = flag(parts, "fuzzy_transpositions", default=True)
    return lambda word: within(word, term, edits, prefix=prefix, transpositions=swaps)


def _starts(term: str) -> Callable[[str], bool]:
    return lambda word: word.startswith(term)


def _row_clause(
    text: str, where: Where, wanted: str, parts: Mapping[str, Node], *, prefix: bool = False
) -> Filter:
    """The words in a row; with `prefix` the last may be the start of one."""
    check_analyzer(parts)
    if not words(wanted):
        return _without_words(text, where, wanted, parts)
    slop = whole_number(parts, "slop", MAX_SLOP)
    if not prefix:
        return text_clause(text, where, wanted, slop)
    if slop:
        fail(parts["slop"], "slop together with a prefix is not supported", "one of them")
    return leaf(text, where, row_with_prefix(wanted, whole_only=wants_whole(where)))


def _match_phrase(node: Node, _warnings: Warnings) -> Filter:
    extra = {"slop", "zero_terms_query", "analyzer"}
    field, item, parts = field_query(node, "match_phrase", "query", extra)
    text = text_of(item, field)
    return _row_clause(f"match_phrase {field}: {text}", field, text, parts)


def _match_phrase_prefix(node: Node, _warnings: Warnings) -> Filter:
    extra = {"slop", "zero_terms_query", "analyzer"}
    field, item, parts = field_query(node, "match_phrase_prefix", "query", extra)
    text = text_of(item, field)
    return _row_clause(f"match_phrase_prefix {field}: {text}", field, text, parts, prefix=True)


def _match_bool_prefix(node: Node, _warnings: Warnings) -> Filter:
    field, item, parts = field_query(node, "match_bool_prefix", "query", _MATCH - {"type", "slop"})
    text = text_of(item, field)
    return _words_clause(f"match_bool_prefix {field}: {text}", field, text, parts, prefix=True)


_KINDS = {"best_fields", "most_fields", "cross_fields", "phrase", "phrase_prefix", "bool_prefix"}


def _multi_match(node: Node, _warnings: Warnings) -> Filter:
    parts = parts_of(node, "multi_match", {"query", "fields"} | _MATCH)
    wanted = text_of(required(parts, "query", node, "multi_match"), "query")
    places = fields_of((parts.get("fields"),)) or (None,)
    kind = choice(parts, "type", _KINDS, "best_fields")
    text = f"multi_match {written(node)}"
    if kind == "cross_fields":
        return _across(text, places, wanted, parts)
    row = kind in ("phrase", "phrase_prefix")
    build = _row_clause if row else _words_clause
    prefix = kind in ("phrase_prefix", "bool_prefix")
    each = [build(f"{_name(where)}: {wanted}", where, wanted, parts, prefix=prefix) for where in places]
    return any_of(each, text)


def _across(text: str, places: tuple[Where, ...], wanted: str, parts: Mapping[str, Node]) -> Filter:
    """Each word in any of the fields."""
    check_analyzer(parts)
    for name in _FUZZY & parts.keys():
        fail(parts[name], f"{name} together with cross_fields", "one of them")
    terms = tuple(dict.fromkeys(words(wanted)))
    if not terms:
        return never(text)
    each = [
        any_of([text_clause(f"{_name(where)}: {term}", where, term) for where in places]) for term in terms
    ]
    needed = _needed(len(each), all_words_wanted(parts), least(parts.get("minimum_should_match")))
    return all_of(each, text) if needed == len(each) else at_least(needed, each, text)


def _name(where: Where) -> str:
    if where is None:
        return "any field"
    return where if isinstance(where, str) else where.written


_QUERY_STRING = {
    "query", "default_field", "fields", "default_operator", "time_zone", "phrase_slop", "type", "escape",
    "minimum_should_match", "analyzer", "quote_analyzer", "quote_field_suffix", "lowercase_expanded_terms",
} | _FUZZY  # fmt: skip


def _query_string(node: Node, warnings: Warnings) -> Filter:
    parts = parts_of(node, "query_string", _QUERY_STRING)
    query = required(parts, "query", node, "query_string")
    check_analyzer(parts)
    choice(parts, "type", {"best_fields", "most_fields", "cross_fields"}, "best_fields")
    choice(parts, "escape", {"false"}, "false")
    text = text_of(query, "query")
    default_and = all_words_wanted(parts, "default_operator")
    tree = parse_query(text, query.position, default_and=default_and)
    if has_idle_clauses(tree):
        warnings.append(
            f"{query.position}: AND, + and OR are mixed without parentheses: as in Lucene, "
            "the clauses that are not required have no effect"
        )
    try:
        return compile_query(tree, _query_options(parts), text)
    except ValueError as problem:
        fail(query, f"query with {problem}", "a date")


def _query_options(parts: Mapping[str, Node]) -> QueryOptions:
    return QueryOptions(
        fields=fields_of((parts.get("default_field"), parts.get("fields"))),
        edits=edits_of(parts, automatic_edits),
        prefix=whole_number(parts, "fuzzy_prefix_length", 1024) or whole_number(parts, "prefix_length", 1024),
        swaps=flag(parts, "fuzzy_transpositions", default=True),
        slop=whole_number(parts, "phrase_slop", MAX_SLOP),
        dates=dates_of(parts),
        least=least(parts.get("minimum_should_match")),
    )


def has_idle_clauses(tree: Query) -> bool:
    """Whether some group both requires clauses and has optional ones, which then only rank."""
    if not isinstance(tree, Group):
        return False
    occurs = {clause.occur for clause in tree.clauses}
    if {Occur.MUST, Occur.SHOULD} <= occurs:
        return True
    return any(has_idle_clauses(clause.node) for clause in tree.clauses)


def _simple_query_string(node: Node, _warnings: Warnings) -> Filter:
    known = {"query", "fields", "default_operator", "minimum_should_match", "analyzer", "flags",
             "quote_field_suffix", "fuzzy_prefix_length", "fuzzy_transpositions"}  # fmt: skip
    parts = parts_of(node, "simple_query_string", known)
    query = required(parts, "query", node, "simple_query_string")
    check_analyzer(parts)
    choice(parts, "flags", {"all"}, "all")
    text = text_of(query, "query")
    tree = parse_simple_query(text, query.position, default_and=all_words_wanted(parts, "default_operator"))
    return never(text) if tree is None else compile_query(tree, _query_options(parts), text)


QUERIES: dict[str, Builder] = {
    "match": _match,
    "match_bool_prefix": _match_bool_prefix,
    "match_phrase": _match_phrase,
    "match_phrase_prefix": _match_phrase_prefix,
    "multi_match": _multi_match,
    "query_string": _query_string,
    "simple_query_string": _simple_query_string,
}
