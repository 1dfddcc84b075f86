"""An event as rules see it: field lookup by dotted path, flattening, and word tokens, each computed once.

One `Document` is made per event and shared by all rules that judge it, so that a hundred rules tokenise a
payload once. It only reads; nothing here knows about queries or rule types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from divertor.model.events import Event

#: Bare terms search every field but these: they describe the record, not what happened.
METADATA = frozenset({"_id", "_index", "@timestamp"})

#: Nesting that is followed; an event nested deeper than this hides nothing a rule could name sensibly.
MAX_DEPTH = 64

# Words as Unicode's text segmentation (UAX 29) cuts them, near enough: letters, digits and underscores; a dot
# or an apostrophe between letters and a dot, comma or apostrophe between digits do not separate.
_WORD = re.compile(
    r"\w+(?:(?:(?<=[^\W\d_])[.'\u2019](?=[^\W\d_])|(?<=\d)[.,;'](?=\d))\w+)*",
)
_INDEXED = re.compile(r"(.*)\[([0-9]{1,4})\]")

#: A dotted path, cut once: `Path("a.b[0].c")`.
Path = tuple[str, ...]


def split_path(path: str) -> Path:
    """`a.b.c` as its steps; `a[1]` stays one step."""
    return tuple(path.split("."))


def words(text: str) -> tuple[str, ...]:
    """The lower-case word tokens of a text, in order, as a full-text index would hold them."""
    return tuple(_WORD.findall(text.lower()))


def scalar_text(value: Any) -> str:
    """A scalar as a query would spell it: `true`, `5`, `text`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def lookup(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None.

    A literal key with dots in it wins over nesting; `a[1].b` indexes a list; a trailing `.keyword` is ignored
    when there is no such field. A list on the way is traversed: the result is then the list of what was
    found.
    """
    found = _lookup(document, split_path(path))
    if found is None and path.endswith(".keyword"):
        return _lookup(document, split_path(path.removesuffix(".keyword")))
    return found


def _lookup(value: Any, path: Path, depth: int = 0) -> Any:
    if not path:
        return value
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return _lookup_in_mapping(value, path, depth)
    if isinstance(value, list | tuple):
        return _lookup_in_list(value, path, depth)
    return None


def _lookup_in_mapping(value: Mapping[str, Any], path: Path, depth: int) -> Any:
    for size in range(len(path), 0, -1):
        key = ".".join(path[:size])
        found = _lookup(_step(value, key), path[size:], depth + 1)
        if found is not None:
            return found
    return None


def _step(value: Mapping[str, Any], key: str) -> Any:
    if key in value:
        return value[key]
    indexed = _INDEXED.fullmatch(key) if key.endswith("]") else None
    if indexed is None:
        return None
    items = value.get(indexed[1])
    position = int(indexed[2])
    return items[position] if isinstance(items, list | tuple) and position < len(items) else None


def _lookup_in_list(values: list[Any] | tuple[Any, ...], path: Path, depth: int) -> Any:
    found: list[Any] = []
    for item in values:
        inner = _lookup(item, path, depth + 1)
        if isinstance(inner, list):
            found.extend(inner)
        elif inner is not None:
            found.append(inner)
    return found or None


def _scalars(value: Any, depth: int = 0) -> Iterator[Any]:
    """Every scalar under a value, lists and mappings flattened; None is no value."""
    if value is None or depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _scalars(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _scalars(inner, depth + 1)
    else:
        yield value


def _list_items(value: Any, depth: int = 0) -> Iterator[Any]:
    """The scalars a field holds: itself, or those of its (nested) lists; a mapping is not a field's value."""
    if isinstance(value, list | tuple):
        if depth <= MAX_DEPTH:
            for inner in value:
                yield from _list_items(inner, depth + 1)
    elif value is not None and not isinstance(value, Mapping):
        yield value


class Document:
    """One event's fields with the lookups and token sets made so far.

    `fields` is the plain nested dict (`Event.document()`); callers must not change it.
    """

    __slots__ = ("_all_values", "_all_words", "_values", "_words", "fields")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self._values: dict[str, tuple[Any, ...]] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        self._all_values: tuple[Any, ...] | None = None
        self._all_words: frozenset[str] | None = None

    @classmethod
    def of(cls, event: Event) -> Document:
        return cls(event.document())

    def values(self, path: str) -> tuple[Any, ...]:
        """The scalars at a path, lists flattened; empty when there is none."""
        known = self._values.get(path)
        if known is None:
            known = self._values[path] = tuple(_list_items(lookup(self.fields, path)))
        return known

    def exists(self, path: str) -> bool:
        """Whether there is any non-null scalar at or under a path."""
        return next(_scalars(lookup(self.fields, path)), None) is not None

    def words(self, text: str) -> tuple[str, ...]:
        """`words(text)`, remembered."""
        known = self._words.get(text)
        if known is None:
            known = self._words[text] = words(text)
        return known

    def all_values(self) -> tuple[Any, ...]:
        """Every scalar at any depth, metadata fields left out."""
        if self._all_values is None:
            self._all_values = tuple(
                value
                for name, field in self.fields.items()
                if name not in METADATA
                for value in _scalars(field)
            )
        return self._all_values

    def all_words(self) -> frozenset[str]:
        """Every word in `all_values`: what a bare one-word term is looked up in."""
        if self._all_words is None:
            self._all_words = frozenset(
                word for value in self.all_values() for word in self.words(scalar_text(value))
            )
        return self._all_words
