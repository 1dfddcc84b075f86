"""A parsed query string as a filter: closures built once, at load, and called per event."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from divertor.rules.anchoring import tokens_of_value
from divertor.rules.clauses import all_of, always, any_of, exists, judged, leaf, negate
from divertor.rules.document import words
from divertor.rules.filter import Anchor, Filter
from divertor.rules.matching import (
    Glob,
    ValueTest,
    as_network,
    as_number,
    covered,
    glob_test,
    range_test,
    whole_value,
    words_or_whole,
)
from divertor.rules.places import Where, wants_whole
from divertor.rules.query_tree import (
    Clause,
    Everything,
    Exists,
    Fuzzy,
    Group,
    Node,
    Occur,
    Range,
    Regexp,
    Text,
    Wildcard,
)
from divertor.rules.regexp import compile_regexp


def compile_query(node: Node, default_fields: tuple[Where, ...] = (), written: str = "") -> Filter:
    """The filter of a syntax tree. `default_fields` is where bare terms look; empty means every field.
    `written` is the text it was read from, for explanations.
    """
    return _Compiler(default_fields).compile(node, written)


def text_clause(written: str, where: Where, text: str) -> Filter:
    """The text as consecutive words of a value, or as the whole value (`.keyword`: only that)."""
    tokens = tokens_of_value(text)
    if wants_whole(where):
        return leaf(written, where, whole_value(text), tokens)
    wanted = words(text)
    if where is None and len(wanted) == 1 and as_number(text) is None and as_network(text) is None:
        (word,) = wanted
        anchors = frozenset({Anchor(None, word)})
        return judged(written, None, lambda document: word in document.all_words(), anchors)
    return leaf(written, where, words_or_whole(text), tokens)


class _Compiler:
    """Knows where bare terms look."""

    def __init__(self, default_fields: tuple[Where, ...]) -> None:
        self._default_fields = default_fields

    def compile(self, node: Node, written: str) -> Filter:
        match node:
            case Everything():
                return always(written)
            case Text(field, text):
                return self._each(field, written, lambda where: text_clause(written, where, text))
            case Fuzzy():
                raise NotImplementedError
            case Wildcard(field, glob):
                return self._each(field, written, lambda where: leaf(written, where, _glob(where, glob)))
            case Regexp(field, pattern):
                return self._each(field, written, lambda where: leaf(written, where, _regexp(where, pattern)))
            case Range(field, bounds):
                return self._each(field, written, lambda where: leaf(written, where, range_test(bounds)))
            case Exists(field):
                return exists(written, field)
            case Group():
                return self._group(node, written)
            case _:
                assert_never(node)

    def _each(self, field: Where, written: str, build: Callable[[Where], Filter]) -> Filter:
        places = self._default_fields if field is None and self._default_fields else (field,)
        return any_of([build(where) for where in places], written)

    def _group(self, group: Group, written: str) -> Filter:
        must = self._parts(group, Occur.MUST)
        should = self._parts(group, Occur.SHOULD)
        if not must and should:
            must = [any_of(should, written)]
        # A group of exclusions only means "everything but": Elasticsearch's reading, where bare Lucene finds
        # nothing.
        must_not = [
            negate(self.compile(clause.node, clause.written), f"not {clause.written}")
            for clause in _occurring(group, Occur.MUST_NOT)
        ]
        return all_of([*must, *must_not], written)

    def _parts(self, group: Group, occur: Occur) -> list[Filter]:
        return [self.compile(clause.node, clause.written) for clause in _occurring(group, occur)]


def _occurring(group: Group, occur: Occur) -> list[Clause]:
    return [clause for clause in group.clauses if clause.occur is occur]


def _glob(where: Where, glob: Glob) -> ValueTest:
    keyword = wants_whole(where)
    return glob_test(glob, whole_only=keyword, ignore_case=not keyword)


def _regexp(where: Where, pattern: str) -> ValueTest:
    keyword = wants_whole(where)
    return covered(compile_regexp(pattern, ignore_case=not keyword), whole_only=keyword)
