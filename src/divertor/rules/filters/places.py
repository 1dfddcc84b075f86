"""Where a clause looks in an event: one field, all fields, or the fields whose names fit a pattern.

Only finding values; what is asked of them is `matching`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from divertor.rules.document import MAX_DEPTH, METADATA, Document, scalar_text

KEYWORD = ".keyword"

#: How much of a value an explanation shows, and how many values.
_SHOWN_LENGTH = 120
_SHOWN_VALUES = 5


@dataclass(frozen=True, slots=True)
class FieldPattern:
    """A field name with wildcards: `user.*`; `covers` says of a dotted path whether it fits.

    What describes the record (`_id`, `@timestamp`) is left out, as for terms without a field.
    """

    written: str
    covers: re.Pattern[str]


#: `*` as a field's name: every field, whatever the default fields are.
EVERY_FIELD = FieldPattern("*", re.compile(".*", re.DOTALL))

#: A field's path, a pattern of paths, or None for every field.
Where: TypeAlias = str | FieldPattern | None


def values_at(where: Where, document: Document) -> tuple[Any, ...]:
    """The scalars to judge; lists are flattened."""
    if where is None or where == EVERY_FIELD:
        return document.all_values()
    if isinstance(where, str):
        return document.values(where)
    return tuple(value for path, value in named_values(document) if where.covers.fullmatch(path))


def exists_at(where: Where, document: Document) -> bool:
    """Whether there is any value."""
    return document.exists(where) if isinstance(where, str) else bool(values_at(where, document))


def named_values(document: Document) -> Iterator[tuple[str, Any]]:
    """Every scalar with its dotted path; list indices are no part of it."""
    for name, value in document.fields.items():
        if name not in METADATA:
            yield from _named(name, value, 0)


def _named(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if value is None or depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(f"{path}.{name}", inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(path, inner, depth + 1)
    else:
        yield path, value


def wants_whole(where: Where) -> bool:
    """Whether only whole values count: the name ends in `.keyword`."""
    name = where.written if isinstance(where, FieldPattern) else where
    return name is not None and name.endswith(KEYWORD)


def shown(where: Where, document: Document) -> str:
    """What an event has there, cut to what a person reads; nothing for "any field", which is the event."""
    if where is None or where == EVERY_FIELD:
        return ""
    values = values_at(where, document)
    if not values:
        return "no value"
    texts = [_cut(scalar_text(value)) for value in values[:_SHOWN_VALUES]]
    more = len(values) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
