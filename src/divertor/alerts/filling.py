"""Values of a match within texts of the rule's author: `%(a.b)s`, `{field}`, and `{}` with a list of fields.

Pure. One pass: a value is never read as a placeholder, and cannot make filling fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from divertor.alerts.text import Escape, as_is, value_text
from divertor.rules.document import lookup
from divertor.rules.rule import Match
from divertor.rules.wording.template import parse_template

#: A value within a text is cut here: an attacker decides how long it is.
MAX_VALUE = 4096

PLACEHOLDER = re.compile(
    r"(?P<percent>%%)|(?P<open>\{\{)|(?P<close>\}\})"
    r"|%\((?P<old>[^()]+)\)s|\{(?P<new>[A-Za-z_@][\w.@\-\[\]]*)\}"
)
_PLAIN = {"percent": "%", "open": "{", "close": "}"}


def filled(text: str, match: Match, escape: Escape = as_is, limit: int = MAX_VALUE) -> str:
    """The text with its placeholders replaced; doubled `%`, `{` and `}` stand for one."""

    def replaced(hole: re.Match[str]) -> str:
        kind = hole.lastgroup or ""
        if kind in _PLAIN:
            return _PLAIN[kind]
        value = lookup(match.document, field_of(hole))
        return match.rule.words.missing if value is None else escape(str(value)[:limit])

    return PLACEHOLDER.sub(replaced, text)


def field_of(hole: re.Match[str]) -> str:
    """The path a placeholder names: `{a[b]}` is `a.b`, as `str.format` has it; `{a[0]}` takes from a list."""
    return hole["old"] or re.sub(r"\[(\D[^\[\]]*)\]", r".\1", hole["new"])


def formatted(text: str, fields: Iterable[str], match: Match, escape: Escape = as_is) -> str:
    """`{}` and `{0}` filled with the values of fields, or the rule's options of these names; without fields
    the text as it is.
    """
    names = tuple(fields)
    if not names:
        return text
    return parse_template(text, names).render(lambda field: escape(value_text(match, field)[:MAX_VALUE]))


def texts_of(fields: Mapping[str, str], match: Match) -> dict[str, str]:
    """A text for each name: the field's value, missing ones left out, anything but a text as JSON."""
    found = {name: lookup(match.document, field) for name, field in fields.items()}
    return {name: plain_text(value) for name, value in found.items() if value is not None}


def plain_text(value: Any) -> str:
    """A value as a text, what is no text as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def cut(text: str, limit: int, note: str = "…") -> str:
    """At most `limit` characters; `note` stands where the rest was."""
    return text if len(text) <= limit else text[: max(0, limit - len(note))] + note
