"""Text with numbered or named holes (`"Attack on {}"`), checked when a rule is loaded.

The syntax is `str.format`'s without attributes, indices and conversions, and with format specifications
(`{:.2f}`) of a bounded width: a template is the rule author's, what fills it is an attacker's, and neither
can make rendering fail or look inside an object.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

#: Format specifications of a bounded width, without holes in them.
_SPEC = re.compile(r"(?:[^{}]?[<>=^])?[-+ ]?#?0?[0-9]{0,3}[,_]?(?:\.[0-9]{1,2})?[bcdeEfFgGnosxX%]?")
_LINK_HOLE = re.compile(r"\{([A-Za-z_@][\w.@\-\[\]]*)\}")

#: Literal text, or the field whose value goes there.
Part: TypeAlias = "str | Hole"


@dataclass(frozen=True, slots=True)
class Hole:
    """Where a field's value goes; `spec` says how it is formatted, as `format` has it."""

    field: str
    spec: str = ""

    def formatted(self, value: Any) -> str:
        """The value by the format, or as it is where the format does not fit it."""
        try:
            return format(value, self.spec)
        except (ValueError, TypeError, OverflowError):
            return str(value)


@dataclass(frozen=True, slots=True)
class Template:
    """Literal text and holes, in order."""

    parts: tuple[str | Hole, ...]

    def render(self, value_of: Callable[[str], str], formatted: Callable[[Hole], str] | None = None) -> str:
        """The text, each hole filled with `value_of(field)`, or `formatted(hole)` if it has a format; values
        are never read as templates.
        """

        def filled(hole: Hole) -> str:
            return formatted(hole) if hole.spec and formatted is not None else value_of(hole.field)

        return "".join(part if isinstance(part, str) else filled(part) for part in self.parts)


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
        if conversion:
            raise ValueError(f"{{{hole}}} with a conversion is not supported")
        if spec and not _SPEC.fullmatch(spec):
            raise ValueError(f"{{{hole}:{spec[:20]}}} has a format that is not supported")
        parts.append(Hole(names.field_of(hole), spec or ""))
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
