"""Clauses of a filter put together: each is a `Filter` with its test, its anchors and its explanation.

The query languages (`query`, `dsl`, `eql`, `sigma`) end here, so that an event is explained, and rules are
indexed, in one way whatever language a rule is written in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from divertor.rules.document import Document
from divertor.rules.filters.anchoring import Tokens, anchors_at, anchors_of_all, anchors_of_any
from divertor.rules.filters.filter import Anchor, Explanation, Filter, Predicate
from divertor.rules.filters.matching import ValueTest, any_value
from divertor.rules.filters.places import Where, exists_at, shown

#: What of a clause's text an explanation shows.
MAX_TEXT = 200


def leaf(text: str, where: Where, test: ValueTest, tokens: Tokens = None) -> Filter:
    """True when any value at the place passes the test. `text` is the clause as its author wrote it."""
    return judged(text, where, any_value(where, test), anchors_at(where, tokens))


def judged(text: str, where: Where, test: Predicate, anchors: frozenset[Anchor] | None) -> Filter:
    """A clause with a test of its own; an explanation shows what the event has at the place."""
    written = cut(text)
    return Filter(
        test, anchors, lambda document: Explanation(written, test(document), shown(where, document))
    )


def exists(text: str, where: Where) -> Filter:
    """True when there is a value."""
    return judged(text, where, lambda document: exists_at(where, document), anchors_at(where, None))


def always(text: str) -> Filter:
    written = cut(text)
    return Filter(_true, None, lambda _document: Explanation(written, True))


def never(text: str) -> Filter:
    written = cut(text)
    return Filter(_false, frozenset(), lambda _document: Explanation(written, False))


def _true(_document: Document) -> bool:
    return True


def _false(_document: Document) -> bool:
    return False


def all_of(filters: Sequence[Filter], text: str = "all of") -> Filter:
    """True when all of them are, as also for none at all."""
    if not filters:
        return always(text)
    if len(filters) == 1:
        return filters[0]
    test = _all_test([one.test for one in filters])
    return Filter(test, anchors_of_all(filters), _explaining(text, test, filters))


def any_of(filters: Sequence[Filter], text: str = "any of") -> Filter:
    """True when one of them is; False for none at all."""
    if not filters:
        return never(text)
    if len(filters) == 1:
        return filters[0]
    test = _any_test([one.test for one in filters])
    return Filter(test, anchors_of_any(filters), _explaining(text, test, filters))


def at_least(needed: int, filters: Sequence[Filter], text: str = "") -> Filter:
    """True when so many of them are."""
    if needed <= 0:
        return always(text or "none of these is needed")
    if needed == 1:
        return any_of(filters, text or "any of")
    if needed > len(filters):
        return never(text or f"{needed} of {len(filters)}")
    tests = [one.test for one in filters]

    def test(document: Document) -> bool:
        return sum(one(document) for one in tests) >= needed

    # Whoever passes enough of them passes one.
    return Filter(test, anchors_of_any(filters), _explaining(text or f"at least {needed} of", test, filters))


def negate(one: Filter, text: str = "not") -> Filter:
    """True when it is not; nothing is known about what such an event has."""
    inner = one.test

    def test(document: Document) -> bool:
        return not inner(document)

    return Filter(test, None, _explaining(text, test, [one]))


def titled(text: str, one: Filter) -> Filter:
    """The same filter under the text its author wrote."""
    return Filter(one.test, one.anchors, _explaining(text, one.test, [one]))


def cut(text: str) -> str:
    """A clause's text on one line, no longer than anybody reads."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _explaining(text: str, test: Predicate, filters: Sequence[Filter]) -> Callable[[Document], Explanation]:
    written = cut(text)

    def explain(document: Document) -> Explanation:
        parts = tuple(one.explain(document) for one in filters)
        return Explanation(written, test(document), "", parts)

    return explain


def _all_test(tests: Sequence[Predicate]) -> Predicate:
    if len(tests) == 2:
        first, second = tests
        return lambda document: first(document) and second(document)

    def test(document: Document) -> bool:
        for one in tests:
            if not one(document):
                return False
        return True

    return test


def _any_test(tests: Sequence[Predicate]) -> Predicate:
    if len(tests) == 2:
        first, second = tests
        return lambda document: first(document) or second(document)

    def test(document: Document) -> bool:
        for one in tests:
            if one(document):
                return True
        return False

    return test
