"""Many isolations as one document: what they have in common is said once, the rest in rows. Pure.

A million imported keys are a thousand such documents. One that is changed later leaves its batch for a record
of its own, and the batch is written again without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from divertor.model.events import parse_time
from divertor.model.isolation import Isolation, KeyKind, KeySelector

#: Isolations in a batch: about 100 kB, written in a few milliseconds.
SIZE = 1000

_FIELDS = (
    *(
        "id",
        "scope",
        "kind",
        "name",
        "value",
        "target",
        "created",
        "expires",
        "by",
        "reason",
        "cause",
        "parent",
    ),
    "simulated",
)
_OWN = ("id", "value")
#: What an isolation is but for its id, its value and its batch, in the order of its fields.
_LIKENESS = attrgetter(
    *("scope", "selector", "target", "created", "expires", "by", "reason", "cause", "parent", "simulated")
)


def to_document(isolations: Sequence[Isolation]) -> dict[str, Any]:
    """At least one isolation, as the document of a batch."""
    if _are_alike(isolations):
        common = {name: value for name, value in isolations[0].to_json().items() if name not in _OWN}
        return {"common": common, "fields": _OWN, "rows": [[each.id, each.value] for each in isolations]}
    rows = [each.to_json() for each in isolations]
    common = {name: rows[0][name] for name in _FIELDS if all(row[name] == rows[0][name] for row in rows)}
    fields = [name for name in _FIELDS if name not in common]
    return {"common": common, "fields": fields, "rows": [[row[name] for name in fields] for row in rows]}


def _are_alike(isolations: Sequence[Isolation]) -> bool:
    """Whether they differ in their key alone, as those of a list that somebody imported do."""
    first = _LIKENESS(isolations[0])
    return all(_LIKENESS(each) == first for each in isolations)


def from_document(document: Mapping[str, Any], batch: str) -> list[Isolation]:
    """The inverse of `to_document`; texts and times that many have in common are one object.

    :raises ValueError: it is no batch.
    """
    try:
        common, fields, rows = dict(document["common"]), list(document["fields"]), list(document["rows"])
        if tuple(fields) == _OWN:
            return _alike(common, rows, batch)
        return list(_isolations(common, fields, rows, batch))
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not a batch of isolations: {problem}") from problem


def _alike(common: dict[str, Any], rows: Iterable[tuple[str, str]], batch: str) -> list[Isolation]:
    one = Isolation.from_json({**common, "id": "", "value": ""})
    scope, selector, target, created, expires, by, reason, cause, parent, simulated = _LIKENESS(one)
    since = (target, created, expires, by, reason, cause, parent, simulated, batch)
    return [Isolation(str(id), scope, selector, str(value), *since) for id, value in rows]


def _isolations(
    common: dict[str, Any], fields: Sequence[str], rows: Iterable[Sequence[Any]], batch: str
) -> Iterator[Isolation]:
    time, shared, selector = lru_cache(64)(parse_time), lru_cache(256)(str), lru_cache(64)(_selector)
    for row in rows:
        data = {**common, **dict(zip(fields, row, strict=True))}
        expires = data["expires"]
        yield Isolation(
            str(data["id"]),
            shared(data["scope"]),
            selector(data["kind"], data["name"]),
            str(data["value"]),
            shared(data["target"]),
            time(data["created"]),
            None if expires is None else time(expires),
            shared(data["by"]),
            shared(data["reason"]),
            shared(data["cause"]),
            shared(data["parent"]),
            data["simulated"] is True,
            batch,
        )


def _selector(kind: str, name: str) -> KeySelector:
    return KeySelector(KeyKind(kind), name)
