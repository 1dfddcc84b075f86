"""Text with numbered or named holes (`"Attack on {}"`), checked when a rule is loaded.

The syntax is `str.format`'s without attributes, indices, conversions and format specifications: a template is
the rule author's, what fills it is an attacker's, and neither can make rendering fail or look inside an
object.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

_LINK_HOLE = re.compile(r"\{([A-Za-z_@][\w.@\-\[\]]*)\}")

#: Literal text, or the field whose value goes there.
Part: TypeAlias = "str | Hole"


@dataclass(frozen=True, slots=True)
class Hole:
    field: str


@dataclass(frozen=True, slots=True)
class Template:
    """Literal text and holes, in order."""

    parts: tuple[str | Hole, ...]

    def render(self, value_of: Callable[[str], str]) -> str:
        """The text, each hole filled with `value_of(field)`; values are never read as templates."""
        return "".join(part if isinstance(part, str) else value_of(part.field) for part in self.parts)


def literal(text: str) -> Template:
    """A template without holes: braces stay as they are."""
    return Template((text,))


def parse_template(
    text: str, positional: tuple[str, ...], named: Mapping[str, str] | None = None
) -> Template:
    """`text` with its holes resolved to field names: `{}` and `{0}` by order, `{name}` through `named`.

    :raises ValueError: a hole has no field, or asks for more than a plain value; the message says which.
    """
    parts: list[str | Hole] = []
    names = _Names(positional, named or {})
    for before, hole, spec, conversion in string.Formatter().parse(text):
        if before:
            parts.append(before)
        if hole is None:
            continue
        if spec or conversion:
            raise ValueError(f"{{{hole}}} with a conversion or a format is not supported")
        parts.append(Hole(names.field_of(hole)))
    return Template(tuple(parts))


def parse_link(text: str) -> Template:
    """An address whose `{field}` are holes; other braces are literal. Values are to be quoted."""
    parts: list[str | Hole] = []
    end = 0
    for found in _LINK_HOLE.finditer(text):
        parts.extend((text[end : found.start()], Hole(found[1])))
        end = found.end()
    return Template((*parts, text[end:]))


class _Names:
    """Which field the next hole means; automatic and explicit numbers do not mix, as in `str.format`."""

    def __init__(self, positional: tuple[str, ...], named: Mapping[str, str]) -> None:
        self._positional = positional
        self._named = named
        self._automatic = 0
        self._numbered = False

    def field_of(self, hole: str) -> str:
        if hole == "":
            self._automatic += 1
            return self._at(self._automatic - 1)
        if hole.isdecimal() and hole.isascii():
            self._numbered = True
            return self._at(int(hole[:6]))
        if hole not in self._named:
            raise ValueError(f"nothing is given for {{{hole}}}")
        return self._named[hole]

    def _at(self, index: int) -> str:
        if self._automatic and self._numbered:
            raise ValueError("{} and {0} are mixed")
        if index >= len(self._positional):
            raise ValueError(f"hole number {index + 1} has no argument: {len(self._positional)} given")
        return self._positional[index]
