"""A parsed query string as a predicate: closures built once, at load, and called per event."""

from __future__ import annotations

from typing import assert_never

from divertor.rules.document import Document
from divertor.rules.filter import Predicate
from divertor.rules.lucene import Everything, Exists, Group, Node, Occur, Range, Regexp, Text, Wildcard
from divertor.rules.matching import (
    KEYWORD,
    Glob,
    ValueTest,
    any_value,
    covered,
    glob_test,
    range_test,
    text_predicate,
)
from divertor.rules.regexp import compile_regexp


def everything(_document: Document) -> bool:
    """Matches any event: a rule without a filter."""
    return True


def compile_query(node: Node, default_fields: tuple[str, ...] = ()) -> Predicate:
    """The predicate of a syntax tree. `default_fields` is where bare terms look; empty means every field."""
    match node:
        case Everything():
            return everything
        case Text(field, text):
            return any_of([text_predicate(name, text) for name in _names(field, default_fields)])
        case Wildcard(field, glob):
            return any_of(
                [any_value(name, _glob(name, glob)) for name in _names(field, default_fields)],
            )
        case Regexp(field, pattern):
            return any_of(
                [any_value(name, _regexp(name, pattern)) for name in _names(field, default_fields)],
            )
        case Range(field, bounds):
            return any_value(field, range_test(bounds))
        case Exists(field):
            return lambda document: document.exists(field)
        case Group():
            return _group(node, default_fields)
        case _:
            assert_never(node)


def _names(field: str | None, default_fields: tuple[str, ...]) -> tuple[str | None, ...]:
    return default_fields if field is None and default_fields else (field,)


def _glob(field: str | None, glob: Glob) -> ValueTest:
    keyword = field is not None and field.endswith(KEYWORD)
    return glob_test(glob, whole_only=keyword, ignore_case=not keyword)


def _regexp(field: str | None, pattern: str) -> ValueTest:
    keyword = field is not None and field.endswith(KEYWORD)
    return covered(compile_regexp(pattern, ignore_case=not keyword), whole_only=keyword)


def _group(group: Group, default_fields: tuple[str, ...]) -> Predicate:
    parts: dict[Occur, list[Predicate]] = {occur: [] for occur in Occur}
    for occur, node in group.clauses:
        parts[occur].append(compile_query(node, default_fields))
    must, should, must_not = parts[Occur.MUST], parts[Occur.SHOULD], parts[Occur.MUST_NOT]
    if not must and should:
        must = [any_of(should)]
    # A group of exclusions only means "everything but": Elasticsearch's reading, where bare Lucene finds
    # nothing.
    return all_of([*must, *map(negate, must_not)])


def negate(predicate: Predicate) -> Predicate:
    return lambda document: not predicate(document)


def any_of(predicates: list[Predicate]) -> Predicate:
    """True when one of them is; False for none at all."""
    if len(predicates) == 1:
        return predicates[0]
    return lambda document: any(predicate(document) for predicate in predicates)


def all_of(predicates: list[Predicate]) -> Predicate:
    """True when all of them are, as also for none at all."""
    if not predicates:
        return everything
    if len(predicates) == 1:
        return predicates[0]
    return lambda document: all(predicate(document) for predicate in predicates)
