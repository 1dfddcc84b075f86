"""How queries of the filter language are taken apart: fields, options, how many must match, how fuzzy.

Every refusal names the place. What the queries mean is in `dsl`, `dsl_terms` and `dsl_text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeAlias

from divertor.model.documents import Node, Scalar, to_value
from divertor.model.fields import entries_of, fail, is_null, items_of, suggestion, text_of
from divertor.rules.filters.dates import DateReading, parse_formats, parse_zone
from divertor.rules.filters.filter import Filter
from divertor.rules.filters.fuzzy import MAX_EDITS, automatic_edits
from divertor.rules.filters.lucene import field_pattern
from divertor.rules.filters.matching import Glob, Wild
from divertor.rules.filters.places import EVERY_FIELD, Where
from divertor.rules.reading.options import boolean

#: Collects what a rule's author may want to know.
Warnings: TypeAlias = list[str]

#: Makes the filter of what stands behind a query's name.
Builder: TypeAlias = Callable[[Node, Warnings], Filter]

#: Parameters that rank, or say how an index is to be searched: they change nothing about what matches.
RANKING = frozenset(
    """boost _name analyze_wildcard lenient allow_leading_wildcard rewrite fuzzy_max_expansions max_expansions
    max_determinized_states tie_breaker cutoff_frequency enable_position_increments
    auto_generate_synonyms_phrase_query auto_generate_phrase_queries relation""".split()
)

#: How many of some clauses must match, given their number.
Least: TypeAlias = Callable[[int], int]

#: How many edits a word of some length allows.
Edits: TypeAlias = Callable[[int], int]


def one_entry(node: Node, what: str, known: Mapping[str, object]) -> tuple[Scalar, Node]:
    """The name of a query and what stands behind it."""
    entries = entries_of(node, what)
    if len(entries) != 1:
        fail(node, f"{what} with {len(entries)} keys", f"one of {', '.join(sorted(known))}")
    return entries[0]


def one_field(node: Node, what: str) -> tuple[str, Node]:
    entries = [(key, item) for key, item in entries_of(node, what) if key.text not in RANKING]
    if len(entries) != 1:
        fail(node, f"{what} with {len(entries)} fields", "one field")
    return entries[0][0].text, entries[0][1]


def parts_of(node: Node, what: str, known: set[str] | frozenset[str]) -> dict[str, Node]:
    """The entries of a query, each of them known; what is null counts as not given."""
    parts: dict[str, Node] = {}
    for key, item in entries_of(node, what):
        if key.text not in known and key.text not in RANKING:
            fail(key, f"unknown or unsupported {key.text[:80]!r} in {what}", suggestion(key.text, known))
        if not is_null(item):
            parts[key.text] = item
    return parts


def field_query(
    node: Node, what: str, main: str, extra: set[str], others: tuple[str, ...] = ()
) -> tuple[str, Node, dict[str, Node]]:
    """`{field: text}` or `{field: {main: text, …}}` as the field, the text and the parts of the long form.
    `others` are further names of the main part.
    """
    field, item = one_field(node, what)
    if isinstance(item, Scalar):
        return field, item, {}
    parts = parts_of(item, f"{what} of {field}", {main, *others, *extra})
    for name in (main, *others):
        if name in parts:
            return field, parts[name], parts
    fail(item, f"{what} of {field} without {main!r}", f"{main}: text")


def required(parts: Mapping[str, Node], name: str, node: Node, what: str) -> Node:
    if name not in parts:
        fail(node, f"{what} without {name!r}", f"the key {name!r}")
    return parts[name]


def flag(parts: Mapping[str, Node], name: str, default: bool = False) -> bool:
    return boolean(parts[name], name) if name in parts else default


def whole_number(parts: Mapping[str, Node], name: str, most: int, default: int = 0) -> int:
    if name not in parts:
        return default
    text = text_of(parts[name], name)
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > most:
        fail(parts[name], f"{name} is {text[:40]!r}", f"a whole number from 0 to {most}")
    return int(text)


def choice(parts: Mapping[str, Node], name: str, choices: set[str], default: str) -> str:
    if name not in parts:
        return default
    text = text_of(parts[name], name).lower()
    if text not in choices:
        fail(parts[name], f"{name} is {text[:40]!r}", ", ".join(sorted(choices)))
    return text


def all_words_wanted(parts: Mapping[str, Node], name: str = "operator") -> bool:
    return choice(parts, name, {"and", "or"}, "or") == "and"


def check_analyzer(parts: Mapping[str, Node]) -> None:
    """Words are cut in one way only."""
    for name in ("analyzer", "quote_analyzer"):
        if name in parts and text_of(parts[name], name) != "standard":
            fail(parts[name], f"the {name} {text_of(parts[name], name)[:40]!r} is not supported", "standard")


_LEAST = re.compile(r"(-?)([0-9]{1,4})(%?)")


def least(node: Node | None) -> Least | None:
    """`2`, `-1` (all but one), `75%`, `-25%`, `3<75%` (all up to 3, else 75 %), rounded down as in
    Elasticsearch.
    """
    if node is None:
        return None
    text = text_of(node, "minimum_should_match")
    conditions: list[tuple[int, str]] = []
    for part in text.split() if "<" in text else ():
        bound, _, rest = part.partition("<")
        if not re.fullmatch(r"[0-9]{1,4}", bound) or not _LEAST.fullmatch(rest):
            _refuse_least(node)
        conditions.append((int(bound), rest))
    if not conditions and not _LEAST.fullmatch(text):
        _refuse_least(node)

    def needed(count: int) -> int:
        chosen = text
        if conditions:
            chosen = next((rest for bound, rest in reversed(conditions) if count > bound), "100%")
        return _amount(chosen, count)

    return needed


def _refuse_least(node: Node) -> NoReturn:
    fail(node, "minimum_should_match is no number", "a number such as 1, -1, 75% or 3<75%")


def _amount(text: str, count: int) -> int:
    found = _LEAST.fullmatch(text)
    assert found is not None  # checked when it was read
    amount = int(found[2]) * count // 100 if found[3] else int(found[2])
    return max(0, count - amount if found[1] else amount)


def edits_of(parts: Mapping[str, Node], default: Edits) -> Edits:
    """`fuzziness`: a number of edits, `AUTO` or `AUTO:3,6`."""
    if "fuzziness" not in parts:
        return default
    text = text_of(parts["fuzziness"], "fuzziness")
    found = re.fullmatch(r"AUTO(?::([0-9]{1,3}),([0-9]{1,3}))?", text.upper())
    if found is not None:
        low, high = int(found[1] or 3), int(found[2] or 6)
        return lambda length: automatic_edits(length, low, high)
    if not re.fullmatch(r"[0-9]{1,3}(\.0)?", text) or float(text) > MAX_EDITS:
        fail(parts["fuzziness"], f"fuzziness is {text[:40]!r}", f"AUTO, AUTO:3,6 or 0 to {MAX_EDITS}")
    edits = int(float(text))
    return lambda _length: edits


def dates_of(parts: Mapping[str, Node]) -> DateReading:
    """`time_zone` and `format`."""
    zone, formats = DateReading().zone, DateReading().formats
    if "time_zone" in parts:
        try:
            zone = parse_zone(text_of(parts["time_zone"], "time_zone"))
        except ValueError as problem:
            fail(parts["time_zone"], "time_zone is none", str(problem))
    if "format" in parts:
        try:
            formats = parse_formats(text_of(parts["format"], "format"))
        except ValueError as problem:
            fail(parts["format"], f"format with {problem}", "ISO 8601, epoch_millis or such as dd/MM/yyyy")
    return DateReading(zone, formats)


def fields_of(nodes: tuple[Node | None, ...]) -> tuple[Where, ...]:
    """Names of fields, with wildcards and boosts (which only rank); nothing for every field."""
    named = [item for node in nodes for item in items_of(node)]
    found = tuple(where_of(text_of(item, "field"), item) for item in named)
    return () if EVERY_FIELD in found else found


def where_of(name: str, node: Node) -> Where:
    """A field's name, perhaps with wildcards and a boost."""
    name, caret, boost = name.partition("^")
    if not name or (caret and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", boost)):
        fail(node, f"{name[:80]!r} is no field", "a name such as message or message^2")
    if len(name) > 1024:
        fail(node, "a long field name", "at most 1024 characters")
    if name == "*":
        return EVERY_FIELD
    return field_pattern(glob_of(name)) if "*" in name else name


def glob_of(text: str) -> Glob:
    """`*` and `?` as wildcards, a backslash before a character taking it as it is."""
    parts = re.findall(r"\\(.)|([*?])|([^\\*?]+|\\)", text, re.DOTALL)
    return tuple(Wild(wild) if wild else escaped or plain for escaped, wild, plain in parts)


def written(node: Node) -> str:
    """A node as text for an explanation."""
    value = to_value(node)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
