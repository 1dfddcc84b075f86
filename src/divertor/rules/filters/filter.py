"""A filter as the engine uses it: the test of an event, what an event must have to pass, and why it did or
did not.

What an event must have (`anchors`) lets the engine look only at rules that an event could concern. An anchor
may let too much through, never too little: the test decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from divertor.rules.document import Document

#: Judges a whole event.
Predicate: TypeAlias = Callable[[Document], bool]


@dataclass(frozen=True, slots=True)
class Anchor:
    """Something an event can be found by: `token`, as `words` would cut it, among the words of `field`
    (None: of any field); without a token, that the field has a value at all.
    """

    field: str | None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One part of a filter, whether an event passed it, what the event has there, and the parts within."""

    text: str
    passed: bool
    found: str = ""
    parts: tuple[Explanation, ...] = ()


def _one_line(passed: bool) -> Explanation:
    return Explanation("the filter", passed)


@dataclass(frozen=True, slots=True)
class Filter:
    """`anchors`: at least one of them is there in each event that passes; None: nothing of the kind is known,
    so every event has to be tested. Filters with the same `source`, if it is not empty, judge alike: an event
    is tested once for all of them.
    """

    test: Predicate
    anchors: frozenset[Anchor] | None = None
    explaining: Callable[[Document], Explanation] | None = None
    source: str = ""

    def explain(self, document: Document) -> Explanation:
        """Why the event passed or did not, part by part."""
        if self.explaining is not None:
            return self.explaining(document)
        return _one_line(self.test(document))


EVERYTHING = Filter(lambda _document: True)


@runtime_checkable
class Selecting(Protocol):
    """A rule type with filters of its own: an event that does not pass `selects` is of no use to it."""

    selects: Filter
