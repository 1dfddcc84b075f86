"""Selectors: routes made from whatever runs, in Vamp's language. Parsing them is `reading_selectors`.

A selector is a tree of tests on one running instance's port; a capture group in a test's pattern splits what
it selects into groups, each a route of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Operand:
    """One test: `what` is `name`, `kind`, `namespace`, `image`, `label`, `ip`, `port`, `index`; `patterns`
    are regular expressions, as in conditions (two for `label`: key and value), a number for `port`, `index`.
    """

    what: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Always:
    """`true` and `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    inner: Tree


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Tree, ...]


Tree: TypeAlias = Operand | Always | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector and the text it was written as."""

    text: str
    tree: Tree
