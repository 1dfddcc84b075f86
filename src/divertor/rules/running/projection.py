"""`include`: the part of a document an alert shows, by field names in which `*` stands for any characters.

A name selects the field and all below it; lists are passed through, as Elasticsearch's `_source` filter does.
What comes out is always plain JSON of a bounded depth: an attacker must not be able to lose an alert by
nesting a field so deeply, or making it such a number, that nobody can print it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from divertor.rules.document import MAX_DEPTH

_PLAIN = frozenset({str, bool, int})

#: What a hit has beside its source, and an alert always shows.
_ALWAYS = ("_id", "_index", "@timestamp")


def project(document: Mapping[str, Any], include: Sequence[str], keep: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of `document` that `include` (or `keep`) names; all for an empty `include` or `*`."""
    if not include or "*" in include:
        return _plain_mapping(document, 0)
    return _project(document, (*include, *keep, *_ALWAYS), "", 0)


def _plain_mapping(value: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {str(key): plain(inner, depth + 1) for key, inner in value.items()}


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it; what lies deeper than anybody looks is an ellipsis."""
    if value is None or value.__class__ in _PLAIN:
        return value  # first, because most values are
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth) if depth < MAX_DEPTH else "…"
    if isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value] if depth < MAX_DEPTH else "…"
    if isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def _project(value: Mapping[str, Any], names: Sequence[str], prefix: str, depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if any(_selects(name, path) for name in names):
            out[key] = plain(inner, depth + 1)
        elif any(_reaches(name, path) for name in names):
            below = _below(inner, names, f"{path}.", depth)
            if below:
                out[key] = below
    return out


def _below(value: Any, names: Sequence[str], prefix: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return _project(value, names, prefix, depth + 1)
    if isinstance(value, list):
        return [below for item in value if (below := _below(item, names, prefix, depth + 1))]
    return None


def _selects(name: str, path: str) -> bool:
    return name == path or ("*" in name and fnmatchcase(path, name))


def _reaches(name: str, path: str) -> bool:
    """Whether the name could select something below the path."""
    return name.startswith(f"{path}.") or ("*" in name and _star_reaches(name, path))


def _star_reaches(name: str, path: str) -> bool:
    head = name.split("*", 1)[0]
    return head.startswith(f"{path}.") or f"{path}.".startswith(head)
