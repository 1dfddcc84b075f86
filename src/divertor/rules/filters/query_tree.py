"""The syntax tree of a query string. `lucene` reads text into it, `query` makes filters of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from divertor.rules.filters.matching import Bounds, Glob
from divertor.rules.filters.places import Where


class Occur(Enum):
    """What a clause does in its group."""

    MUST = "+"
    SHOULD = ""
    MUST_NOT = "-"


@dataclass(frozen=True, slots=True)
class Everything:
    """`*` or `*:*`."""


@dataclass(frozen=True, slots=True)
class Text:
    """A term or a quoted phrase; `slop` is by how many positions its words may be out of place."""

    field: Where
    text: str
    slop: int = 0


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A term with up to `edits` edits; None: as many as its length allows."""

    field: Where
    text: str
    edits: int | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A term with `*` or `?` in it."""

    field: Where
    glob: Glob


@dataclass(frozen=True, slots=True)
class Regexp:
    """`/pattern/`, which `regexp.compile_regexp` accepts."""

    field: Where
    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    field: Where
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Exists:
    field: Where


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a group and how it was written."""

    occur: Occur
    node: Node
    written: str


@dataclass(frozen=True, slots=True)
class Group:
    """Matches when all MUST do, no MUST_NOT does, and, without a MUST, any SHOULD does."""

    clauses: tuple[Clause, ...]


Node: TypeAlias = Everything | Text | Fuzzy | Wildcard | Regexp | Range | Exists | Group
