"""An event as rules see it: field lookup by dotted path, flattening, and word tokens, each computed once.

One `Document` is made per event and shared by all rules that judge it, so that a hundred rules tokenise a
payload once; what no rule asks for is not computed. It only reads; nothing here knows about queries or rule
types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct, field

from divertor.model.events import Event, format_time

#: Bare terms search every field but these: they describe the record, not what happened.
METADATA = frozenset({"_id", "_index", "@timestamp"})

#: Nesting that is followed; an event nested deeper than this hides nothing a rule could name sensibly.
MAX_DEPTH = 64

#: Texts up to so many characters are likely to come again, as methods, hosts and states do: their words are
#: remembered beyond their event.
_SHORT = 64

# Words as Unicode's text segmentation (UAX 29) cuts them, near enough: letters, digits and underscores; a dot
# or an apostrophe between letters and a dot, comma or apostrophe between digits do not separate.
_WORD = re.compile(
    r"\w+(?:(?:(?<=[^\W\d_])[.'\u2019](?=[^\W\d_])|(?<=\d)[.,;'](?=\d))\w+)*",
)
_INDEXED = re.compile(r"(.*)\[([0-9]{1,4})\]")

#: What the event itself says, whatever its body has under that name (see `Event.document`).
OWN = frozenset({"@timestamp", "_id", "_index", "type", "tags", "value"})

_ABSENT: Any = object()
_SCALARS = (str, int, float)


def words(text: str) -> tuple[str, ...]:
    """The lower-case word tokens of a text, in order, as a full-text index would hold them."""
    return _short_words(text) if len(text) <= _SHORT else tuple(_WORD.findall(text.lower()))


@lru_cache(maxsize=16_384)
def _short_words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def scalar_text(value: Any) -> str:
    """A scalar as a query would spell it: `true`, `5`, `text`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class Path:
    """A dotted path, cut once. It is the same path for as long as the process runs: rules name few.

    `steps` are the ways to begin: a key (literal, dots and all, the longest first), the list and the position
    it may mean otherwise, and the rest of the path. `roots` are the keys of a document without one of which
    it has nothing at the path.
    """

    __slots__ = ("only", "own", "plain", "roots", "steps")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.steps = tuple(_step(names, size) for size in range(len(names), 0, -1))
        keys = {key for key, _item, _rest in self.steps}
        lists = {item[0] for _key, item, _rest in self.steps if item is not None}
        self.roots = frozenset(keys | lists)
        #: The key, when there is nothing more to it: the usual case.
        self.only = names[0] if len(names) == 1 and not lists else None
        self.own = not OWN.isdisjoint(self.roots)
        #: The same, when it is none of the event's own either.
        self.plain = None if self.own else self.only


def _step(names: tuple[str, ...], size: int) -> tuple[str, tuple[str, int] | None, Path | None]:
    key = ".".join(names[:size])
    indexed = _INDEXED.fullmatch(key) if key.endswith("]") else None
    item = None if indexed is None else (indexed[1], int(indexed[2]))
    return key, item, _cut(names[size:]) if size < len(names) else None


@lru_cache(maxsize=65_536)
def compiled(path: str) -> Path:
    """The path, cut once; not deeper than anybody looks."""
    return _cut(tuple(path.split(".", MAX_DEPTH - 1)))


@lru_cache(maxsize=65_536)
def _cut(names: tuple[str, ...]) -> Path:
    return Path(names)


def roots(path: str) -> frozenset[str]:
    """The keys of which a document has at least one if it has anything at the path."""
    bare = path.removesuffix(".keyword")
    return compiled(path).roots | compiled(bare).roots


def is_plain(path: str) -> bool:
    """Whether the path is simply a key of an event's body."""
    return compiled(path).plain is not None and not path.endswith(".keyword")


def lookup(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None.

    A literal key with dots in it wins over nesting; `a[1].b` indexes a list; a trailing `.keyword` is ignored
    when there is no such field. A list on the way is traversed: the result is then the list of what was
    found.
    """
    found = _find(document, compiled(path), 0)
    if found is None and path.endswith(".keyword"):
        return _find(document, compiled(path.removesuffix(".keyword")), 0)
    return found


def _find(value: Any, path: Path, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return value.get(path.only) if path.only is not None else _find_in_mapping(value, path, depth)
    if isinstance(value, list | tuple):
        return _find_in_list(value, path, depth)
    return _find_in_mapping(value, path, depth) if isinstance(value, Mapping) else None


def _find_in_mapping(value: Mapping[str, Any], path: Path, depth: int) -> Any:
    for key, item, rest in path.steps:
        inner = value.get(key, _ABSENT)
        if inner is _ABSENT:
            if item is None:
                continue
            inner = _item(value, *item)
        found = inner if rest is None else _find(inner, rest, depth + 1)
        if found is not None:
            return found
    return None


def _item(value: Mapping[str, Any], key: str, position: int) -> Any:
    items = value.get(key)
    return items[position] if isinstance(items, list | tuple) and position < len(items) else None


def _find_in_list(values: list[Any] | tuple[Any, ...], path: Path, depth: int) -> Any:
    found: list[Any] = []
    for item in values:
        inner = _find(item, path, depth + 1)
        if isinstance(inner, list):
            found.extend(inner)
        elif inner is not None:
            found.append(inner)
    return found or None


def _own(event: Event, name: str) -> Any:
    """What `event.document()` has under one of the names in `OWN` that is not of the body; else None."""
    match name:
        case "type":
            return event.type
        case "_id":
            return event.id
        case "@timestamp":
            return format_time(event.timestamp)
        case "tags" if event.tags:
            return list(event.tags)
        case "value":
            return event.value
        case "_index" if event.indices:
            return event.indices[0]
    return None


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


# A structure of msgspec's: one is made for every event, and a class with slots takes twice as long.
class Document(Struct, gc=False, eq=False):
    """One event's fields with the lookups and token sets made so far.

    Made of an event (`of`) or of a plain nested dict; callers must not change either. Of an event that was
    read in part, the rest is read when somebody looks for what is not there.
    """

    #: The fields without those that the event itself has; of those in `roots` only, unless that is None.
    body: Mapping[str, Any]
    event: Event | None = None
    roots: frozenset[str] | None = None
    _fields: Mapping[str, Any] | None = None
    _values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _words: dict[str, tuple[str, ...]] | None = None
    _all_values: tuple[Any, ...] | None = None
    _all_words: frozenset[str] | None = None

    @classmethod
    def of(cls, event: Event) -> Document:
        return cls(event.read, event, event.roots)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The plain nested dict (`Event.document()`), made when somebody wants all of it."""
        if self._fields is None:
            self.complete(None)
            self._fields = self.body if self.event is None else self.event.document()
        return self._fields

    def complete(self, roots: frozenset[str] | None) -> None:
        """Have all of the body at hand: `roots` (None: all) are looked for, and some may be missing."""
        if self.roots is not None and self.event is not None:
            self.event.wish(roots)
            self.body = self.event.body
            self.roots = None

    def get(self, path: str) -> Any:
        """`lookup(fields, path)`, without making `fields` when the event or its body has the answer."""
        cut = compiled(path)
        if cut.plain is not None:
            found = self.body.get(cut.plain)  # the usual case
            if found is not None:
                return found
            if self.roots is not None and cut.plain not in self.roots:
                found = self._at(cut)
        elif path == "type" and self.event is not None:
            return self.event.type
        else:
            found = self._at(cut)
        if found is None and path.endswith(".keyword"):
            return self._at(compiled(path.removesuffix(".keyword")))
        return found

    def _at(self, path: Path) -> Any:
        if path.own and self.event is not None:
            return self._at_own(self.event, path)
        if self.roots is not None and not path.roots <= self.roots:
            self.complete(path.roots)
        return self.body.get(path.only) if path.only is not None else _find(self.body, path, 0)

    def _at_own(self, event: Event, path: Path) -> Any:
        """A path that may begin with one of the event's own names."""
        if self.roots is not None and not path.roots - OWN <= self.roots:
            self.complete(path.roots - OWN)
        if path.only is not None:
            found = self._own(event, path.only)
            return None if found is _ABSENT else found
        fields = {name: found for name in path.roots if (found := self._own(event, name)) is not _ABSENT}
        return _find(fields, path, 0)

    def _own(self, event: Event, name: str) -> Any:
        """What `fields` has under a name that may be the event's own."""
        found = _own(event, name)
        if found is not None:
            return found
        if self.roots is not None and name not in self.roots:
            self.complete(frozenset((name,)))
        return self.body.get(name, _ABSENT)

    def values(self, path: str) -> tuple[Any, ...]:
        """The scalars at a path, lists flattened; empty when there is none."""
        known = self._values.get(path)
        if known is None:
            found = self.get(path)
            if found.__class__ is str or isinstance(found, _SCALARS):
                known = (found,)
            else:
                known = tuple(_list_items(found))
            self._values[path] = known
        return known

    def exists(self, path: str) -> bool:
        """Whether there is any non-null scalar at or under a path."""
        return bool(self.values(path)) or next(_scalars(self.get(path)), None) is not None

    def words(self, text: str) -> tuple[str, ...]:
        """`words(text)`, remembered."""
        if len(text) <= _SHORT:
            return _short_words(text)
        if self._words is None:
            self._words = {}
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
