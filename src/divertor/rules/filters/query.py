"""A parsed query string as a filter: closures built once, at load, and called per event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from divertor.rules.document import words
from divertor.rules.filters.anchoring import tokens_of_glob, tokens_of_value
from divertor.rules.filters.clauses import all_of, always, any_of, at_least, exists, judged, leaf, negate
from divertor.rules.filters.dates import ISO_8601, DateReading
from divertor.rules.filters.filter import Anchor, Filter
from divertor.rules.filters.fuzzy import automatic_edits
from divertor.rules.filters.matching import (
    Glob,
    ValueTest,
    as_network,
    as_number,
    covered,
    glob_test,
    nearly,
    range_test,
    whole_value,
    words_nearly_in_a_row,
    words_or_whole,
)
from divertor.rules.filters.places import EVERY_FIELD, Where, wants_whole
from divertor.rules.filters.query_tree import (
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
from divertor.rules.filters.regexp import compile_regexp


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What a query string leaves open. `fields` is where bare terms look, empty for every field; `edits` is
    how many `~` without a number allows a word of some length; `least` is how many of the
    optional clauses must match, given their number.
    """

    fields: tuple[Where, ...] = ()
    edits: Callable[[int], int] = automatic_edits
    prefix: int = 0
    swaps: bool = True
    slop: int = 0
    dates: DateReading = ISO_8601
    least: Callable[[int], int] | None = None


DEFAULTS = QueryOptions()


def compile_query(node: Node, options: QueryOptions = DEFAULTS, written: str = "") -> Filter:
    """The filter of a syntax tree. `written` is the text it was read from, for explanations.

    :raises ValueError: a bound of a range is no date although it has to be.
    """
    return _Compiler(options).compile(node, written, top=True)


def text_clause(written: str, where: Where, text: str, slop: int = 0) -> Filter:
    """The text as consecutive words of a value, or as the whole value (`.keyword`: only that)."""
    tokens = tokens_of_value(text)
    if wants_whole(where):
        return leaf(written, where, whole_value(text), tokens)
    if slop:
        return leaf(written, where, words_nearly_in_a_row(text, slop), tokens)
    wanted = words(text)
    if where is None and len(wanted) == 1 and as_number(text) is None and as_network(text) is None:
        (word,) = wanted
        anchors = frozenset({Anchor(None, word)})
        return judged(written, None, lambda document: word in document.all_words(), anchors)
    return leaf(written, where, words_or_whole(text), tokens)


def fuzzy_clause(written: str, where: Where, text: str, edits: int, options: QueryOptions) -> Filter:
    """A word that is the text but for some edits."""
    whole = wants_whole(where)
    text = text if whole else text.lower()
    test = nearly(text, edits, whole_only=whole, prefix=options.prefix, swaps=options.swaps)
    return leaf(written, where, test)


class _Compiler:
    """Makes filters of nodes, by the options of the query."""

    def __init__(self, options: QueryOptions) -> None:
        self._options = options

    def compile(self, node: Node, written: str, *, top: bool = False) -> Filter:
        options = self._options
        match node:
            case Everything():
                return always(written)
            case Text(field, text, slop):
                return self._each(
                    field, written, lambda where: text_clause(written, where, text, slop or options.slop)
                )
            case Fuzzy(field, text, edits):
                allowed = options.edits(len(text)) if edits is None else edits
                return self._each(
                    field, written, lambda where: fuzzy_clause(written, where, text, allowed, options)
                )
            case Wildcard(field, glob):
                return self._each(field, written, lambda where: _glob(written, where, glob))
            case Regexp(field, pattern):
                return self._each(field, written, lambda where: leaf(written, where, _regexp(where, pattern)))
            case Range(field, bounds):
                test = range_test(bounds, options.dates)
                return self._each(field, written, lambda where: leaf(written, where, test))
            case Exists(field):
                return exists(written, field)
            case Group():
                return self._group(node, written, top)
            case _:
                assert_never(node)

    def _each(self, field: Where, written: str, build: Callable[[Where], Filter]) -> Filter:
        places = self._options.fields if field is None and self._options.fields else (field,)
        return any_of([build(None if where == EVERY_FIELD else where) for where in places], written)

    def _group(self, group: Group, written: str, top: bool) -> Filter:
        must = self._parts(group, Occur.MUST)
        should = self._parts(group, Occur.SHOULD)
        needed = 0 if must or not should else 1
        if top and should and self._options.least is not None:
            needed = self._options.least(len(should))
        if needed:
            must = [*must, at_least(needed, should, written if needed == 1 else "")]
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


def _glob(written: str, where: Where, glob: Glob) -> Filter:
    keyword = wants_whole(where)
    test = glob_test(glob, whole_only=keyword, ignore_case=not keyword)
    return leaf(written, where, test, tokens_of_glob(glob))


def _regexp(where: Where, pattern: str) -> ValueTest:
    keyword = wants_whole(where)
    return covered(compile_regexp(pattern, ignore_case=not keyword), whole_only=keyword)
