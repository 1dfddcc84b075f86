"""What can be asked of the event store, as values, and the SQL for it.

Pure. No value of a query ever becomes part of the SQL text: all of them are parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from divertor.errors import InputError, Position
from divertor.model.events import JSON, micros_of

MAX_LIMIT = 1000
_WHERE = Position("event query")


class Aggregate(StrEnum):
    """What `EventStore.aggregate` computes."""

    MIN = "min"
    MAX = "max"
    AVERAGE = "average"
    SUM = "sum"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events, all conditions together.

    `types`: any of these (none given: every type). `tags`: all of these; an event tagged `a:b` is found by
    `a` as well. `index`: an index name or a pattern with `*`. `since` is included, `until` is not.
    `fields`: dotted paths into the body and the value found there; numbers compare as numbers, None means
    "not there". `text`: part of the type, the value or the body's JSON, in any case. At most `limit`
    events (1..1000) after the first `offset`, newest first unless `newest_first` is False.

    :raises InputError: `limit` or `offset` out of range, or an empty path.
    """

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    index: str = ""
    since: datetime | None = None
    until: datetime | None = None
    fields: Mapping[str, JSON] = field(default_factory=dict)
    text: str = ""
    limit: int = 30
    offset: int = 0
    newest_first: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InputError(f"limit {self.limit} is out of range", _WHERE, f"1 to {MAX_LIMIT}")
        if self.offset < 0:
            raise InputError(f"offset {self.offset} is negative", _WHERE, "0 or more")
        if not all(self.fields):
            raise InputError("a field has no name", _WHERE, "a dotted path such as http.request.method")


def where(query: EventQuery) -> tuple[str, list[Any]]:
    """The condition of `query` as SQL with its parameters; `true` when it asks for everything."""
    parts: list[tuple[str, list[Any]]] = []
    if query.types:
        parts.append(("list_contains(?::VARCHAR[], type)", [list(query.types)]))
    if query.tags:
        parts.append(("list_has_all(labels, ?::VARCHAR[])", [list(query.tags)]))
    if query.index:
        parts.append(_index(query.index))
    if query.since is not None:
        parts.append(("ts >= make_timestamp(?::BIGINT)", [micros_of(query.since)]))
    if query.until is not None:
        parts.append(("ts < make_timestamp(?::BIGINT)", [micros_of(query.until)]))
    parts.extend(_field(path, value) for path, value in query.fields.items())
    if query.text:
        parts.append(_text(query.text))
    if not parts:
        return "true", []
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]


def number_at(path: str) -> tuple[str, list[Any]]:
    """The number at `path` as SQL: `value`, `value.<path>` or a path into the body. NULL if it is none."""
    if path == "value":
        return "try_cast(CAST(value AS VARCHAR) AS DOUBLE)", []
    if path.startswith("value."):
        return "try_cast(json_extract_string(value, ?) AS DOUBLE)", [pointer(path[len("value.") :])]
    text, values = _text_at(path)
    return f"try_cast({text} AS DOUBLE)", values


def pointer(path: str) -> str:
    """A dotted path as a JSON pointer (RFC 6901)."""
    return "".join("/" + part for part in _escaped(path).split("."))


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1")


def _index(pattern: str) -> tuple[str, list[Any]]:
    if "*" not in pattern:
        return "list_contains(indices, ?)", [pattern]
    like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return "len(list_filter(indices, lambda name: name LIKE ? ESCAPE '\\')) > 0", [like]


def _text_at(path: str) -> tuple[str, list[Any]]:
    """The text at a path; a key that itself holds dots is found as well."""
    nested = "json_extract_string(body, ?)"
    if "." not in path:
        return nested, [pointer(path)]
    return f"coalesce({nested}, {nested})", [pointer(path), "/" + _escaped(path)]


def _field(path: str, value: JSON) -> tuple[str, list[Any]]:
    text, values = _text_at(path)
    if value is None:
        return f"{text} IS NULL", values
    if isinstance(value, bool):
        return f"{text} = ?", [*values, "true" if value else "false"]
    if isinstance(value, int | float):
        return f"try_cast({text} AS DOUBLE) = ?::DOUBLE", [*values, float(value)]
    return f"{text} = ?", [*values, str(value)]


def _text(text: str) -> tuple[str, list[Any]]:
    """The body is JSON, so a quote or a line break of the text stands there escaped."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return "contains(lower(concat_ws(' ', type, CAST(value AS VARCHAR), CAST(body AS VARCHAR))), lower(?))", [
        escaped
    ]
