"""Values out of telemetry as JSON values: numbers that exist, names with dots as nested maps. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from divertor.model.events import JSON

#: Deepest nesting a dotted name makes; a deeper one stays as it is.
_MAX_SEGMENTS = 16


def finite(number: float) -> float | str:
    """The number, or its name (`nan`, `inf`, `-inf`): JSON has none of these."""
    return number if math.isfinite(number) else str(number)


def nest(attributes: Iterable[tuple[str, JSON]]) -> dict[str, JSON]:
    """Attributes with dotted names as nested maps: `a.b` = 1 becomes `{"a": {"b": 1}}`.

    Nothing is lost when names collide: of `a` = 1 and `a.b` = 2 the longer one keeps its whole name as a
    key at the top (`{"a": 1, "a.b": 2}`). A name with an empty part, or with more than 16, keeps its whole
    name as well. A name that comes twice keeps the first value.
    """
    nested: dict[str, JSON] = {}
    own: set[int] = {id(nested)}  # the maps made here; a map that is a value is never written into
    for dotted, value in sorted(attributes, key=_dots):  # the shorter of two that collide comes first
        if not _place(nested, own, dotted, value):
            nested.setdefault(dotted, value)
    return nested


def _dots(attribute: tuple[str, JSON]) -> int:
    return attribute[0].count(".")


def _place(nested: dict[str, JSON], own: set[int], dotted: str, value: JSON) -> bool:
    parts = dotted.split(".")
    if len(parts) > _MAX_SEGMENTS or not all(parts):
        return False
    inner = nested
    for part in parts[:-1]:
        if part not in inner:
            inner[part] = {}
            own.add(id(inner[part]))
        inner = inner[part]
        if id(inner) not in own:
            return False
    if parts[-1] in inner:
        return False
    inner[parts[-1]] = value
    return True
