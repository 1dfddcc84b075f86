"""Which filters an event could pass: an index of filters by what an event must have.

A stream may have a thousand rules, and an event concerns few of them. Each filter names anchors, of which a
passing event has at least one (`Filter.anchors`); here they are turned around, from a field and a word to
the filters. A filter that is not found is not tested. The index may find too many, never too few: the
filter's own test decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from divertor.rules.document import OWN, Document, roots, scalar_text
from divertor.rules.filters.filter import Anchor, Filter

#: Places of filters in the sequence that the index was made of.
Places: TypeAlias = frozenset[int]

#: Texts up to so many characters are likely to come again: what they find is remembered, for so many texts of
#: a field. Events are chosen by attackers, so both are bounded.
_SHORT = 64
_REMEMBERED = 4096

_NONE: Places = frozenset()


class FilterIndex:
    """Made once for a sequence of filters; `candidates` is asked for every event."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        gathered: dict[Anchor, set[int]] = {}
        always: set[int] = set()
        for place, one in enumerate(filters):
            if one.anchors is None or Anchor(None) in one.anchors:
                always.add(place)
                continue
            for anchor in one.anchors:
                gathered.setdefault(anchor, set()).add(place)
        self._always = frozenset(always)
        self._bare = {
            anchor.token: frozenset(places)
            for anchor, places in gathered.items()
            if anchor.field is None and anchor.token is not None
        }
        fields = _fields(gathered)
        self._own = tuple(field for name, field in fields if not OWN.isdisjoint(roots(name)))
        self._by_root = _by_root((name, field) for name, field in fields if OWN.isdisjoint(roots(name)))
        self._roots = frozenset(self._by_root)
        #: The last `Document.roots` that had all of these.
        self._covering: frozenset[str] | None = None

    def candidates(self, document: Document) -> list[int]:
        """The places of the filters that the event could pass, in order."""
        found = set(self._always)
        for field in self._own:
            found |= field.candidates(document)
        if document.roots is not self._covering:
            self._look_for_roots(document)
        by_root = self._by_root
        for key in document.body:
            # Most keys of an event are in no rule: one look each, before any field is searched for.
            fields = by_root.get(key)
            if fields is not None:
                for field in fields:
                    found |= field.candidates(document)
        if self._bare:
            found |= _found(self._bare, document.all_words())
        return sorted(found)

    def _look_for_roots(self, document: Document) -> None:
        if document.roots is not None and self._roots <= document.roots:
            self._covering = document.roots
        else:
            document.complete(self._roots)


class _Field:
    """The anchors of one field."""

    __slots__ = ("_by_word", "_known", "_path", "_present")

    def __init__(self, path: str, by_word: Mapping[str, Places], present: Places) -> None:
        self._path = path
        self._by_word = by_word
        self._present = present
        self._known: dict[str, Places] = {}

    def candidates(self, document: Document) -> Places:
        values = document.values(self._path)
        found = self._present
        if found and not values and not document.exists(self._path):
            found = _NONE
        if self._by_word:
            for value in values:
                found = found | self._of_value(value, document)
        return found

    def _of_value(self, value: Any, document: Document) -> Places:
        if not isinstance(value, str):
            return _found(self._by_word, document.words(scalar_text(value)))
        if len(value) > _SHORT:
            return _found(self._by_word, document.words(value))
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[value] = _found(self._by_word, document.words(value))
        return known


def _found(by_word: Mapping[str, Places], words: Iterable[str]) -> Places:
    found = _NONE
    for word in words:
        places = by_word.get(word)
        if places is not None:
            found = found | places if found else places
    return found


def _fields(gathered: Mapping[Anchor, set[int]]) -> list[tuple[str, _Field]]:
    by_field: dict[str, dict[str, Places]] = {}
    present: dict[str, Places] = {}
    for anchor, places in gathered.items():
        if anchor.field is None:
            continue
        words = by_field.setdefault(anchor.field, {})
        if anchor.token is None:
            present[anchor.field] = frozenset(places)
        else:
            words[anchor.token] = frozenset(places)
    return [(name, _Field(name, words, present.get(name, _NONE))) for name, words in by_field.items()]


def _by_root(fields: Iterable[tuple[str, _Field]]) -> dict[str, tuple[_Field, ...]]:
    gathered: dict[str, list[_Field]] = {}
    for name, field in fields:
        for root in roots(name):
            gathered.setdefault(root, []).append(field)
    return {root: tuple(found) for root, found in gathered.items()}
